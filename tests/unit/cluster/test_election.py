"""Leader election among fakes: one Lease, several replicas, each with a clock of its own."""

import asyncio
import random
from collections import deque
from dataclasses import replace

import pytest

from pdscaler.cluster.election import Change, Election
from pdscaler.cluster.errors import UNREACHABLE, ClusterError, ConflictError
from pdscaler.cluster.fence import Fence, LeaseTiming
from pdscaler.cluster.lease import LeaseRecord

TIMING = LeaseTiming(duration_s=15.0, renew_deadline_s=10.0, retry_period_s=2.0)
GONE = ClusterError(UNREACHABLE, "no route")


class FakeLease:
    """One Lease as the API server keeps it."""

    def __init__(self) -> None:
        self.record: LeaseRecord | None = None
        self.version = 0
        self.faults: deque[ClusterError] = deque()
        self.lost_answers = 0
        """So many writes are carried out, and their answers never come."""
        self.reads = 0
        self.writes = 0

    async def read(self) -> LeaseRecord | None:
        self._fail()
        self.reads += 1
        return self.record

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        self._fail()
        if self.record is not None:
            raise ClusterError("AlreadyExists", "taken", 409)
        return self._put(record)

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        self._fail()
        if self.record is None or record.version != self.record.version:
            raise ConflictError("modified")
        return self._put(record)

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.popleft()

    def _put(self, record: LeaseRecord) -> LeaseRecord:
        self.version += 1
        self.writes += 1
        self.record = replace(record, version=str(self.version))
        if self.lost_answers:
            self.lost_answers -= 1
            raise GONE
        return self.record


class Replica:
    """One candidate; its clock is its own."""

    def __init__(self, name: str, lease: FakeLease, offset_s: float = 0.0) -> None:
        self.now_s = offset_s
        self.changes: list[Change] = []
        self.fence = Fence(TIMING, lambda: self.now_s)
        self.election = Election(
            lease=lease,
            identity=name,
            timing=TIMING,
            fence=self.fence,
            clock=lambda: self.now_s,
            wall_clock=lambda: 1_795_262_400.0 + self.now_s,
            rng=random.Random(1),
            announce=self.changes.append,
        )

    async def step(self, after_s: float = 0.0) -> float:
        self.now_s += after_s
        return await self.election.step()


async def test_the_first_one_creates_the_lease_and_the_second_waits() -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease)
    await first.step()
    await second.step()
    assert lease.record is not None
    assert lease.record.holder == "a"
    assert (first.fence.open, second.fence.open) == (True, False)
    assert first.changes == [Change(True, "a", "this replica got the lease")]
    assert second.changes == [Change(False, "a", "another replica holds the lease")]


async def test_of_two_that_create_at_once_one_leads() -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease)
    # Both have read that there is none.
    read = lease.read

    async def nothing() -> LeaseRecord | None:
        return None

    lease.read = nothing  # type: ignore[method-assign]
    await first.step()
    await second.step()
    lease.read = read  # type: ignore[method-assign]
    assert (first.fence.open, second.fence.open) == (True, False)


@pytest.mark.parametrize("skew_s", [-86400.0, 0.0, 86400.0])
async def test_a_silent_leader_is_replaced_after_the_duration_whatever_the_clocks_say(skew_s: float) -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease, skew_s)
    await first.step()
    began_s = second.now_s
    wait_s = await second.step()
    while not second.fence.open:
        assert second.now_s - began_s < 15.0 + 2.4, "takeover within the duration and one retry"
        wait_s = await second.step(wait_s)
    assert second.now_s - began_s >= 15.0
    first.now_s += second.now_s - began_s
    assert not first.fence.open, "the first one stopped before the second began"
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions) == ("b", 1)


async def test_a_leader_that_renews_is_never_replaced() -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease, 500.0)
    await first.step()
    for _ in range(60):
        await first.step(2.0)
        await second.step(2.0)
        assert (first.fence.open, second.fence.open) == (True, False)
    assert first.fence.term() == 1
    assert lease.reads == 61, "a renewal is one request; only those who wait read"


async def test_renewals_that_fail_for_a_while_cost_nothing() -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease.faults.extend([GONE] * 3)
    for _ in range(4):
        await leader.step(2.0)
        assert leader.fence.open
    assert leader.fence.term() == 1


async def test_a_leader_that_cannot_renew_stops_before_the_lease_ends_and_gets_it_back() -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease.faults.extend([GONE] * 5)
    wait_s = 2.0
    while leader.fence.open:
        wait_s = await leader.step(wait_s)
    assert leader.now_s == pytest.approx(10.0), "not a retry period later"
    assert leader.changes[-1] == Change(False, "a", "the lease could not be renewed in time")
    lease.faults.clear()
    await leader.step(60.0)
    assert leader.fence.term() == 2, "nobody took it: a new term, for the old one is over"
    assert lease.record is not None
    assert lease.record.transitions == 0


async def test_a_paused_leader_finds_another_one() -> None:
    lease = FakeLease()
    paused, other = Replica("a", lease), Replica("b", lease)
    await paused.step()
    await other.step()
    await other.step(16.0)
    assert other.fence.open
    paused.now_s += 17.0
    assert not paused.fence.open, "closed before anything is asked"
    await paused.step()
    assert not paused.fence.open
    assert paused.changes[-1] == Change(False, "b", "another replica took the lease")


async def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease._put(LeaseRecord("b", 15.0))
    await leader.step(2.0)
    assert not leader.fence.open


async def test_a_leader_whose_lease_was_deleted_stops_and_stands_again() -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease.record = None
    await leader.step(2.0)
    assert not leader.fence.open
    await leader.step(2.0)
    assert leader.fence.term() == 2


@pytest.mark.parametrize("renewing", [True, False])
async def test_an_answer_that_is_lost_is_no_loss(renewing: bool) -> None:
    lease = FakeLease()
    replica = Replica("a", lease)
    if renewing:
        await replica.step()
    lease.lost_answers = 1
    await replica.step(2.0)
    assert replica.fence.open is renewing
    await replica.step(2.0)
    assert replica.fence.term() == 1
    assert replica.fence.left_s == pytest.approx(10.0)


async def test_it_waits_by_the_duration_that_the_holder_has_written() -> None:
    lease = FakeLease()
    lease._put(LeaseRecord("old release", 60.0))
    replica = Replica("a", lease)
    await replica.step()
    await replica.step(59.0)
    assert not replica.fence.open
    await replica.step(1.0)
    assert replica.fence.open


async def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease)
    await first.step()
    await second.step()
    await first.election.close()
    assert not first.fence.open
    assert lease.record is not None
    assert lease.record.holder == ""
    await second.step(2.0)
    assert second.fence.open
    await first.election.close()
    assert lease.record.holder == "b", "what is not held cannot be given back"


async def test_a_lease_that_was_got_while_it_stopped_is_given_back_too() -> None:
    lease = FakeLease()
    replica = Replica("a", lease)
    lease.lost_answers = 1
    await replica.step()
    assert not replica.fence.open, "nobody told it"
    await replica.election.close()
    assert lease.record is not None
    assert lease.record.holder == ""


async def test_a_follower_that_stops_asks_nothing() -> None:
    lease = FakeLease()
    first, second = Replica("a", lease), Replica("b", lease)
    await first.step()
    await second.step()
    reads = lease.reads
    await second.election.close()
    assert lease.reads == reads


async def test_giving_back_what_another_has_taken_changes_nothing() -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease._put(LeaseRecord("b", 15.0))
    await leader.election.close()
    assert lease.record is not None
    assert lease.record.holder == "b"


async def test_a_lease_that_cannot_be_given_back_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    lease = FakeLease()
    leader = Replica("a", lease)
    await leader.step()
    lease.faults.append(GONE)
    await leader.election.close()
    assert not leader.fence.open
    assert "runs out in 15s" in caplog.text


async def test_the_same_trouble_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    lease = FakeLease()
    replica = Replica("a", lease)
    lease.faults.extend([GONE, GONE, ClusterError("Forbidden", "leases is forbidden", 403)])
    for _ in range(3):
        await replica.step(2.0)
    assert caplog.text.count("could not be read or written") == 2


async def test_it_outlives_what_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    lease = FakeLease()
    replica = Replica("a", lease)
    calls = 0

    async def explode() -> LeaseRecord | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("unforeseen")
        return lease.record

    lease.read = explode  # type: ignore[method-assign]
    replica.election._timing = replace(TIMING, retry_period_s=0.001)
    replica.election.start()
    async with asyncio.timeout(10):
        while not replica.fence.open:  # noqa: ASYNC110 - what is looked at has no event to wait for
            await asyncio.sleep(0.001)
    await replica.election.close()
    assert "leader election failed" in caplog.text


@pytest.mark.parametrize("seed", range(12))
async def test_never_two_at_once_whatever_happens(seed: int) -> None:
    """Three replicas under random outages, lost answers and pauses, in one true time; clocks differ by 4 %."""
    rng = random.Random(seed)
    lease = FakeLease()
    rates = (0.96, 1.0, 1.0)
    replicas = [Replica(name, lease, rng.uniform(0, 1e6)) for name in "abc"]
    starts = [replica.now_s for replica in replicas]
    due_s, asleep_until_s = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    led: set[int] = set()
    for tick in range(3000):
        now_s = tick * 0.1
        for number, replica in enumerate(replicas):
            replica.now_s = starts[number] + now_s * rates[number]
            if now_s < max(due_s[number], asleep_until_s[number]):
                continue
            if rng.random() < 0.06:
                asleep_until_s[number] = now_s + rng.uniform(0, 40)
                continue
            if rng.random() < 0.3:
                lease.faults.append(GONE)
            elif rng.random() < 0.1:
                lease.lost_answers = 1
            due_s[number] = now_s + await replica.step()
            lease.faults.clear()
            lease.lost_answers = 0
        # A write that begins now is under way for as long as it may take.
        writing = [
            number
            for number, replica in enumerate(replicas)
            if -replica.fence._renewed_s + replica.now_s < TIMING.safe_s
        ]
        assert len(writing) <= 1, (now_s, writing)
        led.update(writing)
    assert len(led) > 1, "it did change hands"
