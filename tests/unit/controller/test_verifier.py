"""Verification beside the loop: nothing waits for it but a scale-down, and that not for long."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.verification_process import Settled
from pdscaler.controller.verifier import FAILED_FOR_S, PATIENCE, QUEUED, Verifier
from pdscaler.core.decision import Decision, PlanInputs, PlanState, PoolState
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import size
from pdscaler.core.spec import ScalingSpec, SizingModel, SizingSpec
from pdscaler.core.verification import Correction, Verification
from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast.last_value import last_value
from support.core_cases import paper_spec, paper_workload, telemetry
from support.eventually import eventually
from support.world import PERIOD_S, START_S, World, load, ready_world

KEY = ResourceKey("serving", "deepseek")
AUTO = replace(paper_spec(), model=SizingModel.AUTO)
AUTO_MODEL = {"model": "Auto"}
"""12.5 requests/s need 3P4D by the laws, 5P4D where the prefill law sees 1.5 times the load."""
QUICK_DOWN = {"scaleDown": {"stabilizationWindowSeconds": 0}}
EXACT = Correction(PerPool(1.0, 1.0), verified=True)


class Simulation:
    """Stands in for the simulation: waits to be let go, then finds these factors or fails."""

    def __init__(self, *factors: float, verified: bool = True) -> None:
        self.factors = PerPool(*factors) if factors else PerPool(1.0, 1.0)
        self.verified = verified
        self.go = threading.Event()
        self.asked: list[WorkloadStats] = []
        self.threads: set[str] = set()
        self.error: Exception | None = None
        self.rests = 0

    def __call__(self, spec: SizingSpec, workload: WorkloadStats, current: PerPool[int] | None) -> Settled:
        self.asked.append(workload)
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        unknown: PerPool[float | None] = PerPool(None, None)
        verification = Verification(self.verified, unknown, unknown, 1, (), "", self.factors)
        return Settled(size(spec, workload, current).label, verification)

    def rest(self) -> None:
        self.rests += 1


@pytest.fixture
def begin() -> Iterator[Callable[[Simulation], Verifier]]:
    """Begin verifiers, and end them with the test."""
    begun: list[tuple[Simulation, Verifier]] = []

    def make(simulation: Simulation) -> Verifier:
        verifier = Verifier(lambda: START_S, simulation)
        begun.append((simulation, verifier))
        return verifier

    yield make
    for simulation, verifier in begun:
        simulation.go.set()
        verifier.close()


def decision(rate_rps: float, current: PerPool[int], verifier: Verifier, at_s: float = START_S) -> Decision:
    """Decide for a load and the present counts, as an evaluation does."""
    inputs = PlanInputs(telemetry(paper_workload(rate_rps)), current.map(lambda count: PoolState(count, count)))
    return plan(ScalingSpec(AUTO), inputs, PlanState(), at_s, last_value, corrector=verifier.correction)


async def verified(verifier: Verifier, workload: WorkloadStats) -> Correction:
    """Wait until a workload is known."""
    return await eventually(lambda: verifier.correction(AUTO, workload), lambda found: found != Correction())


async def test_only_a_change_is_verified(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation()
    verifier = begin(simulation)
    planned = size(AUTO, paper_workload()).pools.map(lambda pool: pool.replicas)
    assert not verifier.hold(KEY, AUTO, decision(12.5, planned, verifier))
    assert simulation.asked == []
    verifier.hold(KEY, AUTO, decision(12.5, PerPool(1, 1), verifier))
    await eventually(lambda: len(simulation.asked), lambda asked: asked == 1)
    assert simulation.threads == {"pdscaler verification"}


async def test_a_change_is_verified_once_and_remembered_for_what_is_close(
    begin: Callable[[Simulation], Verifier],
) -> None:
    simulation = Simulation(1.25, 0.875)
    verifier = begin(simulation)
    for _ in range(5):
        verifier.hold(KEY, AUTO, decision(12.5, PerPool(1, 1), verifier))
    simulation.go.set()
    assert await verified(verifier, paper_workload(12.5)) == Correction(PerPool(1.25, 0.875), verified=True)
    assert verifier.correction(AUTO, paper_workload(12.9)).verified, "within a few percent it is that load"
    assert verifier.correction(AUTO, paper_workload(17.0)) == Correction(PerPool(1.25, 0.875), verified=False)
    assert verifier.correction(AUTO, paper_workload(50.0)) == Correction()
    assert verifier.correction(replace(AUTO, name="another"), paper_workload(12.5)) == Correction(), "another spec"
    verifier.hold(KEY, AUTO, decision(12.6, PerPool(1, 1), verifier))
    verifier.hold(KEY, AUTO, decision(17.0, PerPool(1, 1), verifier))
    await eventually(lambda: len(simulation.asked), lambda asked: asked == 2)
    assert [round(workload.arrival_rate_rps, 3) for workload in simulation.asked] == [12.5, 17.0]


async def test_the_nearest_of_several_verified_loads_counts(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation(1.5, 1.0)
    simulation.go.set()
    verifier = begin(simulation)
    verifier.hold(KEY, AUTO, decision(10.0, PerPool(1, 1), verifier))
    await verified(verifier, paper_workload(10.0))
    simulation.factors = PerPool(1.25, 1.0)
    verifier.hold(KEY, AUTO, decision(15.0, PerPool(1, 1), verifier))
    await eventually(lambda: verifier.correction(AUTO, paper_workload(15.0)), lambda found: found.verified)
    assert verifier.correction(AUTO, paper_workload(11.0)).factors.prefill == 1.5
    assert verifier.correction(AUTO, paper_workload(14.0)).factors.prefill == 1.25


async def test_more_replicas_never_wait(begin: Callable[[Simulation], Verifier]) -> None:
    world = ready_world(1, 1, sizing=AUTO_MODEL)
    world.verifier = begin(Simulation(1.25, 1.25))
    world.restart()
    await world.step()
    assert sorted(world.cluster.writes) == [("deepseek-decode", 1, 4), ("deepseek-prefill", 1, 3)]


async def test_more_replicas_are_refined_once_it_is_verified(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation(1.5, 1.0)
    world = ready_world(1, 4, sizing=AUTO_MODEL)
    world.verifier = begin(simulation)
    world.restart()
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)]
    world.cluster.set("deepseek-prefill", 3)
    simulation.go.set()
    await _known(world, simulation)
    await world.run(1)
    assert world.cluster.writes[1:] == [("deepseek-prefill", 3, 5)]
    assert "(verified)" in world.status()["prefill"]["reason"]


async def test_fewer_replicas_wait_for_their_verification(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation(1.5, 1.0)
    world = _shrinking(begin(simulation))
    await world.step()
    assert world.cluster.writes == []
    assert world.status()["prefill"]["limitedBy"] == ["Verification"]
    assert "fewer are being verified by simulation" in world.status()["prefill"]["reason"]
    simulation.go.set()
    await _known(world, simulation)
    await world.run(1)
    assert world.cluster.writes == [("deepseek-prefill", 8, 5)]


async def test_fewer_replicas_do_not_wait_for_ever(begin: Callable[[Simulation], Verifier]) -> None:
    world = _shrinking(begin(Simulation()))
    for _ in range(PATIENCE):
        await world.run(1)
        assert world.cluster.writes == []
    await world.run(1)
    assert world.cluster.writes == [("deepseek-prefill", 8, 3)]


async def test_patience_counts_evaluations_not_decisions(begin: Callable[[Simulation], Verifier]) -> None:
    verifier = begin(Simulation())
    for _ in range(3 * PATIENCE):  # somebody else writes, and the same evaluation decides again and again
        assert verifier.hold(KEY, AUTO, replace(decision(12.5, PerPool(8, 8), verifier), pools=_down(verifier)))
    later = replace(decision(12.5, PerPool(8, 8), verifier), pools=_down(verifier), at_s=START_S + PERIOD_S)
    assert verifier.hold(KEY, AUTO, later)
    assert not verifier.hold(KEY, AUTO, replace(later, at_s=START_S + 2 * PERIOD_S))


async def test_a_failure_is_said_once_and_the_analytic_answer_stands(
    begin: Callable[[Simulation], Verifier], caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation()
    simulation.error = RuntimeError("no compiler")
    simulation.go.set()
    verifier = begin(simulation)
    now_s = [START_S]
    verifier._clock = lambda: now_s[0]
    world = _shrinking(verifier)
    with caplog.at_level(logging.ERROR, "pdscaler.controller.verifier"):
        await world.step()
        await eventually(lambda: verifier._specs, lambda specs: any(known.reported for known in specs.values()))
        await world.run(1)
        assert world.cluster.writes == [("deepseek-prefill", 8, 3)]
        assert len(simulation.asked) == 1, "it is left alone for a while"
        now_s[0] += FAILED_FOR_S + 1
        world.cluster.set("deepseek-prefill", 8)
        await world.run(1)
        await eventually(lambda: len(simulation.asked), lambda asked: asked == 2)
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert "deepseek" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no compiler"


async def test_a_full_queue_refuses_at_once(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation()
    verifier = begin(simulation)
    specs = [replace(AUTO, name=f"spec {number}") for number in range(QUEUED + 3)]
    shrinking = replace(decision(12.5, PerPool(8, 8), verifier), pools=_down(verifier))
    held = [verifier.hold(ResourceKey("serving", spec.name + str(n)), spec, shrinking) for n, spec in enumerate(specs)]
    assert held[0]
    assert not held[-1], "what finds no room goes on with the analytic answer"
    assert held.count(False) <= 3


async def test_what_is_left_when_it_closes_is_not_verified(begin: Callable[[Simulation], Verifier]) -> None:
    simulation = Simulation()
    verifier = begin(simulation)
    for rate in (10.0, 20.0, 40.0):
        verifier.hold(KEY, AUTO, decision(rate, PerPool(1, 1), verifier))
    await eventually(lambda: len(simulation.asked), lambda asked: asked == 1)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "pdscaler verification")
    verifier.close()
    simulation.go.set()
    await eventually(thread.is_alive, lambda alive: not alive)
    assert len(simulation.asked) == 1


def _down(verifier: Verifier) -> Any:
    pools = decision(12.5, PerPool(8, 8), verifier).pools
    return pools.map(lambda pool: replace(pool, desired=4))


def _shrinking(verifier: Verifier) -> World:
    world = ready_world(8, 4, behavior=QUICK_DOWN, sizing=AUTO_MODEL)
    world.verifier = verifier
    world.restart()
    world.source.default = load(12.5)
    return world


async def _known(world: World, simulation: Simulation) -> None:
    assert isinstance(world.verifier, Verifier)
    verifier = world.verifier
    await eventually(lambda: [known.found for known in verifier._specs.values()], any)
    assert len(simulation.asked) == 1


async def test_what_only_verifying_needs_is_given_back_when_nothing_is_asked(
    begin: Callable[[Simulation], Verifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdscaler.controller.verifier.IDLE_S", 0.05)
    simulation = Simulation()
    simulation.go.set()
    verifier = begin(simulation)
    verifier.hold(KEY, AUTO, decision(12.5, PerPool(4, 4), verifier))
    await eventually(lambda: simulation.rests, lambda rests: rests > 0)
    # The next question is answered all the same.
    verifier.hold(KEY, AUTO, decision(50.0, PerPool(4, 4), verifier))
    await eventually(lambda: len(simulation.asked), lambda count: count == 2)


async def test_what_is_given_up_at_the_end_is_no_failure(
    begin: Callable[[Simulation], Verifier], caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation()
    simulation.error = RuntimeError("ended")
    verifier = begin(simulation)
    verifier.hold(KEY, AUTO, decision(12.5, PerPool(4, 4), verifier))
    await eventually(lambda: len(simulation.asked), lambda count: count == 1)
    verifier.close()
    assert simulation.rests == 1
    simulation.go.set()
    await eventually(
        lambda: [each for each in threading.enumerate() if "verification" in each.name], lambda left: not left
    )
    assert "cannot be verified" not in caplog.text
