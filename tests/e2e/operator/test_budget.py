"""A rebalance at a full GPU budget, on nodes without a spare GPU: shrink, wait (also for what does not end), grow."""

import threading
from contextlib import ExitStack

from localplane.waiting import wait_for
from support.plane import DELETE_DELAY, administrator, apply_in, deployment, wait_ready
from support.replica_changes import Change, Orders
from support.stage import DECODE, PREFILL, QUICK, Stage

GPUS = 8
BUDGET = 32
"""All that the nodes have: 4 replicas."""


def test_a_rebalance_shrinks_waits_and_grows_and_a_stuck_termination_is_said(stage: Stage) -> None:
    # A terminating pod holds its GPUs until somebody ends it: here the test does.
    for name, replicas in ((PREFILL, 3), (DECODE, 1)):
        pods = deployment(name, replicas=replicas, gpus=GPUS, annotations={DELETE_DELAY: "1h"}, grace_s=3600)
        apply_in(stage.plane, stage.namespace, pods)
    for name, replicas in ((PREFILL, 3), (DECODE, 1)):
        wait_ready(stage.plane, stage.namespace, name, replicas)
    # Long prompts, short answers: 78/30 prefill and 78/80 decode replicas.
    stage.engines.set_load(78.0, input_tokens=2000.0, output_tokens=25.0)
    changes: list[Change] = []
    lock = threading.Lock()

    def seen(change: Change) -> None:
        with lock:
            changes.append(change)

    with ExitStack() as stack:
        stack.enter_context(Orders(administrator(stage.plane), stage.namespace, {PREFILL: GPUS, DECODE: GPUS}, seen))
        stage.start_operator()
        stage.apply(
            **QUICK, constraints={"maxGPUs": BUDGET}, prefill={"gpusPerReplica": GPUS}, decode={"gpusPerReplica": GPUS}
        )
        stage.wait_condition("SLOAttainable", "True", "SLOAttainable")
        assert stage.replicas() == (3, 1)

        # Shorter prompts: 90/80 prefill and 18/20 decode replicas.
        stage.engines.set_load(90.0, input_tokens=1000.0, output_tokens=20.0)
        stage.wait_replicas(2, 1)
        # Fewer of them, long answers: 55/80 prefill and 55/20 decode replicas.
        stage.engines.set_load(55.0, input_tokens=1000.0, output_tokens=100.0)
        # The first of two replicas does not go: neither is the next one stopped, nor its GPUs given to anybody.
        wait_for("a plan for the new mix", lambda: recommended(stage) == (1, 3))
        wait_for(
            "a word on what does not end", lambda: "1 replica still terminating" in stage.status()["prefill"]["reason"]
        )
        assert terminating(stage, PREFILL) == 1
        assert stage.replicas() == (2, 1)
        assert stage.condition("ScalingLimited")["status"] == "True"

        end_terminating(stage)
        stage.wait_replicas(1, 2)
        limited = stage.wait_condition("ScalingLimited", "True", "GPUsNotFreeYet")
        assert "decode 2 instead of 3: GPUsNotFreeYet" in limited["message"]
        assert "waits for GPUs of the budget" in stage.status()["decode"]["reason"]
        assert terminating(stage, PREFILL) == 1
        evaluations = stage.metric("pdscaler_evaluations_total", outcome="Planned")
        wait_for(
            "some more evaluations",
            lambda: stage.metric("pdscaler_evaluations_total", outcome="Planned") > evaluations + 4,
        )
        assert stage.replicas() == (1, 2)

        end_terminating(stage)
        stage.wait_replicas(1, 3)
        wait_ready(stage.plane, stage.namespace, DECODE, 3)
        stage.stop_operators()
    assert {change.by for change in changes} == {"pdscaler"}
    assert max(change.total_gpus for change in changes) <= BUDGET
    steps = [(change.name, change.before, change.after) for change in changes]
    # One direction each, and no pool below what either load needs.
    assert [step for step in steps if step[0] == PREFILL] == [(PREFILL, 3, 2), (PREFILL, 2, 1)]
    assert [step for step in steps if step[0] == DECODE] == [(DECODE, 1, 2), (DECODE, 2, 3)]


def recommended(stage: Stage) -> tuple[int, int]:
    status = stage.status()
    return status["prefill"].get("recommended"), status["decode"].get("recommended")


def terminating(stage: Stage, name: str) -> int:
    pods = stage.plane.get("pods", "-n", stage.namespace, "-l", f"app={name}")["items"]
    return sum("deletionTimestamp" in pod["metadata"] for pod in pods)


def end_terminating(stage: Stage) -> None:
    pods = stage.plane.get("pods", "-n", stage.namespace)["items"]
    ending = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]
    assert ending
    stage.plane.kubectl("delete", "pods", *ending, "-n", stage.namespace, "--force", "--grace-period=0")
