"""Ask every planner about one case, and judge each answer by long simulations. Imports pdscaler's core."""

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench.sizing.cases import MAX_REPLICAS, Case, case
from bench.sizing.engines import ENGINES
from bench.sizing.planners import PLANNERS, Plan
from bench.sizing.reference import Reference, Verdict

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.run import deployment_of
from pdscaler.core.spec import Routing
from pdscaler.core.verify import verify
from pdscaler.core.workload import LengthStats, WorkloadStats

REFERENCE_SEED = 0x5EED_0000
"""Where the reference's seeds begin; a verification's begin at 0."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A planner's answer to one case.

    Parameters
    ----------
    prefill, decode, gpus
        The counts and what they cost; None where the planner refuses.
    ttft, tpot
        The simulated statistic over its target; None where the planner refuses.
    meets_ttft, meets_tpot
        Whether that is at most 1, within the tolerance.
    processor_ms, note
        As the plan says.
    """

    prefill: int | None
    decode: int | None
    gpus: int | None
    ttft: float | None
    tpot: float | None
    meets_ttft: bool
    meets_tpot: bool
    processor_ms: float
    note: str

    @property
    def meets(self) -> bool:
        """Whether both targets are met."""
        return self.meets_ttft and self.meets_tpot


@dataclass(frozen=True, slots=True)
class Answer:
    """One case with the smallest pair and every planner's answer: one line of the results.

    Parameters
    ----------
    case, seed, fingerprint, engine, summary
        Which case.
    statistics
        Statistic of TTFT and of TPOT.
    gpus_per_replica
        Costs of prefill and decode.
    prefill, decode, gpus
        The smallest pair within both targets; None where no pair was found.
    ttft, tpot
        Its simulated statistics over their targets.
    half_widths
        Half-widths (95 %) of these.
    unsure
        Whether a count's statistic lies within its sampling error of the target, so that other requests might find a
        neighbour of the smallest pair instead.
    requests, seconds
        Simulated to judge the case, and the time that took.
    planners
        By name.
    """

    case: int
    seed: int
    fingerprint: str
    engine: str
    summary: str
    statistics: tuple[str, str]
    gpus_per_replica: tuple[int, int]
    prefill: int | None
    decode: int | None
    gpus: int | None
    ttft: float | None
    tpot: float | None
    half_widths: tuple[float, float] | None
    unsure: bool
    requests: int
    seconds: float
    planners: dict[str, Judged] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON, floats rounded to six digits."""
        document: dict[str, Any] = _rounded(asdict(self))
        return document

    @staticmethod
    def of(document: dict[str, Any]) -> "Answer":
        """Read :meth:`document` back."""
        planners = {name: Judged(**judged) for name, judged in document["planners"].items()}
        pairs = {
            name: document[name] and tuple(document[name]) for name in ("statistics", "gpus_per_replica", "half_widths")
        }
        return Answer(**{**document, **pairs, "planners": planners})


def warm_up() -> None:
    """Compile, or load, the simulation, so that no plan's time holds it."""
    for routing in Routing:
        spec = replace(case(ENGINES, 2, 0).spec, routing=routing)
        verify(spec, WorkloadStats(20.0, LengthStats(500.0, 0.5), LengthStats(50.0, 0.5)), budget_requests=20_000)


def answer(asked: Case) -> Answer:
    """Plan and judge one case."""
    begin = time.perf_counter()
    slo = asked.spec.slo
    assert slo.ttft is not None
    assert slo.tpot is not None
    plans = {planner.name: planner.plan(asked.spec, asked.workload) for planner in PLANNERS}
    reference = Reference(
        deployment_of(asked.spec), asked.workload, slo, REFERENCE_SEED + 1_000_003 * asked.seed + asked.index
    )
    start = plans["verified"].replicas
    assert start is not None
    smallest = reference.smallest(start, MAX_REPLICAS)
    costs = asked.spec.limits.map(lambda limits: limits.gpus_per_replica)
    verdicts = (
        None
        if smallest is None
        else (reference.ttft(smallest.prefill), reference.tpot(smallest.prefill, smallest.decode))
    )
    judged = {name: _judge(plan, reference, costs, smallest) for name, plan in plans.items()}
    return Answer(
        case=asked.index,
        seed=asked.seed,
        fingerprint=asked.fingerprint,
        engine=asked.engine,
        summary=asked.summary,
        statistics=(slo.ttft.statistic.value, slo.tpot.statistic.value),
        gpus_per_replica=(costs.prefill, costs.decode),
        prefill=None if smallest is None else smallest.prefill,
        decode=None if smallest is None else smallest.decode,
        gpus=None if smallest is None else cost(smallest, costs),
        ttft=None if verdicts is None else verdicts[0].ratio,
        tpot=None if verdicts is None else verdicts[1].ratio,
        half_widths=None if verdicts is None else (_share(verdicts[0]), _share(verdicts[1])),
        unsure=smallest is not None and reference.unsure(smallest),
        requests=reference.simulated_requests,
        seconds=time.perf_counter() - begin,
        planners=judged,
    )


def cost(replicas: PerPool[int], gpus_per_replica: PerPool[int]) -> int:
    """Return the GPUs of a pair."""
    return replicas.prefill * gpus_per_replica.prefill + replicas.decode * gpus_per_replica.decode


def _judge(plan: Plan, reference: Reference, costs: PerPool[int], smallest: PerPool[int] | None) -> Judged:
    pair = plan.replicas
    if pair is None:
        return Judged(None, None, None, None, None, False, False, plan.processor_ms, plan.note or "refuses")
    # More than what has been confirmed to suffice needs no long simulation of its own.
    known = smallest or pair
    ttft = reference.ttft(pair.prefill, confirmed=pair.prefill <= known.prefill)
    tpot = reference.tpot(pair.prefill, pair.decode, confirmed=pair.decode <= known.decode)
    return Judged(
        prefill=pair.prefill,
        decode=pair.decode,
        gpus=cost(pair, costs),
        ttft=ttft.ratio,
        tpot=tpot.ratio,
        meets_ttft=ttft.meets,
        meets_tpot=tpot.meets,
        processor_ms=plan.processor_ms,
        note=plan.note,
    )


def _share(verdict: Verdict) -> float:
    return verdict.half_width_s / verdict.target_s


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
