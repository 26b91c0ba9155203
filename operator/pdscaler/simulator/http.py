"""The emulator's HTTP interface. May import aiohttp, core and this package.

=====================  ==========================================================================================
``/sd``                targets for Prometheus' http_sd: one for each engine, and the front door
``/pods/NAME/metrics``  one engine's exposition
``/frontdoor/metrics``  the front door's exposition
``/stats``             what happens now, for people and for the demo (JSON; see :func:`stats`)
``/healthz``           ``ok``
=====================  ==========================================================================================
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyTarget
from pdscaler.simulator.emulator import RECENT_S, Emulator
from pdscaler.simulator.statistics import attainment, bound_statistic, statistic_of

FRONT_DOOR_JOB = "frontdoor"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def application(emulator: Emulator) -> web.Application:
    """Return the routes; every answer is of the present instant."""

    def now(answer: Callable[[web.Request], web.Response]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            emulator.advance()
            return answer(request)

        return handler

    def engine(request: web.Request) -> web.Response:
        body = emulator.render_engine(request.match_info["name"])
        if body is None:
            return web.Response(status=404, text=f"no engine {request.match_info['name']!r} runs here\n")
        return web.Response(body=body, headers={"Content-Type": _EXPOSITION})

    def front_door(_request: web.Request) -> web.Response:
        return web.Response(body=emulator.render_front_door(), headers={"Content-Type": _EXPOSITION})

    app = web.Application()
    app.router.add_get("/sd", now(lambda request: web.json_response(targets(emulator, request.host))))
    app.router.add_get("/pods/{name}/metrics", now(engine))
    app.router.add_get("/frontdoor/metrics", now(front_door))
    app.router.add_get("/stats", now(lambda _request: web.json_response(stats(emulator))))
    app.router.add_get("/healthz", now(lambda _request: web.Response(text="ok\n")))
    return app


def targets(emulator: Emulator, address: str) -> list[dict[str, object]]:
    """Return Prometheus targets with the labels that a PodMonitor would add.

    Parameters
    ----------
    emulator
        The emulated engines.
    address
        Host and port under which the caller reached this server.
    """
    namespace = emulator.model.namespace
    found: list[dict[str, object]] = []
    for name, pool in emulator.engines:
        labels = {"__metrics_path__": f"/pods/{name}/metrics", "namespace": namespace, "pod": name}
        if emulator.model.pool_label:
            labels[emulator.model.pool_label] = pool.value
        found.append({"targets": [address], "labels": labels})
    front_door = {"__metrics_path__": "/frontdoor/metrics", "namespace": namespace, "job": FRONT_DOOR_JOB}
    found.append({"targets": [address], "labels": front_door})
    return found


def stats(emulator: Emulator) -> dict[str, object]:
    """Return what happens now; what is unknown is null.

    Keys: ``elapsed_s``, ``duration_s``, ``started``, ``finished``, ``phase`` (null before and after the load),
    ``nominal`` {arrival_rate_rps, input_tokens, output_tokens}, ``window_s``, ``recent`` {arrival_rate_rps, completed,
    ttft_s {mean, statistic}, tpot_s {mean, statistic}, attainment {ttft, tpot, joint}}, ``objectives`` {ttft, tpot}
    {target_s, statistic}, ``in_flight``, and by pool ``waiting``, ``running``, ``replicas`` (ready), ``draining``.
    """
    segment = emulator.segment
    sample = emulator.recent()
    slo = emulator.model.slo
    shares = attainment(sample.outcomes)
    seen_s = min(RECENT_S, emulator.elapsed_s)
    pools = {pool: emulator.replicas(pool) for pool in Pool}
    return {
        "elapsed_s": round(emulator.elapsed_s, 3),
        "duration_s": round(emulator.load.duration_s, 3),
        "started": emulator.started,
        "finished": emulator.started and segment is None,
        "phase": None if segment is None else segment.name,
        "nominal": None
        if segment is None
        else {
            "arrival_rate_rps": segment.arrival_rate_rps,
            "input_tokens": segment.input_tokens,
            "output_tokens": segment.output_tokens,
        },
        "window_s": RECENT_S,
        "recent": {
            "arrival_rate_rps": sample.arrivals / seen_s if seen_s > 0 else None,
            "completed": len(sample.outcomes),
            "ttft_s": _latency(sample.ttft_s, slo.ttft),
            "tpot_s": _latency(sample.tpot_s, slo.tpot),
            "attainment": None if shares is None else {"ttft": shares.ttft, "tpot": shares.tpot, "joint": shares.joint},
        },
        "objectives": {"ttft": _objective(slo.ttft), "tpot": _objective(slo.tpot)},
        "in_flight": emulator.in_flight,
        "waiting": {
            pool.value: emulator.held[pool] + sum(state.waiting for state in states) for pool, states in pools.items()
        },
        "running": {pool.value: sum(state.running for state in states) for pool, states in pools.items()},
        "replicas": {pool.value: sum(state.ready for state in states) for pool, states in pools.items()},
        "draining": {pool.value: sum(not state.ready for state in states) for pool, states in pools.items()},
    }


def _latency(values: list[float], target: LatencyTarget | None) -> dict[str, float | None]:
    mean = sum(values) / len(values) if values else None
    return {"mean": mean, "statistic": statistic_of(values, bound_statistic(target))}


def _objective(target: LatencyTarget | None) -> dict[str, object] | None:
    return None if target is None else {"target_s": target.target_s, "statistic": target.statistic.value}
