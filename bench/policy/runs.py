"""One run of one policy, and what it is measured against: made in worker processes. Imports the simulator."""

import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from bench.policy.cases import Case, fingerprint, requests_of, spec_of
from bench.policy.sources import version

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.simulator.bound import ATTAINMENT, bound
from pdscaler.simulator.opening import opening
from pdscaler.simulator.oracle import clairvoyant
from pdscaler.simulator.policies import POLICIES, Setting, make_policy
from pdscaler.simulator.replay import ReplaySettings, replay
from pdscaler.simulator.result import ReplayResult
from pdscaler.simulator.traces import Trace

DEFAULT, TUNED = "default", "tuned"
TRAINED_STARTUP_S = 120.0
"""Tuning takes no longer start-up than this: the part of the trace that it sees has to be longer than a few of them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a case is measured against.

    Parameters
    ----------
    case, fingerprint, source
        Of what, and of which code.
    oracle_gpu_hours, oracle_attainment, oracle_reached
        The clairvoyant schedule; whether it attains what was asked.
    bound_gpu_hours
        No run that attains it costs less.
    initial
        What all policies begin with: the plan for the first minutes.
    static
        The peak of that schedule: what the busiest window needs, by hindsight.
    """

    case: str
    fingerprint: str
    source: str
    oracle_gpu_hours: float
    oracle_attainment: float
    oracle_reached: bool
    bound_gpu_hours: float
    initial: tuple[int, int]
    static: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """What a policy came to.

    Parameters
    ----------
    case, fingerprint, source
        Of what, and of which code.
    policy, variant, option
        Who; ``default`` or ``tuned``, and the knob's value where it was tuned.
    ttft, tpot, joint
        Shares of the requests within the targets.
    gpu_hours, gpu_hours_with_drain
        Ordered; and with what draining replicas cost.
    scale_operations, max_gpus, requests
        Changes of a pool's count, most GPUs ordered, requests measured.
    seconds
        Processor time of the replay.
    """

    case: str
    fingerprint: str
    source: str
    policy: str
    variant: str
    option: float | None
    ttft: float
    tpot: float
    joint: float
    gpu_hours: float
    gpu_hours_with_drain: float
    scale_operations: int
    max_gpus: int
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked: the reference of a case, or a policy's run."""

    case: Case
    policy: str | None = None
    variant: str = DEFAULT
    initial: tuple[int, int] = (1, 1)


def document(found: Reference | Run) -> dict[str, Any]:
    """Return the JSON object of a result."""
    return {"kind": type(found).__name__.lower(), **asdict(found)}


def of(line: dict[str, Any]) -> Reference | Run:
    """Return the result of a JSON object.

    Raises
    ------
    KeyError, TypeError
        If it is none.
    """
    values = dict(line)
    kind = values.pop("kind")
    if kind == "reference":
        for name in ("initial", "static"):
            values[name] = tuple(values[name])
        return Reference(**values)
    return Run(**values)


@lru_cache(maxsize=16)
def print_of(case: Case) -> str:
    """Return the fingerprint of a case; it is asked often."""
    return fingerprint(case)


def warm_up() -> None:
    """Compile the kernel once, before the work is counted."""
    from bench.policy.cases import synthetic

    case = Case(replace(synthetic(names=["constant"])[0], hours=0.02))
    policy = make_policy("static", Setting(spec_of(case), PerPool(4, 4)))
    replay(spec_of(case), requests_of(case), policy, PerPool(4, 4))


def answer(job: Job) -> Reference | Run:
    """Do a job."""
    return _reference(job.case) if job.policy is None else _run(job, job.policy)


def _reference(case: Case) -> Reference:
    spec, requests = spec_of(case), requests_of(case)
    measured_from_s = case.trace.measure_from_s
    schedule = clairvoyant(spec.sizing, requests, measured_from_s=measured_from_s)
    static = schedule.orders[0].replicas
    for order in schedule.orders:
        static = PerPool(max(static.prefill, order.replicas.prefill), max(static.decode, order.replicas.decode))
    initial = first_plan(case)
    return Reference(
        case.key,
        print_of(case),
        version("reference"),
        schedule.gpu_hours,
        schedule.attainment.joint,
        schedule.reached,
        bound(spec.sizing, requests, measured_from_s=measured_from_s).gpu_hours,
        (initial.prefill, initial.decode),
        (static.prefill, static.decode),
    )


def first_plan(case: Case) -> PerPool[int]:
    """Return the analytic plan for the load of the first window; the least replicas where too little arrives."""
    table = requests_of(case)
    trace = Trace(table.arrival_s, table.input_tokens, table.output_tokens, table.prefix_hit_tokens, case.key)
    return opening(spec_of(case), trace)[0]


def _run(job: Job, name: str) -> Run:
    case = job.case
    options: dict[str, float] = {}
    knob = POLICIES[name].knob
    if job.variant == TUNED and knob is not None:
        options = {knob.name: tuned(case, name, PerPool(*job.initial))}
    begin_ns = time.thread_time_ns()
    result = _replayed(
        case, name, PerPool(*job.initial), requests_of(case), measure_from_s=case.trace.measure_from_s, options=options
    )
    return Run(
        case.key,
        print_of(case),
        version(name),
        name,
        job.variant,
        next(iter(options.values()), None),
        result.attainment.ttft,
        result.attainment.tpot,
        result.attainment.joint,
        result.gpu_hours,
        result.gpu_hours_with_drain,
        result.scale_operations,
        result.max_gpus,
        result.requests,
        (time.thread_time_ns() - begin_ns) / 1e9,
    )


def tuned(case: Case, name: str, initial: PerPool[int]) -> float:
    """Return the knob's value that does best on the training part: the trace up to where the measurement begins.

    It is counted from a third of that part on. Best is the cheapest of those that attain the goal, else the one that
    attains most.
    """
    knob = POLICIES[name].knob
    assert knob is not None
    requests = requests_of(case)
    until_s = case.trace.measure_from_s
    count = int(np.searchsorted(requests.arrival_s, requests.arrival_s[0] + until_s))
    part, from_s = requests.first(count), until_s / 3
    training = replace(case, startup_s=min(case.startup_s, TRAINED_STARTUP_S))
    found = []
    for value in knob.values:
        result = _replayed(training, name, initial, part, measure_from_s=from_s, options={knob.name: value})
        reached = result.attainment.joint >= ATTAINMENT
        share = 0.0 if reached else result.attainment.joint
        found.append((not reached, -share, result.gpu_hours, value))
    return min(found)[-1]


def _replayed(
    case: Case,
    name: str,
    initial: PerPool[int],
    requests: RequestTable,
    *,
    measure_from_s: float,
    options: dict[str, float],
) -> ReplayResult:
    spec = spec_of(case)
    policy = make_policy(name, Setting(spec, initial), **options)
    return replay(spec, requests, policy, initial, settings=ReplaySettings(measure_from_s=measure_from_s))
