"""What is fuzzed: a name, a strategy that makes cases, and a check that says how a case ended or fails."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from pdscaler.errors import InvalidInputError

SECRET = "s3cret-of-another-service"
"""Stands in the bodies of answers, and must never come back in a message."""

LONGEST_MESSAGE = 3000

READ, REFUSED = "read", "refused"


@dataclass(frozen=True)
class Target:
    """One parser, or one way from outside into the program.

    Parameters
    ----------
    name
        What is fuzzed.
    cases
        Makes cases.
    check
        Runs one case; returns how it ended, such as ``read`` or ``refused``, and raises where something is wrong.
    """

    name: str
    cases: st.SearchStrategy[Any]
    check: Callable[[Any], str]


@dataclass
class Outcomes:
    """How the cases of a target ended.

    Parameters
    ----------
    ended
        Cases by how they ended.
    failure
        The failing case and its error, as hypothesis tells it; empty where there is none.
    """

    ended: Counter[str] = field(default_factory=Counter)
    failure: str = ""

    @property
    def cases(self) -> int:
        """How many cases ended well."""
        return self.ended.total()


def run(target: Target, examples: int, number: int) -> Outcomes:
    """Run a target on so many cases, the same ones for the same number; a failing case is made as small as it gets."""
    outcomes = Outcomes()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def once(case: Any) -> None:
        outcomes.ended[target.check(case)] += 1

    try:
        once()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        notes = "\n".join(getattr(error, "__notes__", ()))
        outcomes.failure = f"{type(error).__name__}: {error}\n{notes}"[:4000]
    return outcomes


def harmless(message: str) -> None:
    """Assert that a message fits on a line, steers no terminal, and is short."""
    assert message.isprintable(), ascii(message[:500])
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters: {message[:500]!a}"


def refusal(read: Callable[[], object]) -> str:
    """Read a case; the only error there may be is ours, and it must be harmless."""
    try:
        read()
    except InvalidInputError as error:
        harmless(str(error))
        return REFUSED
    return READ
