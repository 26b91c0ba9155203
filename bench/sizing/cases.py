"""Seeded random cases: an engine, a workload, two attainable targets. Imports pdscaler's core."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from bench.sizing.engines import Engine

from pdscaler.core.curves import DecodeSurface, decode_surface, prefill_curve
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, Routing, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats

MAX_REPLICAS = 1000
"""Bound of both pools: far above what any case needs, so that no bound decides."""

MOST_EXPECTED = 60.0
"""Replicas of either pool that a case may need at full utilisation."""

TTFT_ROOM = (1.15, 8.0)
RANDOM_TTFT_ROOM = (2.2, 8.0)
"""Times the idle value, from and to. Random routing sends a request behind another one however many replicas there are:
a percentile within one service time of the idle value would take hundreds of them."""

TIGHTEST = 1.08
"""Every target is at least this many times its value on an idle deployment: no case is unattainable."""

SAMPLES = 400
"""Lengths that stand for their distribution, to find a statistic of an idle deployment."""

SCVS = (0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
ARRIVAL_SCVS = (1.0, 1.0, 1.0, 1.5, 2.0, 3.0, 4.0)
ROUTINGS = (Routing.JOIN_SHORTEST_QUEUE,) * 7 + (Routing.CENTRAL, Routing.ROUND_ROBIN, Routing.RANDOM)

_NORMALS = tuple(NormalDist().inv_cdf((index + 0.5) / SAMPLES) for index in range(SAMPLES))


@dataclass(frozen=True, slots=True)
class Case:
    """One question: how many replicas of each pool, and of what kind it is.

    Parameters
    ----------
    index, seed
        Which case of which benchmark.
    engine
        Name of the engine.
    spec, workload
        What every planner is given.
    """

    index: int
    seed: int
    engine: str
    spec: SizingSpec
    workload: WorkloadStats

    @property
    def summary(self) -> str:
        """One line for people: enough to see what kind of case it is."""
        load, slo = self.workload, self.spec.slo
        assert load.isl is not None
        assert load.osl is not None
        assert slo.ttft is not None
        assert slo.tpot is not None
        return (
            f"{self.engine}: {load.arrival_rate_rps:.3g} rps (scv {load.arrival_scv:g}), in {load.isl.mean_tokens:.0f} "
            f"(scv {load.isl.scv:g}), out {load.osl.mean_tokens:.0f} (scv {load.osl.scv:g}), hits "
            f"{load.prefix_hit_ratio:.0%}, {self.spec.routing.value}, TTFT {slo.ttft.statistic.value} "
            f"{1000 * slo.ttft.target_s:.0f} ms, TPOT {slo.tpot.statistic.value} {1000 * slo.tpot.target_s:.1f} ms"
        )

    @property
    def fingerprint(self) -> str:
        """A short hash of everything that is asked, by which a stored answer is known to belong to it."""
        return hashlib.sha256(repr((self.spec, self.workload)).encode()).hexdigest()[:16]


def cases(engines: Sequence[Engine], count: int, seed: int) -> list[Case]:
    """Draw the cases; case i is the same whatever the count."""
    return [case(engines, index, seed) for index in range(count)]


def case(engines: Sequence[Engine], index: int, seed: int) -> Case:
    """Draw one case.

    Engines take turns, and so do the 25 pairs of statistics. Lengths, hits, variances and targets are random. The load
    is drawn last, as a number of replicas of one pool, from less than one to dozens, on a logarithmic scale.
    """
    random = np.random.default_rng([seed, index])
    engine = engines[index % len(engines)]
    statistics = tuple(Statistic)
    turn = index // len(engines)
    pair = PerPool(statistics[turn % 5], statistics[(turn // 5 + turn) % 5])
    while True:
        drawn = _draw(engine, pair, random)
        if drawn is not None:
            return Case(index, seed, engine.name, *drawn)


def _draw(
    engine: Engine, statistic: PerPool[Statistic], random: np.random.Generator
) -> tuple[SizingSpec, WorkloadStats] | None:
    """Draw once; None where the load is beyond :data:`MOST_EXPECTED` replicas of a pool."""
    isl = LengthStats(round(_between(random, *engine.input_tokens)), float(random.choice(SCVS)))
    osl = LengthStats(round(_between(random, *engine.output_tokens)), float(random.choice(SCVS)))
    hits = round(random.uniform(0.1, 0.8), 2) if random.random() < 0.3 else 0.0
    lengths = _lengths(isl, random), _lengths(osl, random)
    surface = decode_surface(engine.decode)
    routing = ROUTINGS[int(random.integers(len(ROUTINGS)))]
    room = RANDOM_TTFT_ROOM if routing is Routing.RANDOM else TTFT_ROOM
    ttft_s = _idle_ttft(engine, lengths[0], hits, statistic.prefill) * _between(random, *room)
    context = isl.mean_tokens + osl.mean_tokens / 2
    full = min(surface.max_batch, (surface.kv_capacity_tokens or math.inf) / context)
    batch = _between(random, 1.5, 1.3 * max(full, 2.0))
    tpot_s = max(TIGHTEST * _idle_tpot(surface, lengths, statistic.decode), surface.at_context(batch, context))
    served = min(batch, full)
    prefill_s = prefill_curve(engine.prefill).time_s(isl.mean_tokens * (1 - hits))
    decode_s = osl.mean_tokens * surface.at_context(served, context) / served
    per_pool = PerPool(prefill_s, decode_s)
    anchor = per_pool.prefill if random.random() < 0.5 else per_pool.decode
    rate = _between(random, 0.4, 40.0) / anchor
    if rate * max(per_pool.prefill, per_pool.decode) > MOST_EXPECTED:
        return None
    spec = SizingSpec(
        name="case",
        slo=Slo(LatencyTarget(_rounded(ttft_s), statistic.prefill), LatencyTarget(_rounded(tpot_s), statistic.decode)),
        prefill_profile=engine.prefill,
        decode_profile=engine.decode,
        limits=PerPool(
            PoolLimits(1, MAX_REPLICAS, engine.gpus.prefill), PoolLimits(1, MAX_REPLICAS, engine.gpus.decode)
        ),
        routing=routing,
    )
    return spec, WorkloadStats(_rounded(rate), isl, osl, float(random.choice(ARRIVAL_SCVS)), hits)


def _between(random: np.random.Generator, low: float, high: float) -> float:
    """Draw on a logarithmic scale."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _lengths(length: LengthStats, random: np.random.Generator) -> list[float]:
    """Return log-normal whole lengths at evenly spaced probabilities, in random order: quantiles without noise."""
    if length.scv == 0:
        return [length.mean_tokens] * SAMPLES
    spread = math.sqrt(math.log(1 + length.scv))
    location = math.log(length.mean_tokens) - spread**2 / 2
    return [max(1.0, round(math.exp(location + spread * normal))) for normal in random.permutation(_NORMALS)]


def _idle_ttft(engine: Engine, inputs: list[float], hits: float, statistic: Statistic) -> float:
    curve = prefill_curve(engine.prefill)
    return _statistic([curve.time_s(tokens * (1 - hits)) + curve.overhead_s(tokens) for tokens in inputs], statistic)


def _idle_tpot(surface: DecodeSurface, lengths: tuple[list[float], list[float]], statistic: Statistic) -> float:
    pairs = zip(*lengths, strict=True)
    return _statistic([surface.at_context(1, before + after / 2) for before, after in pairs], statistic)


def _statistic(values: list[float], statistic: Statistic) -> float:
    quantile = statistic.quantile
    return float(np.mean(values) if quantile is None else np.quantile(values, quantile))
