"""A small world for the controller: targets, metrics, API server and clock that a test steps. Faults are data."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.changes import ForeignChange
from pdscaler.cluster.errors import NOT_FOUND, ClusterError, ConflictError
from pdscaler.cluster.events import ObjectIdentity
from pdscaler.cluster.fence import NotLeadingError
from pdscaler.cluster.scale import Scale
from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.apply import Actuator
from pdscaler.controller.evaluate import Advisor, Autoscaler
from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.forecasts import CATCH_UP_S, Forecasts
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.leadership import Alone, Leads, Succession
from pdscaler.controller.loop import EvaluationLoop
from pdscaler.controller.metrics import Metrics
from pdscaler.controller.prepare import Preparer
from pdscaler.controller.publish import Publisher
from pdscaler.controller.servers import Heartbeat
from pdscaler.controller.verifier import VerifiesPlans
from pdscaler.controller.worker import Worker
from pdscaler.core.decision import PoolState, TargetUnknown
from pdscaler.core.workload import (
    ArrivalSource,
    LengthStats,
    NoData,
    NoDataReason,
    PoolLoad,
    Telemetry,
    WorkloadStats,
)
from pdscaler.forecast import History, aligned
from pdscaler.telemetry.past import Want
from pdscaler.telemetry.presets import load_presets
from pdscaler.telemetry.subject import Subject

PERIOD_S = 15.0
START_S = 1_795_262_400.0
"""2026-11-21T12:00:00Z."""


def resource(name: str = "deepseek", **spec: Any) -> dict[str, Any]:
    """Return the paper's deployment, sized by its formulas: 12.5 requests/s need 4P4D.

    ``spec`` replaces top-level fields of the spec.
    """
    points = ((10, "12.8ms"), (20, "16.4ms"), (30, "18.8ms"), (40, "21.6ms"), (50, "23.9ms"), (60, "26.2ms"))
    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": name, "namespace": "serving"},
        "spec": {
            "model": "deepseek-v3.1",
            "slo": {"ttft": {"target": "2s"}, "tpot": {"target": "20ms"}},
            "prefill": {
                "scaleTargetRef": {"name": f"{name}-prefill"},
                "maxReplicas": 16,
                "gpusPerReplica": 8,
                "profile": {
                    "maxThroughput": {"inputTokens": 6144, "tokensPerSecond": 28300},
                    "overhead": {"fixed": "100ms"},
                },
            },
            "decode": {
                "scaleTargetRef": {"name": f"{name}-decode"},
                "maxReplicas": 32,
                "gpusPerReplica": 8,
                "profile": {
                    "points": [{"contextTokens": 6400, "batch": batch, "tpot": tpot} for batch, tpot in points]
                },
            },
            "sizing": {"model": "PaperMM1"},
            "forecast": {"method": "LastValue"},
            **spec,
        },
    }


def load(rate_rps: float, at_s: float = START_S) -> Telemetry:
    """Return a reading of the paper's workload at a rate."""
    return Telemetry(
        workload=WorkloadStats(rate_rps, LengthStats(6144.0), LengthStats(512.0)),
        arrival_source=ArrivalSource.FRONT_DOOR,
        ttft_mean_s=1.62,
        tpot_mean_s=0.0189,
        ttft_bucket_s=None,
        tpot_bucket_s=None,
        prefill=PoolLoad(waiting_requests=3.0),
        decode=PoolLoad(running_requests=120.0, kv_usage_ratio=0.5),
        alternatives=(("arrivals", "llm_d_epp_request_total"),),
        window_s=180.0,
        observed_at_s=at_s,
    )


def no_data(message: str = 'query "arrivals" returned nothing for model_name="deepseek-v3.1"') -> NoData:
    """Return a reading that found nothing."""
    return NoData(NoDataReason.NO_DATA, message)


@dataclass
class FakeCluster:
    """Targets by name, as the API server has them, and what the cache says of them."""

    targets: dict[str, PoolState | TargetUnknown] = field(default_factory=dict)
    cached: dict[str, PoolState | TargetUnknown] = field(default_factory=dict)
    """What the cache says where it lags behind; else it says what is."""
    write_faults: dict[str, deque[ClusterError | NotLeadingError]] = field(default_factory=dict)
    lost_answers: dict[str, deque[ClusterError]] = field(default_factory=dict)
    """Writes that are carried out, and whose answers never come."""
    before_write: dict[str, deque[Callable[[], None]]] = field(default_factory=dict)
    """What somebody else does between our read of a target's scale and our write."""
    before_read: dict[str, deque[Callable[[], None]]] = field(default_factory=dict)
    writes: list[tuple[str, int, int]] = field(default_factory=list)
    """(target, before, after), in order."""
    retained: frozenset[TargetRef] = frozenset()
    version: int = 1
    rivals: dict[str, str] = field(default_factory=dict)
    """Other autoscalers by target."""
    blind: str = ""
    """Which autoscalers would go unnoticed."""
    changes: dict[str, list[ForeignChange]] = field(default_factory=dict)
    """Changes by somebody else by target."""

    def set(self, name: str, replicas: int, **state: Any) -> None:
        """Set the replicas of a target; all are ready unless ``state`` says otherwise."""
        self.targets[name] = PoolState(replicas, **{"ready_replicas": replicas, **state})
        self.version += 1

    def replicas(self, name: str) -> int:
        """Return what a target asks for."""
        state = self.targets[name]
        assert isinstance(state, PoolState)
        return state.spec_replicas

    async def watch(self, *refs: TargetRef) -> None:
        """Follow a target."""

    async def retain(self, refs: Iterable[TargetRef]) -> None:
        """Follow no others."""
        self.retained = frozenset(refs)

    def target(self, ref: TargetRef) -> PoolState | TargetUnknown:
        """Say what the cache knows."""
        return self.cached.get(ref.name, self._there(ref))

    def pod_names(self, ref: TargetRef, since_s: float) -> frozenset[str]:
        """Name the pods."""
        state = self._there(ref)
        return frozenset(f"{ref.name}-{n}" for n in range(state.spec_replicas if isinstance(state, PoolState) else 0))

    def rival(self, ref: TargetRef) -> str:
        """Name another autoscaler."""
        return self.rivals.get(ref.name, "")

    def unwatched(self, ref: TargetRef) -> str:
        """Say which autoscalers would go unnoticed."""
        return self.blind

    def foreign_changes(self, ref: TargetRef) -> tuple[ForeignChange, ...]:
        """Return what somebody else changed."""
        return tuple(self.changes.get(ref.name, ()))

    def flip(self, name: str, replicas: int, at_s: float, *, by: str = "kubectl", overrode: bool = True) -> None:
        """Let somebody else change the replicas of a target."""
        before = self.replicas(name)
        self.set(name, replicas)
        change = ForeignChange(f"Deployment/{name}", at_s, str(self.version), before, replicas, by, overrode)
        self.changes.setdefault(name, []).append(change)

    def _there(self, ref: TargetRef) -> PoolState | TargetUnknown:
        missing = TargetUnknown("FailedGetScale", f'Deployment "{ref.name}" not found in "{ref.namespace}"')
        return self.targets.get(ref.name, missing)

    async def read(self, ref: TargetRef) -> Scale | TargetUnknown:
        """Read a scale."""
        _next(self.before_read, ref.name)
        state = self._there(ref)
        if isinstance(state, TargetUnknown):
            return state
        return Scale(ref, state.spec_replicas, state.ready_replicas, "app=engine", str(self.version))

    async def write(self, scale: Scale, replicas: int) -> Scale:
        """Write a scale."""
        name = scale.ref.name
        faults = self.write_faults.get(name)
        if faults:
            raise faults.popleft()
        _next(self.before_write, name)
        if scale.resource_version != str(self.version):
            raise ConflictError("the object has been modified")
        state = self.targets[name]
        assert isinstance(state, PoolState)
        self.writes.append((name, state.spec_replicas, replicas))
        self.targets[name] = replace(state, spec_replicas=replicas)
        self.version += 1
        if self.lost_answers.get(name):
            raise self.lost_answers[name].popleft()
        return replace(scale, replicas=replicas, resource_version=str(self.version))


def _next(hooks: Mapping[str, deque[Callable[[], None]]], name: str) -> None:
    waiting = hooks.get(name)
    if waiting:
        waiting.popleft()()


class FakeMetricsSource:
    """Answers with the reading that a test has set for each resource."""

    def __init__(self) -> None:
        self.readings: dict[str, Telemetry | NoData | Exception] = {}
        self.default: Telemetry | NoData | Callable[[], Telemetry | NoData] = load(12.5)
        self.asked: list[list[str]] = []

    async def collect(self, subjects: Sequence[Subject]) -> dict[tuple[str, str], Telemetry | NoData]:
        """Read."""
        self.asked.append([subject.name for subject in subjects])
        default = self.default() if callable(self.default) else self.default
        answers = {subject.key: self.readings.get(subject.name, default) for subject in subjects}
        for answer in answers.values():
            if isinstance(answer, Exception):
                raise answer
        return {key: answer for key, answer in answers.items() if not isinstance(answer, Exception)}


class FakePast:
    """Prometheus's past: a rate as a function of time, which a test sets; faults and delays are data.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.rate_rps: Callable[[float], float] = lambda at_s: 12.5
        """NaN is a gap."""
        self.problem = ""
        """Why nothing can be read."""
        self.hold: asyncio.Event | None = None
        """Long reads wait for it."""
        self.reads: list[list[Want]] = []

    async def read(self, wants: Sequence[Want], limit_s: float) -> dict[tuple[str, str], History | str]:
        """Read."""
        assert limit_s > 0
        self.reads.append(list(wants))
        if self.hold is not None and any(want.span_s > CATCH_UP_S for want in wants):
            await self.hold.wait()
        return {want.subject.key: self.problem or self._history(want) for want in wants}

    def _history(self, want: Want) -> History:
        end_s = aligned(self._clock(), want.step_s)
        count = max(0, round((end_s - aligned(max(want.since_s, end_s - want.span_s), want.step_s)) / want.step_s))
        at_s = [end_s - want.step_s * back for back in range(count - 1, -1, -1)]
        rates = [self.rate_rps(each) for each in at_s]
        known = {"isl_mean": [6144.0] * count, "osl_mean": [512.0] * count} if want.lengths else {}
        return History.of(want.step_s, end_s, rates, window_s=want.window_s, **known)


@dataclass
class FakeServer:
    """PDDeployments as the API server holds them, their statuses and events."""

    documents: dict[ResourceKey, dict[str, Any]] = field(default_factory=dict)
    statuses: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(name, type, reason, message), in order."""
    faults: deque[ClusterError | NotLeadingError] = field(default_factory=deque)
    """Of writing a status."""
    get_faults: deque[ClusterError] = field(default_factory=deque)
    list_faults: deque[ClusterError] = field(default_factory=deque)
    lists: int = 0

    async def get(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Read a PDDeployment."""
        if self.get_faults:
            raise self.get_faults.popleft()
        try:
            return self.documents[ResourceKey(namespace, name)]
        except KeyError:
            raise ClusterError(NOT_FOUND, "not found", 404) from None

    async def list(self, namespace: str | None = None) -> list[Mapping[str, Any]]:
        """Read the PDDeployments."""
        if self.list_faults:
            raise self.list_faults.popleft()
        self.lists += 1
        return [
            {**document, "metadata": {**document["metadata"], "resourceVersion": "1"}}
            for key, document in self.documents.items()
            if namespace in {None, key.namespace}
        ]

    async def write(self, about: ObjectIdentity, document: Mapping[str, Any]) -> str:
        """Write a status."""
        if self.faults:
            raise self.faults.popleft()
        key = ResourceKey(about.namespace, about.name)
        if key not in self.documents:
            raise ClusterError(NOT_FOUND, "not found", 404)
        self.documents[key] = {**self.documents[key], "status": dict(document)}
        self.statuses.append((about.name, dict(document)))
        return str(len(self.statuses))

    async def emit(self, about: ObjectIdentity, kind: str, reason: str, message: str) -> None:
        """Post an Event."""
        self.events.append((about.name, str(kind), reason, message))


class World:
    """A controller among fakes; :meth:`restart` makes a new process of it."""

    def __init__(self, config: OperatorConfig | None = None) -> None:
        self.now_s = START_S
        self.config = config or OperatorConfig.model_validate(
            {"prometheus": {"endpoints": {name: {"url": f"http://{name}:9090"} for name in ("default", "other")}}}
        )
        self.cluster = FakeCluster()
        self.source = FakeMetricsSource()
        self.past = FakePast(lambda: self.now_s)
        self.server = FakeServer()
        self.verifier: VerifiesPlans | None = None
        self.leads: Leads = Alone()
        self._uids = 0
        self.restart()

    def restart(self) -> None:
        """Begin again as a new process: only what the API server holds is left."""
        self.metrics = Metrics()
        self.heartbeat = Heartbeat(lambda: self.now_s, PERIOD_S)
        self.inventory = Inventory()
        self.index: dict[ResourceKey, list[dict[str, Any]]] = {}
        self.inventory.attach(self.index)
        advisor = Advisor(self.verifier)
        self.forecasts = Forecasts(self.past, PERIOD_S, lambda: self.now_s)
        self.worker = Worker(
            advisor=advisor,
            autoscaler=Autoscaler(advisor, Actuator(self.cluster, self.cluster, self.server)),
            targets=self.cluster,
            forecasts=self.forecasts,
            publisher=Publisher(self.server, self.server, self.metrics, lambda: self.now_s),
            period_s=PERIOD_S,
            clock=lambda: self.now_s,
            timer=lambda: self.now_s,
        )
        self.loop = EvaluationLoop(
            inventory=self.inventory,
            preparer=Preparer(self.config, load_presets(None), lambda: self.now_s),
            worker=self.worker,
            collector=self.source,
            forecasts=self.forecasts,
            targets=self.cluster,
            heartbeat=self.heartbeat,
            succession=Succession(self.leads, self.server, ()),
            period_s=PERIOD_S,
            watcher=self.metrics,
            clock=lambda: self.now_s,
            timer=lambda: self.now_s,
        )
        for document in list(self.server.documents.values()):
            self._watch(document)

    def apply(
        self, document: dict[str, Any], *, annotations: dict[str, str] | None = None, created_s: int = 0
    ) -> ResourceKey:
        """Create or change a PDDeployment, as kubectl apply does; the watch says so."""
        key = ResourceKey(document["metadata"]["namespace"], document["metadata"]["name"])
        before = self.server.documents.get(key)
        if before is None:
            self._uids += 1
            metadata = {
                "uid": f"uid-{self._uids:03}",
                "generation": 1,
                "creationTimestamp": f"2026-11-21T11:00:{created_s:02}Z",
            }
            status: dict[str, Any] = {}
        else:
            metadata = {name: before["metadata"][name] for name in ("uid", "generation", "creationTimestamp")}
            metadata["generation"] += before["spec"] != document["spec"]
            status = before.get("status", {})
        metadata |= document["metadata"] | ({"annotations": annotations} if annotations else {})
        self.server.documents[key] = {**document, "metadata": metadata, "status": status}
        self._watch(self.server.documents[key])
        return key

    def delete(self, name: str, *, noticed: bool = True) -> None:
        """Delete a PDDeployment; a watch that missed it leaves the operator believing in it."""
        key = ResourceKey("serving", name)
        document = self.server.documents.pop(key)
        if noticed:
            self.index.pop(key)
            self.inventory.notice(document, deleted=True)

    def _watch(self, document: dict[str, Any]) -> None:
        self.index[ResourceKey(document["metadata"]["namespace"], document["metadata"]["name"])] = [document]
        self.inventory.notice(document, deleted=False)

    async def step(self, seconds: float = 0.0) -> None:
        """Let time pass, and everything that is then due be done."""
        self.now_s += seconds
        await self.loop.tick()
        await self.loop.settled()

    async def run(self, rounds: int) -> None:
        """Let a number of periods pass."""
        for _ in range(rounds):
            await self.step(PERIOD_S)

    def status(self, name: str = "deepseek") -> dict[str, Any]:
        """Return the status of a PDDeployment."""
        status: dict[str, Any] = self.server.documents[ResourceKey("serving", name)].get("status", {})
        return status

    def condition(self, type_: str, name: str = "deepseek") -> tuple[str, str]:
        """Return status and reason of a condition."""
        found = self.conditions(name)[type_]
        return found["status"], found["reason"]

    def conditions(self, name: str = "deepseek") -> dict[str, dict[str, Any]]:
        """Return the conditions by type."""
        return {entry["type"]: entry for entry in self.status(name).get("conditions", [])}

    def event_reasons(self, name: str = "deepseek") -> list[str]:
        """Return the reasons of the Events of a PDDeployment, in order."""
        return [reason for about, _, reason, _ in self.server.events if about == name]


def ready_world(prefill: int = 4, decode: int = 4, **spec: Any) -> World:
    """Return a world with one PDDeployment whose pools have these replicas, all ready."""
    world = World()
    world.cluster.set("deepseek-prefill", prefill)
    world.cluster.set("deepseek-decode", decode)
    world.apply(resource(**spec))
    return world
