"""PromQL of a snapshot: grouped by labels, so that one set of queries serves every PDDeployment. Pure text.

Nothing of a PDDeployment's text stands in a query except checked label *names* to group by; namespaces, models and
label values are compared in Python with what comes back. Metric names come from presets and are checked there.

Each query asks for all alternative names at once. ``or`` alone would hide which of them answered (and fail where both
do, for ``rate`` drops the name), so each carries its name and part in the label ``pdscaler_series``.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pdscaler.telemetry.presets.model import MetricType, Names, Preset, Quantity
from pdscaler.telemetry.text import quote_label_value

SERIES_LABEL = "pdscaler_series"
"""Holds ``metric/part`` in each answer."""

JOB_LABEL = "job"
"""Grouped by, because a pod that two jobs scrape must not count twice."""

LOOKBACK_S = 300.0
"""How far back the newest sample is searched: Prometheus's own default lookback."""

FINE_S = 60.0
"""How far back, at least, it is searched in fine steps."""

_STEPS_BACK = 20
_STEPS_IN_WINDOW = 36


class Kind(StrEnum):
    """What is asked of a quantity."""

    RATE = "rate"
    MEAN = "mean"
    BUCKETS = "buckets"
    NOW = "now"
    GROWTH = "growth"
    SAMPLES = "samples"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a snapshot.

    Parameters
    ----------
    quantity, kind
        What is asked; unique within a snapshot.
    names
        The alternatives asked for.
    text
        PromQL.
    """

    quantity: Quantity
    kind: Kind
    names: Names
    text: str

    @property
    def key(self) -> tuple[Quantity, Kind]:
        """What is asked."""
        return self.quantity, self.kind

    @property
    def shown(self) -> str:
        """The query for people: ``osl (vllm:request_generation_tokens)``."""
        return f"{self.quantity.value} ({self.names.shown})"


def build_queries(
    preset: Preset,
    window_s: float,
    at_s: float,
    labels: Iterable[str],
    percentiles: frozenset[Quantity],
    *,
    spoken_for: frozenset[Quantity] = frozenset(),
) -> tuple[Query, ...]:
    """Write the queries of one snapshot.

    Parameters
    ----------
    preset
        Names of the metrics.
    window_s
        Window of rates and means, seconds.
    at_s
        Prometheus's time of the evaluation, seconds since the epoch.
    labels
        Further labels to keep apart (``poolLabel``, ``matchLabels``); their names must have been checked.
    percentiles
        The latencies whose buckets are needed; those of the lengths always are.
    spoken_for
        What the front doors of all who ask name themselves; empty for a front door's own preset.

    Returns
    -------
    tuple[Query, ...]
        Their number depends on the preset, ``percentiles`` and ``spoken_for`` only.
    """
    own = preset.labels
    by = tuple(dict.fromkeys((own.namespace, own.pod, *own.model, JOB_LABEL, *sorted(labels))))
    frame = _Frame(", ".join(by), window_s, at_s)
    return tuple(
        Query(quantity, kind, names, _text(names, kind, quantity, frame))
        for quantity, names in preset.quantities.items()
        for kind in _kinds(quantity, names, percentiles, spoken_for)
    )


def can_wait(quantity: Quantity, kind: Kind, spoken_for: Container[Quantity]) -> bool:
    """Whether a query to the engines is needed only where a front door, which is asked first, gives no answer.

    Parameters
    ----------
    quantity, kind
        What the engines would be asked.
    spoken_for
        What the front doors of all who ask name themselves.
    """
    if kind in {Kind.NOW, Kind.LAST}:
        return False  # of the engines themselves: whether they are there, and what waits in them
    counted = quantity is Quantity.COMPLETIONS or kind is Kind.GROWTH
    return (Quantity.ARRIVALS if counted else quantity) in spoken_for


def _kinds(
    quantity: Quantity, names: Names, percentiles: frozenset[Quantity], spoken_for: frozenset[Quantity]
) -> Iterator[Kind]:
    length = quantity in {Quantity.ISL, Quantity.OSL}
    if names.type is MetricType.GAUGE:
        yield Kind.NOW
        if quantity is Quantity.WAITING:
            yield Kind.GROWTH
    elif names.type is MetricType.HISTOGRAM:
        yield Kind.MEAN
        if length or quantity in percentiles:
            yield Kind.BUCKETS
    else:
        yield Kind.RATE
    if length or quantity in {Quantity.ARRIVALS, Quantity.COMPLETIONS}:
        yield Kind.SAMPLES
        if can_wait(quantity, Kind.SAMPLES, spoken_for):
            yield Kind.LAST


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all queries of a snapshot share: the labels to group by, the window, the time."""

    by: str
    window_s: float
    at_s: float


def _text(names: Names, kind: Kind, quantity: Quantity, frame: _Frame) -> str:
    grouped = frame.by
    window = _duration(frame.window_s)
    where = ", ".join(f"{label}!={quote_label_value(value)}" for label, value in sorted(names.exclude.items()))
    where = f"{{{where}}}" if where else ""
    parts: list[str] = []
    for metric in names.metrics:
        if kind is Kind.RATE:
            parts.append(_named(f"sum by ({grouped}) (rate({metric}{where}[{window}]))", metric, kind.value))
        elif kind is Kind.MEAN:
            parts += [
                _named(f"sum by ({grouped}) (rate({metric}_{part}{where}[{window}]))", metric, part)
                for part in ("sum", "count")
            ]
        elif kind is Kind.BUCKETS:
            rate = f"rate({metric}_bucket{where}[{window}])"
            parts.append(_named(f"sum by ({grouped}, le) ({rate})", metric, kind.value))
        elif kind is Kind.NOW:
            function = "avg" if quantity is Quantity.KV_USAGE else "sum"
            parts.append(_named(f"{function} by ({grouped}) ({metric}{where})", metric, kind.value))
        elif kind is Kind.GROWTH:
            parts.append(_named(f"sum by ({grouped}) (delta({metric}{where}[{window}]))", metric, kind.value))
        else:
            series = metric + ("_count" if names.type is MetricType.HISTOGRAM else "") + where
            asked = _samples if kind is Kind.SAMPLES else _last
            parts += [_named(text, metric, part) for part, text in asked(series, frame)]
    return " or ".join(parts)


def _samples(series: str, frame: _Frame) -> Iterator[tuple[str, str]]:
    """Ask when the newest and the oldest sample of the window were scraped, and how many there are.

    The oldest sample must lie in the window: the lookback would find older ones that ``rate`` ignores.
    """
    yield from _last(series, frame)
    grouped, window_s = frame.by, frame.window_s
    within = f"[{_duration(window_s)}:{_duration(window_step_s(window_s))}]"
    start = f"{frame.at_s - window_s:.3f}"
    yield "first", f"min by ({grouped}) (min_over_time((timestamp({series}) >= {start}){within}))"
    yield "count", f"max by ({grouped}) (count_over_time({series}[{_duration(window_s)}]))"


def _last(series: str, frame: _Frame) -> Iterator[tuple[str, str]]:
    """Ask when the newest sample was scraped.

    ``timestamp`` sees live series exactly; a series that has ended (its target vanished) is found by the subquery, to
    within a step.
    """
    back_s = max(LOOKBACK_S, frame.window_s)
    back = f"[{_duration(back_s)}:{_duration(max(1.0, back_s / _STEPS_BACK))}]"
    # The finer search meets also what lived for less than one step of the longer one, whatever the window.
    fine_s = max(FINE_S, frame.window_s)
    fine = f"[{_duration(fine_s)}:{_duration(window_step_s(fine_s))}]"
    ended = f"max_over_time(timestamp({series}){fine}) or max_over_time(timestamp({series}){back})"
    yield "last", f"max by ({frame.by}) (timestamp({series}) or {ended})"


def window_step_s(window_s: float) -> float:
    """Return the precision of the oldest sample's time, seconds."""
    return max(1.0, window_s / _STEPS_IN_WINDOW)


def _named(text: str, metric: str, part: str) -> str:
    return f'label_replace({text}, "{SERIES_LABEL}", "{metric}/{part}", "", "")'


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
