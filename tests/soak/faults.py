"""What may go wrong, each as a begin and an end. Imports the soak's world and support.

A fault says what must hold while it lasts; who watches that is :mod:`soak.judge`.
"""

import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from pdscaler.errors import InvalidInputError
from soak.world import BOUNDS, World
from support.apiproxy import Request
from support.faulty_proxy import Fault as Answer
from support.faulty_proxy import cut, drip, hang, huge, status
from support.stage import DECODE, PREFILL

End = Callable[[], None]


class Holds(Enum):
    """What must hold while a fault lasts, beyond what must always hold."""

    NOTHING_MORE = auto()
    NO_DATA = auto()
    """Nothing is lowered, and after some seconds ``MetricsAvailable`` says so."""
    NO_WRITE = auto()
    """Nothing is written."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong for a while.

    Parameters
    ----------
    name
        What people call it.
    part
        What it happens to: no two faults of one part at the same time.
    begin
        Makes it happen; returns what ends it.
    holds
        What must hold meanwhile.
    grace_s
        So long after its begin what was read before may still count.
    rest_s
        It does not come again before.
    """

    name: str
    part: str
    begin: Callable[[World, random.Random], End]
    holds: Holds = Holds.NOTHING_MORE
    grace_s: float = 4.0
    rest_s: float = 0.0

    def goes_with(self, other: "Fault") -> bool:
        """Whether both can be at the same time: what asks the API server itself cannot while that is gone."""
        asks_api = {"resource", "targets"}
        gone = [each for each in (self, other) if each.begin is _no_api_server]
        return self.part != other.part and not (gone and {self.part, other.part} & asks_api)


def _prometheus(answer: Answer) -> Callable[[World, random.Random], End]:
    def begin(world: World, _: random.Random) -> End:
        world.proxy.fault = answer
        return lambda: setattr(world.proxy, "fault", None)

    return begin


def _partial(world: World, _: random.Random) -> End:
    def warn(document: dict[str, object]) -> None:
        document["warnings"] = ["some stores did not answer"]

    world.proxy.edit = warn
    return lambda: setattr(world.proxy, "edit", None)


def _no_prometheus(world: World, _: random.Random) -> End:
    world.prometheus.kill()
    return world.prometheus.start


def _not_a_number(world: World, _: random.Random) -> End:
    world.engines.not_a_number = True
    return lambda: setattr(world.engines, "not_a_number", False)


def _one_role_silent(world: World, rng: random.Random) -> End:
    world.engines.silent_roles = frozenset({rng.choice(("prefill", "decode"))})
    return lambda: setattr(world.engines, "silent_roles", frozenset())


def _api(answer: Callable[[Request], int | None]) -> Callable[[World, random.Random], End]:
    def begin(world: World, _: random.Random) -> End:
        world.api_hook = answer
        return lambda: setattr(world, "api_hook", None)

    return begin


def _refuse_scale(code: int) -> Callable[[Request], int | None]:
    return lambda request: code if request.writes_scale else None


def _slow(request: Request) -> int | None:
    time.sleep(1.5)
    return None


def _no_api_server(world: World, _: random.Random) -> End:
    world.plane.stop_apiserver()
    return world.plane.start_apiserver


def _killed(world: World, _: random.Random) -> End:
    world.operator.kill()
    world.plane.processes.forget(world.operator)
    return world.start_operator


def _paused_process(world: World, _: random.Random) -> End:
    process = world.operator
    process.signal(signal.SIGSTOP)
    return lambda: process.signal(signal.SIGCONT)


def _pause(world: World, _: random.Random) -> End:
    def annotate(value: str | None) -> None:
        world.patch_resource({"metadata": {"annotations": {"pdscaler.io/paused": value}}})

    annotate("true")
    return lambda: annotate(None)


def _invalid(world: World, _: random.Random) -> End:
    def name_engine(name: str | None) -> None:
        world.patch_resource({"spec": {"metrics": {"engine": name}}})

    name_engine("NoSuchEngine")
    return lambda: name_engine(None)


def _somebody_scales(world: World, rng: random.Random) -> End:
    name = rng.choice((PREFILL, DECODE))
    world.patch_target(name, {"spec": {"replicas": rng.randint(*BOUNDS[name])}})
    return lambda: None


def _rollout(world: World, rng: random.Random) -> End:
    name = rng.choice((PREFILL, DECODE))
    stamp: dict[str, Any] = {"annotations": {"soak/restarted": str(rng.random())}}
    world.patch_target(name, {"spec": {"template": {"metadata": stamp}}})
    return lambda: None


def _lost_pods(world: World, rng: random.Random) -> End:
    name = rng.choice((PREFILL, DECODE))
    world.plane.kubectl("delete", "pods", "-l", f"app={name}", "-n", "soak", "--wait=false")
    return lambda: None


_READINGS: Mapping[str, Answer] = {
    "Prometheus answers 500": status(HTTPStatus.INTERNAL_SERVER_ERROR),
    "Prometheus answers 503": status(HTTPStatus.SERVICE_UNAVAILABLE),
    "Prometheus refuses the token": status(HTTPStatus.UNAUTHORIZED),
    "Prometheus never answers": hang,
    "Prometheus cuts its answers": cut,
    "Prometheus drips its answers": drip,
    "Prometheus sends 400 MiB": huge,
    "Prometheus answers nonsense": status(HTTPStatus.OK, {"status": "success", "data": {"result": 7}}),
}
_REFUSALS = {
    "/scale answers 409": HTTPStatus.CONFLICT,
    "/scale answers 403": HTTPStatus.FORBIDDEN,
    "/scale answers 500": HTTPStatus.INTERNAL_SERVER_ERROR,
}

FAULTS: tuple[Fault, ...] = (
    *(Fault(name, "prometheus", _prometheus(answer), Holds.NO_DATA) for name, answer in _READINGS.items()),
    Fault("Prometheus warns of partial data", "prometheus", _partial, Holds.NO_DATA),
    Fault("Prometheus is gone", "prometheus", _no_prometheus, Holds.NO_DATA),
    Fault("lengths are NaN", "engines", _not_a_number, Holds.NO_DATA, grace_s=12.0),
    Fault("one role is silent", "engines", _one_role_silent, Holds.NO_DATA, grace_s=14.0),
    *(Fault(name, "api", _api(_refuse_scale(code)), Holds.NO_WRITE) for name, code in _REFUSALS.items()),
    Fault("the API server answers 429", "api", _api(lambda _: HTTPStatus.TOO_MANY_REQUESTS), Holds.NO_WRITE),
    Fault("the API server answers 503", "api", _api(lambda _: HTTPStatus.SERVICE_UNAVAILABLE), Holds.NO_WRITE),
    Fault("the API server is slow", "api", _api(_slow)),
    Fault("the API server is gone", "api", _no_api_server, Holds.NO_WRITE),
    Fault("the operator is killed", "operator", _killed, Holds.NO_WRITE, grace_s=0.5),
    Fault("the operator is paused", "operator", _paused_process, Holds.NO_WRITE, grace_s=1.0),
    Fault("scaling is paused by annotation", "resource", _pause, Holds.NO_WRITE),
    Fault("the spec is invalid", "resource", _invalid, Holds.NO_WRITE),
    Fault("somebody scales a target", "targets", _somebody_scales, rest_s=320.0),
    Fault("a target is rolled out", "targets", _rollout),
    Fault("all pods of a target are deleted", "targets", _lost_pods),
)


def choose(rng: random.Random, begun_s: Mapping[str, float], now_s: float) -> list[Fault]:
    """Return one or two faults of different parts, none that must rest yet."""
    ready = [fault for fault in FAULTS if now_s - begun_s.get(fault.name, -float("inf")) >= fault.rest_s]
    if not ready:
        raise InvalidInputError("faults", "all of them must rest")
    first = rng.choice(ready)
    others = [fault for fault in ready if first.goes_with(fault)]
    return [first, rng.choice(others)] if rng.random() < 0.35 else [first]
