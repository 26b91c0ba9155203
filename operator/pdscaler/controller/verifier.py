"""Verifies plans beside the loop: one at a time, a bounded queue, and a memory of what was found. No kopf.

An evaluation only ever asks and looks up. What a verification leaves behind are factors on the load that each pool's
model sees. They say how far the model is off for a profile and a mix, which changes slowly with the load: a factor
found for a nearby load is used until one for this load is known, so that analytic and verified answers do not take
turns.
"""

import logging
import math
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pdscaler.controller import logs
from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.verification_process import Settled, VerificationProcess
from pdscaler.core.decision import Decision
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verification import Correction
from pdscaler.core.workload import LengthStats, WorkloadStats

_logger = logging.getLogger(__name__)

QUEUED = 64
"""Verifications that wait at most; what finds no room asks again with its next evaluation."""

SAME = 0.05
"""Loads, lengths and spreads within 5 % of a verified workload are that workload."""

NEARBY = 0.7
"""A verified workload helps another one up to about twice or half of it (natural logarithm of the ratio)."""

REMEMBERED_LOADS, REMEMBERED_SPECS = 64, 512
PATIENCE = 2
"""Evaluations that fewer replicas wait for their verification, at most."""

FAILED_FOR_S = 600.0
"""How long a spec whose verification broke inside is left alone, seconds."""

IDLE_S = 60.0
"""Without a question for so long what verifies may rest, seconds."""


class Verifies(Protocol):
    """Verifies one plan."""

    def __call__(self, spec: SizingSpec, workload: WorkloadStats, current: PerPool[int] | None) -> Settled:
        """Verify it."""

    def rest(self) -> None:
        """Give back what only verifying needs; what is under way fails."""


class Answer(StrEnum):
    """What came of asking for a verification."""

    KNOWN = "Known"
    PENDING = "Pending"
    REFUSED = "Refused"


class VerifiesPlans(Protocol):
    """Knows what simulation has found, and has it find more."""

    def correction(self, spec: SizingSpec, workload: WorkloadStats) -> Correction:
        """Return what is known of a workload, or of one close to it."""

    def hold(self, key: ResourceKey, spec: SizingSpec, decision: Decision) -> bool:
        """Have a change verified; return whether fewer replicas shall wait for that."""


Place = tuple[float, ...]
"""A workload as a point: a distance of 0.05 along any axis is about 5 %."""


@dataclass(slots=True)
class _Known:
    """What is known of one spec: the newest places last, and until when it is left alone after a failure."""

    found: deque[tuple[Place, Correction]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_LOADS))
    pending: list[Place] = field(default_factory=list)
    failed_until_s: float = -math.inf
    reported: bool = False


@dataclass(frozen=True, slots=True)
class _Task:
    spec: SizingSpec
    workload: WorkloadStats
    current: PerPool[int] | None
    place: Place


class Verifier:
    """Has plans verified, by a thread that waits for the answers.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    verify_plan
        Verifies one plan; called in the thread. None: a process of its own does.
    """

    def __init__(self, clock: Callable[[], float], verify_plan: Verifies | None = None) -> None:
        self._clock = clock
        self._verify = verify_plan or VerificationProcess()
        self._lock = threading.Lock()
        self._specs: OrderedDict[SizingSpec, _Known] = OrderedDict()
        self._tasks: queue.Queue[_Task | None] = queue.Queue(QUEUED)
        self._thread: threading.Thread | None = None
        self._waits: dict[ResourceKey, tuple[int, float]] = {}

    def correction(self, spec: SizingSpec, workload: WorkloadStats) -> Correction:
        """Return what is known of a workload, or of the nearest one."""
        if workload.arrival_rate_rps <= 0:
            return Correction()
        place = place_of(workload)
        with self._lock:
            known = self._specs.get(spec)
            nearest = None if known is None else _nearest(known, place)
        if nearest is None:
            return Correction()
        far, correction = nearest
        return correction if far <= SAME else Correction(correction.factors, verified=False)

    def hold(self, key: ResourceKey, spec: SizingSpec, decision: Decision) -> bool:
        """Have a change verified; return whether fewer replicas shall wait for that, two evaluations at most.

        More replicas never wait: they are ordered by what is known now, and corrected with the next evaluation.
        """
        if not _changes(decision) or spec.model is SizingModel.PAPER_MM1:
            self._waits.pop(key, None)
            return False
        assert decision.workload is not None
        if self._ask(spec, decision) is not Answer.PENDING:
            self._waits.pop(key, None)
            return False
        if all(pool.change >= 0 for _, pool in decision.pools.items()):
            return False
        waited, last_s = self._waits.get(key, (0, -math.inf))
        if decision.at_s != last_s:  # an evaluation may decide several times
            waited += 1
        self._waits[key] = (waited, decision.at_s)
        return waited <= PATIENCE

    def forget(self, key: ResourceKey) -> None:
        """Forget a resource that is gone."""
        self._waits.pop(key, None)

    def close(self) -> None:
        """Verify nothing more; what is under way is given up."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        while True:
            try:
                self._tasks.get_nowait()
            except queue.Empty:
                break
        self._tasks.put_nowait(None)
        self._verify.rest()

    def _ask(self, spec: SizingSpec, decision: Decision) -> Answer:
        assert decision.workload is not None
        place = place_of(decision.workload)
        with self._lock:
            known = self._specs.setdefault(spec, _Known())
            self._specs.move_to_end(spec)
            while len(self._specs) > REMEMBERED_SPECS:
                self._specs.popitem(last=False)
            nearest = _nearest(known, place)
            if nearest is not None and nearest[0] <= SAME:
                return Answer.KNOWN
            if known.failed_until_s > self._clock():
                return Answer.REFUSED
            if any(_distance(place, pending) <= SAME for pending in known.pending):
                return Answer.PENDING
            counts = decision.pools.map(lambda pool: pool.current)
            prefill, decode = counts.prefill, counts.decode
            current = None if prefill is None or decode is None else PerPool(prefill, decode)
            try:
                self._tasks.put_nowait(_Task(spec, decision.workload, current, place))
            except queue.Full:
                return Answer.REFUSED
            known.pending.append(place)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pdscaler verification", daemon=True)
                self._thread.start()
        return Answer.PENDING

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                self._learn(task, self._verify(task.spec, task.workload, task.current))
            except Exception:
                if self._is_news(task) and self._thread is not None:
                    _logger.exception(
                        "the plan of %s cannot be verified by simulation; the analytic answer stands", task.spec.name
                    )

    def _next(self) -> _Task | None:
        """Wait for the next task; None at the end."""
        while True:
            try:
                return self._tasks.get(timeout=IDLE_S)
            except queue.Empty:
                self._verify.rest()

    def _learn(self, task: _Task, settled: Settled) -> None:
        verification = settled.verification
        with self._lock:
            known = self._specs.setdefault(task.spec, _Known())
            known.pending = [place for place in known.pending if place != task.place]
            known.found.append((task.place, Correction(verification.corrections, verification.verified)))
        fields = {
            "name": task.spec.name,
            "plan": settled.label,
            "verified": verification.verified,
            "requests": verification.requests,
            "corrections": {pool.value: round(factor, 4) for pool, factor in verification.corrections.items()},
            "note": verification.note,
        }
        logs.event(_logger, logging.INFO, "verified", fields)

    def _is_news(self, task: _Task) -> bool:
        """Leave a spec whose verification broke alone for a while; return whether it is the first time."""
        with self._lock:
            known = self._specs.setdefault(task.spec, _Known())
            known.pending = [place for place in known.pending if place != task.place]
            known.failed_until_s = self._clock() + FAILED_FOR_S
            reported, known.reported = known.reported, True
        return not reported


def place_of(workload: WorkloadStats) -> Place:
    """Return a workload as a point.

    Examples
    --------
    >>> near = place_of(WorkloadStats(103.0, LengthStats(3000.0), LengthStats(150.0)))
    >>> far = place_of(WorkloadStats(100.0, LengthStats(3000.0), LengthStats(150.0, 1.0)))
    >>> place = place_of(WorkloadStats(100.0, LengthStats(3000.0), LengthStats(150.0)))
    >>> _distance(place, near) < SAME, _distance(place, far) < SAME
    (True, False)
    """
    lengths = (_length(workload.isl), _length(workload.osl))
    return (
        math.log(workload.arrival_rate_rps),
        *(figure for length in lengths for figure in length),
        math.log1p(workload.arrival_scv),
        math.log1p(-workload.prefix_hit_ratio),
    )


def _length(length: LengthStats | None) -> Place:
    # A spread of 0.5 for 0.4 changes what waits by far less than a mean of 500 for 400.
    return (0.0, 0.0) if length is None else (math.log(length.mean_tokens), math.log1p(length.scv) / 2)


def _distance(one: Place, other: Place) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _nearest(known: _Known, place: Place) -> tuple[float, Correction] | None:
    """Return the nearest workload's distance and correction, the newest of equals; None where none is nearby."""
    best: tuple[float, Correction] | None = None
    for found, correction in reversed(known.found):
        far = _distance(found, place)
        if far <= NEARBY and (best is None or far < best[0]):
            best = (far, correction)
    return best


def _changes(decision: Decision) -> bool:
    """Whether the decision, or the plan behind it, would change a count of replicas."""
    if decision.sizing is None or decision.workload is None or decision.workload.arrival_rate_rps <= 0:
        return False
    return any(
        pool.current is not None and decision.sizing.pools[name].replicas != pool.current
        for name, pool in decision.pools.items()
    )
