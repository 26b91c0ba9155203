"""The table of what was ordered, and why. May import core and simulator."""

from itertools import pairwise

from pdscaler.core.pools import Pool
from pdscaler.simulator.ledger import OrderMade
from pdscaler.simulator.report.figures import table
from pdscaler.simulator.report.markup import Markup, element
from pdscaler.simulator.report.scales import clock
from pdscaler.simulator.result import ReplayResult

MOST_ROWS = 10_000
"""Orders that a page holds; the rest is named. A day has 5760 evaluations."""


def decisions(result: ReplayResult) -> tuple[Markup, ...]:
    """Return the table of the orders, in an area that scrolls, and what is to be said before it."""
    orders = result.orders
    first = orders[0]
    begun = f"Begins with {first.replicas.prefill} prefill and {first.replicas.decode} decode replicas. "
    changes = list(pairwise(orders))
    if not changes:
        return (element("p", f"{begun}Nothing was changed."),)
    words = f"{begun}{len(changes)} order{'' if len(changes) == 1 else 's'}, each with what the policy said of it."
    if len(changes) > MOST_ROWS:
        words += f" The first {MOST_ROWS} are listed; --decisions writes all of them."
    rows = [
        (
            clock(after.at_s),
            _moved(Pool.PREFILL, before, after),
            _moved(Pool.DECODE, before, after),
            _why(before, after),
        )
        for before, after in changes[:MOST_ROWS]
    ]
    listed = table("Orders", ("time", "prefill", "decode", "why"), rows, class_="orders")
    return element("p", words), element("div", listed, class_="tall")


def _moved(pool: Pool, before: OrderMade, after: OrderMade) -> str:
    """Return how a pool's count changed; only the count where it did not."""
    old, new = before.replicas[pool], after.replicas[pool]
    return str(new) if old == new else f"{old} → {new}"


def _why(before: OrderMade, after: OrderMade) -> str:
    """Return the reasons of the pools that changed."""
    said = [
        f"{pool.value}: {after.reasons[pool]}"
        for pool in Pool
        if before.replicas[pool] != after.replicas[pool] and after.reasons[pool]
    ]
    return "; ".join(said) or "–"
