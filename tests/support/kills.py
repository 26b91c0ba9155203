"""SIGKILL for an operator at chosen steps of its evaluations, from outside: proxies see each step as a request.

Nothing in the operator knows of it. A proxy stands before the API server and another before Prometheus; when the
request that marks a step arrives, or when its answer has come and has not been passed on yet, the process dies.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localplane.processes import Process
from pdscaler.core.pools import PerPool, Pool
from support.apiproxy import ApiProxy, Proxy, Request
from support.orders import Order, Phase, Rules, broken_rules, orders_of
from support.stage import DECODE, PREFILL, Stage

TARGETS = {PREFILL: Pool.PREFILL, DECODE: Pool.DECODE}
RULES = Rules(bounds=PerPool((1, 8), (1, 14)), max_gpus=13, up=(2, 3.0), down=(2, 3.0), window_s=3.0, memory_s=8.0)
SETTLES_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Load:
    """A load, and the counts it needs: TP_p = 100 000 - L/0.05 tokens/s, TP_d = 2000 tokens/s (see stage.resource)."""

    rate_rps: float
    input_tokens: float
    needs: PerPool[int]


LOADS = (
    Load(50.0, 1000.0, PerPool(1, 3)),
    Load(110.0, 2000.0, PerPool(4, 6)),
    Load(190.0, 1000.0, PerPool(3, 10)),
    Load(130.0, 2000.0, PerPool(5, 7)),
)
"""Between the last two both pools move in opposite directions at a full budget."""


def kills_spec() -> dict[str, Any]:
    """Return what the PDDeployment is asked to respect, as :data:`RULES` has it."""
    behavior = {
        "scaleUp": {"policies": [{"type": "Pods", "value": RULES.up[0], "periodSeconds": int(RULES.up[1])}]},
        "scaleDown": {
            "stabilizationWindowSeconds": int(RULES.window_s),
            "policies": [{"type": "Pods", "value": RULES.down[0], "periodSeconds": int(RULES.down[1])}],
        },
    }
    return {
        "behavior": behavior,
        "metrics": {"window": "5s", "maxStaleness": "5s"},
        "constraints": {"maxGPUs": RULES.max_gpus},
        "prefill": {"maxReplicas": RULES.bounds.prefill[1]},
        "decode": {"maxReplicas": RULES.bounds.decode[1]},
    }


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an evaluation, as seen from outside.

    Parameters
    ----------
    name
        What has happened by then.
    matches
        Whether a request marks it.
    nth
        Which of the matching requests of one process.
    answered
        Not when the request arrives, but when its answer has come.
    """

    name: str
    matches: Callable[[Request], bool]
    nth: int = 1
    answered: bool = False


def _is(method: str, end: str) -> Callable[[Request], bool]:
    return lambda request: request.method == method and request.path.endswith(end)


_ORDER = _is("PATCH", "/scale")
_STATUS = _is("PATCH", "/status")
_EVENT = _is("POST", "/events")
STEPS = (
    Step("while it lists the PDDeployments", _is("GET", "/pddeployments")),
    Step("before the metrics are read", lambda request: "/api/v1/query" in request.path, nth=3),
    Step("between decision and write, nothing checked", _is("GET", "/pddeployments/tiny")),
    Step("between decision and write, the scale read", _is("GET", "/scale"), answered=True),
    Step("the first order sent and not carried out", _ORDER),
    Step("the first order carried out, its answer lost", _ORDER, answered=True),
    Step("before the second order", _ORDER, nth=2),
    Step("the second order carried out, its answer lost", _ORDER, nth=2, answered=True),
    Step("before the status", _STATUS),
    Step("the status written, its answer lost", _STATUS, answered=True),
    Step("before the event", _EVENT),
    Step("the event posted, its answer lost", _EVENT, answered=True),
)


class Killer:
    """Kills a process at a step; hand :meth:`arrives` and :meth:`answered` to the proxies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._process: Process | None = None
        self._seen = 0

    def arm(self, process: Process, step: Step) -> None:
        """Kill this process at this step."""
        with self._lock:
            self._process, self._step, self._seen = process, step, 0

    def disarm(self) -> None:
        """Kill nothing."""
        with self._lock:
            self._step = None

    def arrives(self, request: Request) -> int | None:
        """See a request before it is forwarded; one that was killed in time is not."""
        return 503 if self._sees(request, answered=False) else None

    def answered(self, request: Request) -> None:
        """See a request whose answer has come."""
        self._sees(request, answered=True)

    def _sees(self, request: Request, *, answered: bool) -> bool:
        with self._lock:
            step = self._step
            if step is None or step.answered is not answered or not step.matches(request):
                return False
            self._seen += 1
            if self._seen < step.nth:
                return False
            self._step = None
            assert self._process is not None
            self._process.kill()
            return True


@dataclass
class Outcome:
    """What a run came to.

    Parameters
    ----------
    kills
        How often the process was killed, by step.
    orders
        Accepted orders.
    phases
        The loads.
    broken
        Rules that an order broke.
    settled_s
        How long after the last kill of each series the counts were what the load needs, seconds.
    """

    kills: Counter[str] = field(default_factory=Counter)
    orders: list[Order] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Massacre:
    """Kills operators of a stage under a load that never rests.

    Parameters
    ----------
    stage
        Where; its targets and its PDDeployment (:func:`kills_spec`) are there already.
    seed
        Which steps and which loads.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._rng = random.Random(seed)
        self._killer = Killer()
        self.outcome = Outcome()

    def run(self, kills: int, series: int) -> Outcome:
        """Kill so many times; after each series the load rests until the counts are what it needs."""
        began_s = time.monotonic()
        stage, outcome = self._stage, self.outcome
        initial = PerPool(*stage.replicas())
        self._load(LOADS[0])
        kubeconfig = stage.run_dir / "killed.kubeconfig"
        api = ApiProxy(stage.kubeconfig, self._killer.arrives, self._killer.answered)
        with api, Proxy(stage.prometheus.url, self._killer.arrives) as prometheus:
            api.kubeconfig(kubeconfig)
            endpoints = {
                "prometheus": {"endpoints": {"default": {"url": prometheus.url, "timeout": "2s"}}},
                # Analytic plans: a process that lives for seconds would spend them compiling the simulation.
                "verifyPlans": False,
            }
            steps = self._steps()
            for number in range(1, kills + 1):
                step = next(steps)
                process = stage.start_operator(kubeconfig, settings=endpoints)
                self._killer.arm(process, step)
                self._wait_for_the_end(process)
                stage.plane.processes.forget(process)
                outcome.kills[step.name] += 1
                if number % series == 0 or number == kills:
                    outcome.settled_s.append(self._settle(kubeconfig, endpoints))
                    outcome.seconds = time.monotonic() - began_s
                    outcome.orders = orders_of(stage.requests(), TARGETS)
                    outcome.broken = broken_rules(outcome.orders, initial, outcome.phases, RULES)
                    print(report(outcome), flush=True)
        return outcome

    def _steps(self) -> Iterator[Step]:
        """Every step as often as the others, in an order of chance."""
        while True:
            yield from self._rng.sample(STEPS, len(STEPS))

    def _wait_for_the_end(self, process: Process) -> None:
        """Change the load until there was such a step: an order is only written where one is due."""
        deadline_s = time.monotonic() + 180.0
        while process.running:
            assert time.monotonic() < deadline_s, f"never came to it; {self._stage.status()}"
            self._load(self._rng.choice([load for load in LOADS if load.rate_rps != self._stage.engines.rate_rps]))
            until_s = time.monotonic() + self._rng.uniform(3.0, 7.0)
            while time.monotonic() < until_s and process.returncode is None:
                time.sleep(0.05)

    def _settle(self, kubeconfig: Path, endpoints: dict[str, Any]) -> float:
        """Leave an operator alone under a steady load: no step is lost for good, and none is doubled."""
        self._killer.disarm()
        began_s = time.monotonic()
        load = self._rng.choice(LOADS)
        self._load(load)
        process = self._stage.start_operator(kubeconfig, settings=endpoints)
        self._stage.wait_replicas(load.needs.prefill, load.needs.decode, SETTLES_WITHIN_S)
        took_s = time.monotonic() - began_s
        self._stage.wait_condition("AbleToScale", "True", "ReadyForNewScale")
        needs = [load.needs.prefill, load.needs.decode]
        self._stage.wait_status(
            "the status of the last order",
            lambda status: [status[pool]["current"] for pool in ("prefill", "decode")] == needs,
        )
        assert process.stop() == 0
        self._stage.plane.processes.forget(process)
        return took_s

    def _load(self, load: Load) -> None:
        self._stage.engines.set_load(load.rate_rps, load.input_tokens)
        self.outcome.phases.append(Phase(time.time(), load.needs))


def report(outcome: Outcome) -> str:
    """Return what happened, in a few lines."""
    lines = [f"{sum(outcome.kills.values())} kills in {outcome.seconds:.0f}s, {len(outcome.orders)} orders,"]
    lines[0] += f" {len(outcome.phases)} changes of load; rules broken: {len(outcome.broken)}"
    lines += [f"  {count:4d}  {step}" for step, count in sorted(outcome.kills.items(), key=lambda each: each[0])]
    settled = ", ".join(f"{seconds:.0f}s" for seconds in outcome.settled_s)
    return "\n".join([*lines, f"  right counts after {settled}", *outcome.broken])
