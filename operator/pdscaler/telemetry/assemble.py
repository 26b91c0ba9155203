"""One PDDeployment's telemetry out of the snapshots. Pure: values in, a value out, and "no data" is one of them.

Arrivals, ISL and TTFT come from the front door or the prefill pool, OSL and TPOT from the front door or the decode
pool; nothing is summed over both pools. A role whose metrics are missing makes the whole reading unknown.
"""

import math
from dataclasses import dataclass

from pdscaler.core.histogram import Bucket, quantile_interval, scv_of, surely_above
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyTarget
from pdscaler.core.workload import (
    ArrivalSource,
    LengthStats,
    NoData,
    NoDataReason,
    PoolLoad,
    Telemetry,
    WorkloadStats,
)
from pdscaler.telemetry.places import Place, UnknownError, places, pool_place, unknown
from pdscaler.telemetry.presets.model import Quantity
from pdscaler.telemetry.queries import Kind
from pdscaler.telemetry.rates import Arrivals, check_fresh, completions_and_growth, rate_of, scrape_interval_s
from pdscaler.telemetry.snapshot import Snapshot
from pdscaler.telemetry.subject import Subject
from pdscaler.telemetry.text import shown
from pdscaler.telemetry.values import MAX_VALUE, MIN_LATENCY_S, MIN_TOKENS
from pdscaler.units import format_number

MAX_PREFIX_HIT_RATIO = 0.99
"""A prompt's last block is always computed: a ratio of 1 would be free prefill."""


def assemble(subject: Subject, engine: Snapshot, front: Snapshot | None, now_s: float) -> Telemetry | NoData:
    """Put one PDDeployment's reading together.

    Parameters
    ----------
    subject
        The PDDeployment.
    engine, front
        Snapshots of its engine's and its front door's preset.
    now_s
        The operator's time of the snapshot, seconds since the epoch: ages are Prometheus's, times are the operator's,
        so that a skewed clock makes nothing look stale.

    Returns
    -------
    Telemetry | NoData
        The reading, or why there is none.
    """
    try:
        return _Reading(subject, engine, front).telemetry(now_s)
    except UnknownError as error:
        return error.no_data
    except (ArithmeticError, ValueError):
        # Numbers near the ends of what a float holds, bucket bounds below 0: an exposition can say anything, and one
        # namespace's nonsense must not cost the others their reading.
        problem = f"the metrics of model {shown(subject.model)} hold numbers that cannot be reckoned with"
        return NoData(NoDataReason.NON_FINITE, problem)


@dataclass(frozen=True, slots=True)
class _Histogram:
    """A histogram over the window: where it stands, its mean, its buckets."""

    place: Place
    mean: float

    def buckets(self) -> list[Bucket]:
        return [bucket for entry in self.place.entries(Kind.BUCKETS) for bucket in entry.buckets]


@dataclass(frozen=True, slots=True)
class _Reading:
    subject: Subject
    engine: Snapshot
    front: Snapshot | None

    def telemetry(self, now_s: float) -> Telemetry:
        ages_s = [age for pool in Pool if (age := self._check_role(pool)) is not None]
        place, arrivals = self._arrivals()
        age_s = check_fresh(place, self.subject.max_staleness_s)
        idle = arrivals.rate_rps == 0
        isl = self._length(Quantity.ISL, idle)
        osl = self._length(Quantity.OSL, idle)
        if not idle:
            self._check_finished(arrivals, isl, osl)
        both = isl is not None and osl is not None
        ttft, tpot = self._latency(Quantity.TTFT, idle), self._latency(Quantity.TPOT, idle)
        slo = self.subject.slo
        requests = arrivals.rate_rps * self.subject.window_s
        ttft_bucket_s, ttft_surely_s = _percentile(ttft, slo.ttft, requests)
        tpot_bucket_s, tpot_surely_s = _percentile(tpot, slo.tpot, requests)
        return Telemetry(
            workload=WorkloadStats(
                arrival_rate_rps=arrivals.rate_rps,
                isl=_length_stats(isl) if isl is not None and both else None,
                osl=_length_stats(osl) if osl is not None and both else None,
                # Counts per window hold no trace of the times between arrivals: Poisson is assumed.
                arrival_scv=1.0,
                prefix_hit_ratio=self._prefix_hit_ratio(),
            ),
            arrival_source=arrivals.source,
            ttft_mean_s=ttft.mean if ttft else None,
            tpot_mean_s=tpot.mean if tpot else None,
            ttft_bucket_s=ttft_bucket_s,
            tpot_bucket_s=tpot_bucket_s,
            prefill=self._load(Pool.PREFILL),
            decode=self._load(Pool.DECODE),
            alternatives=self._alternatives(place, isl, osl, ttft, tpot),
            window_s=self.subject.window_s,
            observed_at_s=now_s - max([*ages_s, age_s or 0.0]),
            scrape_interval_s=scrape_interval_s(place),
            ttft_surely_s=ttft_surely_s,
            tpot_surely_s=tpot_surely_s,
        )

    def _places(self, quantity: Quantity) -> list[Place]:
        return list(places(self.subject, self.engine, self.front, quantity))

    def _arrivals(self) -> tuple[Place, Arrivals]:
        """Read the front door; only where there is none, the prefill pool."""
        counted = self._places(Quantity.ARRIVALS)
        if counted:
            return counted[0], Arrivals(rate_of(counted[0]), ArrivalSource.FRONT_DOOR)
        completions = self._places(Quantity.COMPLETIONS)
        if not completions:
            problem = f'preset "{self.engine.preset.name}" names neither arrivals nor completions'
            raise unknown(NoDataReason.NO_DATA, f"{problem}, and spec.metrics.frontDoor names no preset that does")
        waiting = pool_place(self.subject, self.engine, Quantity.WAITING, Pool.PREFILL)
        return completions[0], completions_and_growth(completions[0], waiting)

    def _length(self, quantity: Quantity, idle: bool) -> _Histogram | None:
        """Read a length; None where its series exist and nothing finished within the window."""
        candidates = self._places(quantity)
        if not candidates:
            problem = f"is named by no preset ({self.engine.preset.name})"
            raise unknown(NoDataReason.NO_DATA, f"{quantity.value} {problem}")
        exists = False
        for place in candidates:
            if not place.entries(Kind.MEAN):
                continue
            check_fresh(place, self.subject.max_staleness_s)
            exists = True
            count, total = place.total(Kind.MEAN, "count"), place.total(Kind.MEAN, "sum")
            if count == 0 or count is None or total is None:
                if idle and place.pool is None and count == 0:
                    return None  # nothing came, and the front door says that nothing ended: nor do the engines
                continue
            mean = total / count
            if MIN_TOKENS <= mean <= MAX_VALUE:
                return _Histogram(place, mean)
            if not idle:
                problem = "the mean is not a finite number" if not math.isfinite(mean) else "the mean is 0 tokens"
                raise unknown(NoDataReason.NON_FINITE, f"{place.shown}: {problem}")
        if not exists:
            for place in candidates:
                check_fresh(place, self.subject.max_staleness_s)
            raise unknown(NoDataReason.NO_DATA, candidates[-1].missing(Kind.MEAN))
        return None

    def _check_finished(self, arrivals: Arrivals, isl: _Histogram | None, osl: _Histogram | None) -> None:
        for quantity, found, what in ((Quantity.ISL, isl, "no prompt"), (Quantity.OSL, osl, "no answer")):
            if found is None:
                names = " or ".join(place.shown for place in self._places(quantity))
                rate = format_number(arrivals.rate_rps)
                message = f"{names}: {rate} requests/s arrive, and {what} has finished within the window yet"
                raise unknown(NoDataReason.NO_DATA, message)

    def _check_role(self, pool: Pool) -> float | None:
        """Make sure that a role's own metrics are there and fresh; return their age, seconds."""
        named = [
            place
            for quantity in Quantity
            if (place := pool_place(self.subject, self.engine, quantity, pool)) is not None
        ]
        if not named:
            return None  # this engine speaks at its front door only
        if not self.subject.pool_label and not self.subject.pods[pool]:
            if self.front is not None:
                # Nobody's metrics are missing; what the front door does not answer is missed where it is read.
                return None
            problem = f"the {pool.value} target {self.subject.targets[pool]} has no pods: no metrics to read"
            raise unknown(NoDataReason.NO_DATA, problem)
        aged = [(age, place) for place in named if (age := place.age_s()) is not None]
        if aged:
            _, youngest = min(aged, key=lambda found: found[0])
            return check_fresh(youngest, self.subject.max_staleness_s)
        timed = [place for place in named if place.entries(place.ages)]
        if timed:
            # They lived so shortly that no step of the search for the newest sample met them.
            problem = f"the {pool.value} pool's series of {timed[0].shown} have ended"
            raise unknown(NoDataReason.STALE_DATA, problem)
        if any(place.entries(Kind.NOW) for place in named):
            return None
        first = next((p for p in named if p.quantity in {Quantity.ISL, Quantity.OSL, Quantity.COMPLETIONS}), named[0])
        kind = Kind.NOW if first.names.type.value == "gauge" else first.ages
        raise unknown(NoDataReason.NO_DATA, f"the {pool.value} pool's metrics are missing: {first.missing(kind)}")

    def _latency(self, quantity: Quantity, idle: bool) -> _Histogram | None:
        for place in self._places(quantity):
            count, total = place.total(Kind.MEAN, "count"), place.total(Kind.MEAN, "sum")
            if idle and place.pool is None and count == 0:
                return None
            if count and total is not None and MIN_LATENCY_S <= total / count <= MAX_VALUE:
                return _Histogram(place, total / count)
        return None

    def _prefix_hit_ratio(self) -> float:
        for hits_at, queries_at in zip(
            self._places(Quantity.PREFIX_HITS), self._places(Quantity.PREFIX_QUERIES), strict=True
        ):
            hits = hits_at.total(Kind.RATE, Kind.RATE.value)
            queries = queries_at.total(Kind.RATE, Kind.RATE.value)
            if hits is not None and queries and math.isfinite(hits / queries):
                return min(MAX_PREFIX_HIT_RATIO, max(0.0, hits / queries))
        return 0.0

    def _load(self, pool: Pool) -> PoolLoad:
        def read(quantity: Quantity) -> list[float]:
            place = pool_place(self.subject, self.engine, quantity, pool)
            entries = place.entries(Kind.NOW) if place is not None else []
            values = [entry.parts[Kind.NOW.value] for entry in entries if Kind.NOW.value in entry.parts]
            return values if all(math.isfinite(value) for value in values) else []

        waiting, running, usage = read(Quantity.WAITING), read(Quantity.RUNNING), read(Quantity.KV_USAGE)
        return PoolLoad(
            waiting_requests=sum(waiting) if waiting else None,
            running_requests=sum(running) if running else None,
            kv_usage_ratio=sum(usage) / len(usage) if usage else None,
        )

    def _alternatives(self, arrivals: Place, *histograms: _Histogram | None) -> tuple[tuple[str, str], ...]:
        answered = {arrivals.quantity.value: arrivals.metrics(Kind.RATE)}
        answered |= {h.place.quantity.value: h.place.metrics(Kind.MEAN) for h in histograms if h is not None}
        for quantity in (Quantity.WAITING, Quantity.RUNNING, Quantity.KV_USAGE):
            found = [
                place.metrics(Kind.NOW)
                for pool in Pool
                if (place := pool_place(self.subject, self.engine, quantity, pool)) is not None
            ]
            answered[quantity.value] = next((names for names in found if names), "")
        return tuple((quantity, names) for quantity, names in answered.items() if names)


def _length_stats(histogram: _Histogram) -> LengthStats:
    scv = scv_of(histogram.buckets(), histogram.mean)
    if not math.isfinite(scv):
        raise unknown(NoDataReason.NON_FINITE, f"{histogram.place.shown}: the spread is not a finite number")
    return LengthStats(histogram.mean, scv)


def _percentile(
    histogram: _Histogram | None, target: LatencyTarget | None, requests: float
) -> tuple[tuple[float, float] | None, float | None]:
    """Return the bucket that holds the statistic of a target, and what it is above beyond chance."""
    quantile = target.statistic.quantile if target is not None else None
    if histogram is None or quantile is None:
        return None, None
    buckets = histogram.buckets()
    return quantile_interval(buckets, quantile), surely_above(buckets, quantile, requests)
