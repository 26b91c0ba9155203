"""An API server that fails, slows down, or whose watches break or fall silent: nothing is lost, and nothing ends."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from localplane.plane import ControlPlane
from localplane.waiting import wait_for
from pdscaler.cluster import reflector
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import connect
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import PoolState
from support.apiproxy import ApiProxy, Request
from support.eventually import eventually
from support.plane import apply_in, deployment
from support.stage import DECODE, QUICK, Stage

Fault = Callable[[Request], int | None]


def slow(_: Request) -> int | None:
    time.sleep(1.0)
    return None


def no_lists(request: Request) -> int | None:
    return 500 if request.method == "GET" and request.path.endswith(("/deployments", "/pods")) else None


def more_than_ten(asked: list[str]) -> bool:
    return len(asked) > 10


def test_refusals_slowness_and_broken_watches_are_caught_up_with(stage: Stage, tmp_path: Path) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    faults: list[Fault] = []

    def hook(request: Request) -> int | None:
        return faults[0](request) if faults else None

    with ApiProxy(stage.kubeconfig, hook) as proxy:
        operator = stage.start_operator(proxy.kubeconfig(tmp_path / "proxied.kubeconfig"))
        stage.apply(**QUICK)
        stage.wait_replicas(1, 4)
        for code, rate_rps, replicas in ((500, 130.0, (2, 7)), (429, 210.0, (3, 11))):
            asked: list[str] = []

            def refuse(request: Request, code: int = code, asked: list[str] = asked) -> int | None:
                asked.append(request.path)
                return code

            before = stage.replicas()
            faults.append(refuse)
            assert proxy.cut_watches() > 0
            stage.engines.set_load(rate_rps)
            wait_for("requests that are refused", partial(more_than_ten, asked))
            assert stage.replicas() == before
            assert operator.running
            assert stage.alive()
            faults.clear()
            stage.wait_replicas(*replicas)

        # Somebody scales while the watches are down: seen once they are back, and put right.
        faults.append(no_lists)
        proxy.cut_watches()
        stage.plane.kubectl("scale", "deployment", DECODE, "-n", stage.namespace, "--replicas=5")
        faults.clear()
        stage.wait_replicas(3, 11)

        # Every answer takes its time.
        faults.append(slow)
        stage.engines.set_load(270.0)
        stage.wait_replicas(4, 14)
        assert stage.alive()
        stage.stop_operators()


async def test_a_watch_that_falls_silent_is_begun_anew(
    control_plane: ControlPlane, chart_account: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A healthy watch is silent for a minute at most; here for less, so that the test does not wait for it.
    monkeypatch.setattr(reflector, "INACTIVITY_TIMEOUT_S", 3.0)
    apply_in(control_plane, namespace, deployment("decode"))
    ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
    with ApiProxy(chart_account, lambda request: None) as proxy:
        async with await connect(str(proxy.kubeconfig(tmp_path / "proxied.kubeconfig"))) as api:
            cache = ClusterCache(api, [namespace])
            await cache.start()
            await cache.watch(ref)
            await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(1, 1))
            assert await asyncio.to_thread(proxy.mute_watches) > 0
            await asyncio.to_thread(
                control_plane.kubectl, "scale", "deployment", "decode", "-n", namespace, "--replicas=3"
            )
            await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(3, 3))
            await cache.stop()
        await asyncio.sleep(0.25)
