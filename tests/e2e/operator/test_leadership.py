"""Two operators and one Lease: a single writer, whatever happens to the leader. The audit log is the witness."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from localplane.waiting import wait_for
from support.replicas import Replica, Replicas, grants, outside_their_term, terms, writes
from support.stage import Stage

DURATION_S = 3.0
TIMING = {"leaseDuration": "3s", "renewDeadline": "2s", "retryPeriod": "500ms"}
TAKEOVER_S = 20.0


@contextmanager
def restless_load(stage: Stage) -> Iterator[None]:
    """Change the load all the time, so that there is always something to write."""
    over = threading.Event()

    def change() -> None:
        loads = [30.0, 130.0, 70.0, 190.0]
        while not over.wait(1.5):
            loads.append(loads.pop(0))
            stage.engines.set_load(loads[0])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def takes_over(replicas: Replicas, heir: Replica, since_s: float) -> float:
    """Wait until a replica leads and has written; return how long that took, seconds."""
    replicas.wait_leader(heir.name)

    def first() -> float | None:
        at = [write.arrived_s for write in writes(replicas.requests()) if write.pod == heir.name]
        return next((arrived_s for arrived_s in at if arrived_s >= since_s), None)

    return wait_for(f"a write of {heir.name}", first, 30.0, 0.2) - since_s


def leads(replica: Replica) -> bool:
    return replica.samples("pdscaler_leader") == [1.0]


def test_a_killed_a_paused_and_a_cut_off_leader_are_replaced_and_write_no_more(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    # Every evaluation has something to write: a window or a rate limit would hold it back.
    stage.apply(behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}, metrics={"window": "5s"})
    with Replicas(stage, TIMING) as replicas, restless_load(stage):
        first = replicas.start("pdscaler-a")
        replicas.wait_leader("pdscaler-a")
        second = replicas.start("pdscaler-b")
        wait_for("the second one follows", lambda: second.process.running and _is_up(second), 30.0, 0.3)
        assert (leads(first), leads(second)) == (True, False)
        assert (second.health("/healthz"), second.health("/readyz")) == (200, 200)
        # Its watches are warm: it has read what it would need, and has shown nothing of it.
        watched = {request.resource for request in replicas.requests() if request.pod == second.name}
        assert {"pddeployments", "deployments", "pods"} <= watched
        assert second.samples("pdscaler_replicas") == []
        assert [write for write in writes(replicas.requests()) if write.pod == second.name] == []

        killed_s = time.time()
        first.process.kill()
        assert takes_over(replicas, second, killed_s) <= TAKEOVER_S

        first = replicas.start("pdscaler-a")
        wait_for("the first one follows", lambda: _is_up(first), 30.0, 0.3)
        paused_s = time.time()
        second.process.signal(signal.SIGSTOP)
        assert takes_over(replicas, first, paused_s) <= TAKEOVER_S
        time.sleep(1.0)
        second.process.signal(signal.SIGCONT)
        continued_s = time.time()
        wait_for("the paused one has noticed", lambda: not leads(second) and leads(first), 10.0, 0.3)
        time.sleep(2.0)
        late = [w for w in writes(replicas.requests()) if w.pod == second.name and w.arrived_s >= paused_s + DURATION_S]
        assert late == [], continued_s

        cut_s = time.time()
        first.proxy.cut = True
        assert takes_over(replicas, second, cut_s) <= TAKEOVER_S
        assert not leads(first)
        assert first.samples("pdscaler_replicas") == [], "what it knew is another's now"
        first.proxy.cut = False
        time.sleep(2.0)
        assert (leads(first), leads(second)) == (False, True)

        stopped_s = time.time()
        assert second.process.stop() == 0
        replicas.wait_leader("pdscaler-a")
        given_back_s = time.time() - stopped_s
        takes_over(replicas, first, stopped_s)
        assert given_back_s < DURATION_S + 5.0
        requests = replicas.requests()
    stage.engines.set_load(70.0)

    granted = grants(requests, DURATION_S)
    assert [pod for pod, _, _ in terms(granted)] == [f"pdscaler-{each}" for each in "ababa"][: len(terms(granted))]
    assert outside_their_term(requests, DURATION_S) == []
    assert {write.pod for write in writes(requests)} == {"pdscaler-a", "pdscaler-b"}
    assert {write.resource for write in writes(requests)} == {"deployments/scale", "pddeployments/status", "events"}
    assert [request for request in requests if request.code in {401, 403}] == []
    assert {write.user_agent for write in writes(requests)} == {"pdscaler"}, "kopf writes nothing"


def _is_up(replica: Replica) -> bool:
    try:
        return replica.health("/readyz") == 200 and '"event":"following"' in replica.process.log.read_text()
    except OSError:
        return False
