"""The head of a replay's report: the headline, the tiles, two tables. May import core, units and simulator."""

from collections.abc import Sequence

from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic
from pdscaler.simulator.bound import ATTAINMENT
from pdscaler.simulator.replayed import Replayed
from pdscaler.simulator.report.markup import Markup, element
from pdscaler.simulator.report.panels import statistic_word
from pdscaler.units import format_duration, format_number, format_share

HOUR_S = 3600.0


def headline(replayed: Replayed) -> tuple[str, str]:
    """Return the title and the answer in a sentence or two."""
    result, sizing = replayed.result, replayed.spec.sizing
    title = f"{sizing.name}: policy {replayed.policy} on {replayed.source}"
    span = _span(result.end_s - result.measured_from_s)
    joint = format_share(result.attainment.joint)
    answer = (
        f"{joint} of {_count(result.requests, 'request')} in {span} were within {_targets(replayed)}, with "
        f"{format_number(result.gpu_hours, 4)} GPU-hours"
    )
    hours, schedule = result.oracle_gpu_hours, replayed.schedule
    if hours and schedule is not None and schedule.reached:
        answer += (
            f": {format_number(result.gpu_hours / hours)} times what a schedule orders that knows every request"
            f" (and attains {format_share(schedule.attainment.joint)})"
        )
    return title, f"{answer}."


def _targets(replayed: Replayed) -> str:
    slo = replayed.spec.sizing.slo
    if slo.ttft is not None and slo.tpot is not None:
        return "both targets"
    return "the TPOT target" if slo.ttft is None else "the TTFT target"


def tiles(replayed: Replayed) -> Markup:
    """Return the few figures that come first, each with what it is to be compared with."""
    result, slo = replayed.result, replayed.spec.sizing.slo
    attainment = result.attainment
    apart = f"TTFT {format_share(attainment.ttft)}, TPOT {format_share(attainment.tpot)}"
    cards = [_tile(f"Within {_targets(replayed)}", format_share(attainment.joint), apart)]
    for name, latency, target in (("TTFT", result.ttft_s, slo.ttft), ("TPOT", result.tpot_s, slo.tpot)):
        if target is not None:
            value_s = latency.of(target.statistic)
            against = f"target {format_duration(target.target_s)}"
            if value_s is not None:
                against += ", met" if value_s <= target.target_s else ", missed"
            cards.append(_tile(f"{name} {statistic_word(target.statistic)}", format_duration(value_s), against))
    drain = f"with drain {format_number(result.gpu_hours_with_drain, 4)}"
    cards.append(_tile("GPU-hours", format_number(result.gpu_hours, 4), drain))
    if result.oracle_gpu_hours and replayed.schedule is not None:
        ratio = format_number(result.gpu_hours / result.oracle_gpu_hours)
        if replayed.schedule.reached:
            beside = f"clairvoyant schedule: {format_number(result.oracle_gpu_hours, 4)}"
            cards.append(_tile("Against hindsight", f"{ratio}×", beside))
        else:
            attained = format_share(replayed.schedule.attainment.joint)
            cards.append(_tile("Against hindsight", "–", f"no measure here: it attains {attained}"))
    most = f"most GPUs at once: {result.max_gpus}"
    cards.append(_tile("Scale operations", str(result.scale_operations), most))
    return element("dl", *cards, class_="tiles")


def _tile(name: str, value: str, beside: str) -> Markup:
    return element("div", element("dt", name), element("dd", value, class_="value"), element("dd", beside))


def latency_table(replayed: Replayed) -> Markup:
    """Return the statistics of TTFT and TPOT beside their targets."""
    result, slo = replayed.result, replayed.spec.sizing.slo
    heads = ("", *map(statistic_word, Statistic), "target", "requests within")
    rows = [
        _latency_row("TTFT", result.ttft_s, slo.ttft, result.attainment.ttft),
        _latency_row("TPOT", result.tpot_s, slo.tpot, result.attainment.tpot),
    ]
    return table("Latencies of all requests that count", heads, rows)


def _latency_row(name: str, latency: LatencyStatistics, target: LatencyTarget | None, share: float) -> tuple[str, ...]:
    values = (format_duration(latency.of(statistic)) for statistic in Statistic)
    if target is None:
        return (name, *values, "–", "–")
    against = f"{format_duration(target.target_s)} ({statistic_word(target.statistic)})"
    return (name, *values, against, format_share(share))


def cost_table(replayed: Replayed) -> Markup:
    """Return the GPU-hours beside those that they are measured by."""
    result, schedule = replayed.result, replayed.schedule
    held = result.max_gpus * (result.end_s - result.measured_from_s) / HOUR_S
    rows: list[tuple[str, ...]] = [
        ("this run, orders", format_number(result.gpu_hours, 4), "", "from an order to the order to leave"),
        (
            "this run, with drain",
            format_number(result.gpu_hours_with_drain, 4),
            "",
            "until the last request of a replica that leaves has finished",
        ),
    ]
    if result.oracle_gpu_hours is not None and schedule is not None:
        words = f"attains {format_share(schedule.attainment.joint)}, windows of {_span(schedule.window_s)}"
        rows.append(_cost_row(replayed, "clairvoyant schedule", result.oracle_gpu_hours, words))
    if result.bound_gpu_hours is not None:
        words = f"no run that attains {format_share(ATTAINMENT)} orders less"
        rows.append(_cost_row(replayed, "lower bound", result.bound_gpu_hours, words))
    words = f"{result.max_gpus} GPUs, the most of this run, all the time"
    rows.append(_cost_row(replayed, "its peak, held", held, words))
    return table("GPU-hours", ("", "GPU-hours", "this run is", "what it is"), rows)


def _cost_row(replayed: Replayed, name: str, hours: float, words: str) -> tuple[str, ...]:
    ratio = f"{format_number(replayed.result.gpu_hours / hours)}× that" if hours > 0 else "–"
    return name, format_number(hours, 4), ratio, words


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], class_: str = "figures") -> Markup:
    """Return a table whose first column names the rows; it scrolls sideways where it is too wide."""
    head = element("thead", element("tr", *(element("th", text, scope="col") for text in heads)))
    body = element(
        "tbody",
        *(
            element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
            for row in rows
        ),
    )
    inside = element("table", element("caption", caption), head, body, class_=class_)
    return element("div", inside, class_="wide", role="region", aria_label=caption, tabindex="0")


def _span(seconds: float) -> str:
    """Write a length of time in the unit in which people say it.

    Examples
    --------
    >>> _span(300.0), _span(3599.7), _span(86400.0), _span(20.0)
    ('5 min', '1 h', '24 h', '20s')
    """
    if seconds < 60:
        return format_duration(seconds)
    minutes = seconds / 60
    return f"{format_number(minutes)} min" if minutes < 59.95 else f"{format_number(minutes / 60)} h"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number:,} {word}s".replace(",", " ")
