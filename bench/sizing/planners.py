"""The planners that are compared: ours, settled by simulation and analytic alone, and four others. Imports core."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.sizing.llmd import llmd

from pdscaler.core.decision import SizingResult
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import size
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verify import verify
from pdscaler.core.workload import WorkloadStats
from pdscaler.simulator.policies import dynamo_rules as dynamo


@dataclass(frozen=True, slots=True)
class Plan:
    """What a planner answered.

    Parameters
    ----------
    replicas
        The counts; None where the planner refuses.
    processor_ms
        Processor time it took.
    note
        What our own plan says of how it was settled.
    """

    replicas: PerPool[int] | None
    processor_ms: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Planner:
    """A planner and how it is shown.

    Parameters
    ----------
    name
        Stable name, in the results.
    title
        What the table and the plot call it.
    answer
        Its counts and a note.
    repeats
        Calls whose median is its time.
    """

    name: str
    title: str
    answer: Callable[[SizingSpec, WorkloadStats], tuple[PerPool[int] | None, str]]
    repeats: int = 1

    def plan(self, spec: SizingSpec, workload: WorkloadStats) -> Plan:
        """Ask the planner, and measure how long it computes."""
        times_ms = []
        replicas, note = None, ""
        for _ in range(self.repeats):
            begin_ns = time.thread_time_ns()
            replicas, note = self.answer(spec, workload)
            times_ms.append((time.thread_time_ns() - begin_ns) / 1e6)
        return Plan(replicas, sorted(times_ms)[len(times_ms) // 2], note)


def _counts(result: SizingResult) -> PerPool[int]:
    return result.pools.map(lambda pool: pool.replicas)


def _verified(spec: SizingSpec, workload: WorkloadStats) -> tuple[PerPool[int], str]:
    result = verify(spec, workload)
    found = result.verification
    assert found is not None
    verdict = "verified" if found.verified else "not verified"
    return _counts(result), f"{verdict}, {found.requests} requests{': ' + found.note if found.note else ''}"


def _analytic(spec: SizingSpec, workload: WorkloadStats) -> tuple[PerPool[int], str]:
    return _counts(size(replace(spec, model=SizingModel.AUTO), workload)), ""


def _paper(spec: SizingSpec, workload: WorkloadStats) -> tuple[PerPool[int], str]:
    return _counts(size(replace(spec, model=SizingModel.PAPER_MM1), workload)), ""


VERIFIED = Planner("verified", "pdscaler, verified", _verified)
ANALYTIC = Planner("analytic", "pdscaler, analytic only", _analytic, repeats=5)
PLANNERS = (
    VERIFIED,
    ANALYTIC,
    Planner("paper", "PaperMM1 (the paper)", _paper, repeats=5),
    Planner("dynamo-classic", "NVIDIA Dynamo classic (0.9)", lambda spec, load: (dynamo.classic(spec, load), "")),
    Planner("dynamo-current", "NVIDIA Dynamo current (1.6)", lambda spec, load: (dynamo.current(spec, load), "")),
    Planner("llm-d", "llm-d's recipe (WVA 0.9)", lambda spec, load: (llmd(spec, load), "")),
)
