"""Which version of the code gave a result: files that decide, and what the simulation does. Imports the simulator.

The simulation, the clairvoyant schedule and the bound are told by what they do on some minutes, not by their files:
whoever moves code about or adds a report leaves the results of an hour's work as they are.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from bench.policy.generators import SHAPES, generate

from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.core.pools import PerPool
from pdscaler.simulator.bound import bound
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.oracle import clairvoyant
from pdscaler.simulator.policies import Wanted
from pdscaler.simulator.replay import ReplaySettings, replay

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "operator" / "pdscaler"

_OURS = ("simulator/policies/ours.py", "simulator/policies/expectation.py")


@lru_cache(maxsize=4)
def version(what: str) -> str:
    """Return a short hash of the code behind ``reference`` (schedule and bound), ``pdscaler`` or another policy.

    A result of another version is computed anew.
    """
    if what not in ("reference", "pdscaler"):
        what = "others"
    patterns = {
        "reference": (),
        "pdscaler": ("core/*.py", "forecast/*.py", *_OURS),
        "others": ("simulator/policies/*.py",),
    }[what]
    digest = hashlib.sha256((HERE / "runs.py").read_bytes())
    for path in sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)}):
        name = path.relative_to(PACKAGE).as_posix()
        if what == "pdscaler" or name not in _OURS:
            digest.update(name.encode())
            digest.update(path.read_bytes())
    digest.update(hindsight() if what == "reference" else behaviour())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=1)
def hindsight() -> bytes:
    """Return a hash of the clairvoyant schedule and the bound of twenty minutes."""
    spec = to_scaling_spec(load_pddeployment(HERE / "engine.yaml")).sizing
    requests = generate(SHAPES["on-off"], 5, hours=1 / 3)
    schedule = clairvoyant(spec, requests, measured_from_s=300.0)
    least = bound(spec, requests, measured_from_s=300.0)
    found = (schedule.orders, schedule.gpu_hours, schedule.attainment, round(least.gpu_hours, 9), least.misses)
    return hashlib.sha256(repr(found).encode()).digest()


@lru_cache(maxsize=1)
def behaviour() -> bytes:
    """Return a hash of what the simulation does with ten minutes of steps and a policy that goes up and down."""
    spec = to_scaling_spec(load_pddeployment(HERE / "engine.yaml"))
    requests = generate(SHAPES["on-off"], 5, hours=1 / 6)
    policy = _UpAndDown()
    result = replay(spec, requests, policy, PerPool(5, 2), settings=ReplaySettings(measure_from_s=60.0))
    digest = hashlib.sha256()
    for column in (result.records.first_token_s, result.records.finished_s):
        digest.update(np.ascontiguousarray(column).tobytes())
    digest.update(repr((policy.seen, result.gpu_hours, result.gpu_hours_with_drain, result.attainment.joint)).encode())
    return digest.digest()


class _UpAndDown:
    """Orders by the clock, and keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[float | None] = []

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        window = observation.window(60.0)
        if window is not None:
            self.seen += [window.rate_rps, window.isl_mean, window.osl_mean, window.ttft_mean_s, window.tpot_mean_s]
        self.seen += [observation.gauge(name) for name in ("kv_tokens", "prefill_waiting_tokens", "decode_running")]
        return Wanted(PerPool(5 + int(now_s // 60) % 3, 2 + int(now_s // 45) % 2))
