"""Two operators and one Lease: a single writer, whatever happens to the leader. The audit log is the witness.

`make soak-takeovers` forces ten takeovers with the default durations.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from localplane.audit import AuditRequest
from localplane.waiting import PATIENCE_S, wait_for
from support.apiproxy import Request
from support.replicas import Replica, Replicas, grants, outside_their_term, terms, writes
from support.stage import Stage

TAKEOVER_S = 20.0
LATE_S = 6.0
"""Duration of the Lease where a late order is waited for, seconds."""
WAYS = ("killed", "paused", "cut off")


def timing(duration_s: float) -> dict[str, str]:
    """The default's proportions."""
    return {
        "leaseDuration": f"{duration_s:g}s",
        "renewDeadline": f"{duration_s * 2 / 3:g}s",
        "retryPeriod": f"{duration_s * 2 / 15:g}s",
    }


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


def leads(replica: Replica) -> bool:
    return replica.samples("pdscaler_leader") == [1.0]


def follows(replica: Replica) -> bool:
    try:
        said = '"event":"following"' in replica.process.log.read_text(encoding="utf-8")
        return said and replica.health("/readyz") == 200 and not leads(replica)
    except OSError:
        return False


def watches(replicas: Replicas, replica: Replica) -> set[str]:
    return {asked.resource for asked in replicas.requests() if asked.pod == replica.name and asked.verb == "watch"}


class Duel:
    """A leader and a follower who change places.

    Parameters
    ----------
    replicas
        Starts them.
    duration_s
        How long the Lease holds, seconds.
    """

    def __init__(self, replicas: Replicas, duration_s: float) -> None:
        self._replicas = replicas
        self._duration_s = duration_s
        self.leader = replicas.start("pdscaler-a")
        replicas.wait_leader("pdscaler-a")
        self.follower = replicas.start("pdscaler-b")
        wait_for("the second one follows", lambda: follows(self.follower), every_s=0.3)
        self.led = ["pdscaler-a"]

    def force(self, way: str) -> float:
        """Take the leader away; return after how long the other one has written, seconds."""
        old, heir = self.leader, self.follower
        since_s = time.time()
        if way == "killed":
            old.process.kill()
        elif way == "paused":
            old.process.signal(signal.SIGSTOP)
        else:
            old.proxy.cut = True
        took_s = self.succeeds(heir, since_s)
        if way == "killed":
            old = self._replicas.start(old.name)
        elif way == "paused":
            old.process.signal(signal.SIGCONT)
        else:
            # It knows by itself, while it hears of nobody.
            assert not leads(old)
            assert old.samples("pdscaler_replicas") == [], "what it knew is another's now"
            old.proxy.cut = False
        wait_for(f"the {way} one follows", lambda: follows(old), every_s=0.3)
        self.leader, self.follower = heir, old
        # Whatever it had begun would have been sent by now.
        time.sleep(min(2.0, self._duration_s))
        assert leads(heir)
        late = [
            write
            for write in writes(self._replicas.requests())
            if write.pod == old.name and write.arrived_s >= since_s + self._duration_s
        ]
        assert late == [], way
        return took_s

    def succeeds(self, heir: Replica, since_s: float) -> float:
        """Wait until a replica leads and has written; return how long that took, seconds."""
        self._replicas.wait_leader(heir.name)
        self.led.append(heir.name)

        def first() -> float | None:
            at = [write.arrived_s for write in writes(self._replicas.requests()) if write.pod == heir.name]
            return next((arrived_s for arrived_s in at if arrived_s >= since_s), None)

        return wait_for(f"a write of {heir.name}", first, every_s=0.2) - since_s


def test_a_killed_a_paused_and_a_cut_off_leader_are_replaced_and_write_no_more(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    takeovers, duration_s = request.config.getoption("--takeovers"), request.config.getoption("--lease-duration")
    stage.apply_targets()
    stage.engines.set_load(70.0)
    # Every evaluation has something to write: a window or a rate limit would hold it back.
    stage.apply(behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}, metrics={"window": "5s"})
    with Replicas(stage, timing(duration_s)) as replicas, restless_load(stage):
        duel = Duel(replicas, duration_s)
        second = duel.follower
        assert (second.health("/healthz"), second.health("/readyz")) == (200, 200)
        # Its watches are warm: it has read what it will need, and shows and writes nothing of it.
        wait_for("warm watches", lambda: watches(replicas, second) >= {"pddeployments", "deployments", "pods"})
        assert second.samples("pdscaler_replicas") == []
        assert [write for write in writes(replicas.requests()) if write.pod == second.name] == []

        took_s = [(way, duel.force(way)) for way, _ in zip(cycle(WAYS), range(takeovers), strict=False)]
        stopped_s = time.time()
        assert duel.leader.process.stop() == 0
        took_s.append(("stopped", duel.succeeds(duel.follower, stopped_s)))
        requests = replicas.requests()

    granted = grants(requests, duration_s)
    given_back = [grant for grant in granted if not grant.pod]
    next_s = next(grant.arrived_s for grant in granted if grant.arrived_s > given_back[-1].answered_s)
    figures = {
        "leaseDuration_s": duration_s,
        "takeovers_s": [{"way": way, "seconds": round(seconds, 2)} for way, seconds in took_s],
        "fromReleaseToNextLeader_s": round(next_s - given_back[-1].answered_s, 2),
        "terms": [
            {"pod": pod, "seconds": round(end_s - start_s, 2), "writes": sum(
                write.pod == pod and start_s <= write.arrived_s < end_s for write in writes(requests)
            )}
            for pod, start_s, end_s in terms(granted)
        ],
        "writes": len(writes(requests)),
        "writesOutsideTheirTerm": outside_their_term(requests, duration_s),
    }  # fmt: skip
    print("\n" + json.dumps(figures, indent=2))
    folder: Path | None = request.config.getoption("--soak-report")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "takeovers.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    assert max(seconds for _, seconds in took_s) <= TAKEOVER_S
    assert next_s - given_back[-1].answered_s <= duration_s / 2, "nobody waits for a lease that was given back"
    assert outside_their_term(requests, duration_s) == []
    assert [pod for pod, _, _ in terms(granted)] == duel.led
    assert {write.pod for write in writes(requests)} == {"pdscaler-a", "pdscaler-b"}
    assert {write.resource for write in writes(requests)} == {"deployments/scale", "pddeployments/status", "events"}
    assert [asked for asked in requests if asked.code in {401, 403}] == []
    assert {write.user_agent for write in writes(requests)} == {"pdscaler"}, "kopf writes nothing"


def test_an_order_that_arrives_when_another_leads_is_refused(stage: Stage) -> None:
    """What no client can exclude: a write that left in time, and was held up on its way until its sender was dead."""
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.apply()
    held, release = threading.Event(), threading.Event()

    def hold(asked: Request) -> int | None:
        if asked.writes_scale and stage.engines.rate_rps > 100.0 and not held.is_set():
            held.set()
            release.wait(PATIENCE_S)
        return None

    with Replicas(stage, timing(LATE_S)) as replicas:
        leader = replicas.start("pdscaler-a", hold)
        replicas.wait_leader("pdscaler-a")
        heir = replicas.start("pdscaler-b")
        wait_for("the second one follows", lambda: follows(heir), every_s=0.3)
        stage.wait_replicas(1, 4)
        stage.engines.set_load(130.0)
        assert held.wait(PATIENCE_S)
        leader.process.kill()
        replicas.wait_leader("pdscaler-b")
        stage.wait_replicas(2, 7)
        release.set()

        def late() -> list[AuditRequest]:
            return [write for write in outside_of(replicas) if write.resource == "deployments/scale"]

        (order,) = wait_for("the late order", late, every_s=0.2)
        assert (order.pod, order.code) == ("pdscaler-a", 409)
        assert stage.replicas() == (2, 7)


def outside_of(replicas: Replicas) -> list[AuditRequest]:
    """Writes that arrived while their sender did not hold the Lease."""
    requests = replicas.requests()
    wrong = {(found["pod"], found["at"]) for found in outside_their_term(requests, LATE_S)}
    return [write for write in writes(requests) if (write.pod, write.at) in wrong]
