"""A restart in the middle of a rising load: the decisions are those of an operator that was never restarted.

Two namespaces, each with its own Prometheus that holds the same earlier days, see the same load at the same time; in
one of them the operator is killed half-way up and started anew.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from localplane.demo_history import days_before, write_past
from localplane.plane import ControlPlane
from localplane.prom import Prometheus
from localplane.toolset import Tools
from localplane.waiting import wait_for
from pdscaler.core.workload import LengthStats
from pdscaler.simulator.workload import Phase
from support.engines import ScriptedEngines
from support.stage import DECODE, PREFILL, Stage

LENGTHS = (LengthStats(1000.0), LengthStats(100.0))
DAY = (
    Phase("high", 15.0, 130.0, *LENGTHS),
    Phase("low", 55.0, 20.0, *LENGTHS),
    Phase("rise", 45.0, 20.0, *LENGTHS, 1.0, 130.0),
)
"""Its height is clear of the loads at which a replica more is needed: scrapes come late on a busy machine."""
DAY_S = 115.0
RISE_S, HALF_WAY_S, END_S = 70.0, 90.0, 130.0
"""Times of the day that is watched: it ends with the next one's high."""


def rate_at(day_s: float) -> float:
    """Return the load of a time of day."""
    begin_s = 0.0
    for phase in DAY:
        if day_s % DAY_S < begin_s + phase.duration_s:
            return phase.rate_at(day_s % DAY_S - begin_s)
        begin_s += phase.duration_s
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Look:
    """What both Deployments of a namespace ask for at a time of day."""

    at_s: float
    prefill: int
    decode: int


@pytest.fixture
def make_stage(
    control_plane: ControlPlane,
    chart_account: Path,
    make_namespace: Callable[[], str],
    tools: Tools,
    tmp_path: Path,
) -> Iterator[Callable[[float], Stage]]:
    """A function that sets a stage whose days begin at a given time; everything is ended after the test."""
    with ExitStack() as stack:
        made: list[Stage] = []

        def make(begin_s: float) -> Stage:
            namespace, folder = make_namespace(), tmp_path / f"stage-{len(made)}"
            past = days_before(DAY, np.random.default_rng(7))
            labels = {"namespace": namespace, "job": "front", "instance": "the days before"}
            labels |= {"model_name": "tiny", "target_model_name": "tiny"}
            write_past(past, begin_s, labels, tools["promtool"], folder / "data")
            engines = stack.enter_context(ScriptedEngines(control_plane, namespace, PREFILL, DECODE))
            engines.follow_course(lambda at_s: rate_at(at_s - begin_s))
            server = stack.enter_context(Prometheus(folder, tools, [engines.sd_url]))
            stage = Stage(control_plane, namespace, server, engines, chart_account, folder)
            stack.callback(stage.stop_operators)
            made.append(stage)
            return stage

        yield make


def foresees(stage: Stage) -> bool:
    """Whether the operator goes by a forecast of which nothing is missing."""
    said = stage.status().get("forecast", {})
    return "rate" in said and "waiting" not in said and "fallback" not in said


@pytest.mark.long
def test_a_restart_in_the_middle_of_a_rise_changes_no_decision(make_stage: Callable[[float], Stage]) -> None:
    begin_s = round(time.time()) - DAY[0].duration_s
    through, restarted = make_stage(begin_s), make_stage(begin_s)
    for stage in (through, restarted):
        stage.apply_targets(prefill=1, decode=2)
    started_s = time.time()
    for stage in (through, restarted):
        stage.start_operator()
    for stage in (through, restarted):
        stage.wait_full_window()
        stage.apply(forecast={"method": "Auto"})
    for stage in (through, restarted):
        wait_for("a forecast", lambda stage=stage: foresees(stage), every_s=0.5)  # type: ignore[misc]
    # What a start takes on this machine, its first window and its history included; a restart takes no longer.
    start_took_s = time.time() - started_s
    assert time.time() < begin_s + RISE_S, "too slow: the rise has begun before the forecasts"

    looks: tuple[list[Look], list[Look]] = ([], [])
    killed_s: float | None = None
    while time.time() < begin_s + END_S:
        for stage, own in zip((through, restarted), looks, strict=True):
            prefill, decode = stage.replicas()
            own.append(Look(time.time() - begin_s, prefill, decode))
        if killed_s is None and time.time() >= begin_s + HALF_WAY_S:
            killed_s = time.time() - begin_s
            restarted.operators[-1].kill()
            restarted.plane.processes.forget(restarted.operators[-1])
            restarted.start_operator()
        time.sleep(0.3)

    assert killed_s is not None
    wait_for("the forecast of the new process", lambda: foresees(restarted))
    without, with_restart = looks
    assert without[-1].decode >= without[0].decode + 4, "the rise must move the replicas"
    at_kill = next(look.decode for look in with_restart if look.at_s >= killed_s)
    assert without[0].decode < at_kill < without[-1].decode, "the restart must be half-way"
    for pool in ("prefill", "decode"):
        steady, again = ([(look.at_s, getattr(look, pool)) for look in own] for own in (without, with_restart))
        assert again[-1][1] == steady[-1][1], pool
        after_kill = [look for look in again if look[0] >= killed_s]
        taken_back = [(at_s, one, other) for (_, one), (at_s, other) in pairwise(after_kill) if other < one]
        assert taken_back == [], f"{pool}: a restart takes nothing back"
        # Each count that the one orders the other has ordered, too, or gone beyond, as soon as it can be back.
        for one, other in ((steady, again), (again, steady)):
            for count in {replicas for _, replicas in one}:
                lag_s = _since(other, count) - _since(one, count)
                assert lag_s <= start_took_s, (
                    f"{pool} {count} came {lag_s:.1f} s later, a start took {start_took_s:.1f} s"
                )
    log = restarted.operators[-1].log.read_text(encoding="utf-8")
    assert "could not be read" not in log
    assert "Traceback" not in log


def _since(counts: list[tuple[float, int]], replicas: int) -> float:
    """Return when a count was reached first."""
    return next(at_s for at_s, count in counts if count >= replicas)
