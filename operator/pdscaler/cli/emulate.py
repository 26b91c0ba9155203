"""``pdscaler emulate``: engines without GPUs. May import click, aiohttp, numpy, api, cluster, simulator, core, cli.

It wires the emulator to what is ready: the pods of the two targets, or a fixed xPyD. Everything else is the
simulator's.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import click
import numpy as np
from aiohttp import web

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.api.pddeployment import PDDeployment
from pdscaler.cli.output import aligned
from pdscaler.core.pools import PerPool
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.emulator import EmulatedModel, Emulator, ReadyReplicas, run
from pdscaler.simulator.http import application
from pdscaler.simulator.load import Load, Segment, load_of_phases, load_of_trace
from pdscaler.simulator.records import RecordsWriter
from pdscaler.simulator.summary import summary
from pdscaler.simulator.traces import read_trace, scale_trace
from pdscaler.simulator.workload import read_phases
from pdscaler.units import format_duration, format_number, parse_duration

DEFAULT_LISTEN = "127.0.0.1:9400"
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("-f", "--file", "file", type=_PATH, required=True, help="YAML file with the PDDeployment to emulate.")
@click.option("--kubeconfig", help="Kubeconfig of the cluster whose Ready pods are followed.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--static", "static", metavar="xPyD", help="Fixed replicas such as 2P3D; needs no cluster.")
@click.option("--phases", "phases", type=_PATH, help="YAML file with the phases of a synthetic load.")
@click.option("--trace", "trace", type=_PATH, help="Recorded requests to play (CSV, Azure, Mooncake, BurstGPT).")
@click.option("--rate-scale", type=float, help="Multiply the rate of the trace.")
@click.option("--duration", help="Stop the load after this long, such as 4m; the whole load if left out.")
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, help="Address and port of the HTTP interface.")
@click.option("--records", type=_PATH, help="CSV file for the record of each finished request.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random generator.")
@click.option("--linger", is_flag=True, help="Go on serving metrics after the load, until stopped.")
def emulate(
    *,
    file: Path,
    kubeconfig: str | None,
    context: str | None,
    static: str | None,
    phases: Path | None,
    trace: Path | None,
    rate_scale: float | None,
    duration: str | None,
    listen: str,
    records: Path | None,
    seed: int,
    linger: bool,
) -> None:
    """Emulate prefill and decode engines under load, on the wall clock.

    Each Ready pod of the two targets is one engine with its own vLLM metrics; Prometheus finds them at /sd. A front
    door with llm-d's metrics counts what arrives. The load begins when both pools have a ready replica.
    """
    resource = load_pddeployment(file)
    streams = np.random.default_rng(seed).spawn(3)
    load = _load(phases, trace, rate_scale, duration, streams[:2])
    fixed = None if static is None else _static(static)
    address = _address(listen)
    writer = None if records is None else RecordsWriter(records)
    with nullcontext() if writer is None else writer:
        emulator = Emulator(
            _model(resource), load, streams[2], clock=time.monotonic, unix_clock=time.time, records=writer
        )
        source = _ready_pods(resource, kubeconfig, context) if fixed is None else _always(fixed)
        asyncio.run(_serve(emulator, source, resource.metadata.name, address, linger=linger))
        total, rows = summary(emulator)
        click.echo("\n".join([total, *aligned(rows)]))


async def _serve(
    emulator: Emulator,
    source: AbstractAsyncContextManager[ReadyReplicas],
    name: str,
    address: tuple[str, int],
    *,
    linger: bool,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with _listening(emulator, address) as url, source as ready:
        click.echo(f"emulated engines of {name} at {url} (/sd, /stats)", err=True)
        names = await ready()
        if not (names.prefill and names.decode):
            click.echo("the load begins when both pools have a ready replica", err=True)
        await run(emulator, ready, stop, linger=linger, on_segment=_announce)


def _announce(segment: Segment | None) -> None:
    if segment is None:
        click.echo("the load is over; waiting for the requests in flight", err=True)
        return
    click.echo(
        f"{segment.name}: {format_number(segment.arrival_rate_rps)}/s, {segment.input_tokens:.0f} in, "
        f"{segment.output_tokens:.0f} out, for {format_duration(segment.end_s - segment.begin_s)}",
        err=True,
    )


@asynccontextmanager
async def _listening(emulator: Emulator, address: tuple[str, int]) -> AsyncIterator[str]:
    runner = web.AppRunner(application(emulator), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, *address)
        try:
            await site.start()
        except OSError as error:
            raise InvalidInputError("--listen", f"cannot listen there: {error.strerror or error}") from error
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _always(fixed: PerPool[Sequence[str]]) -> AsyncIterator[ReadyReplicas]:
    async def ready() -> PerPool[Sequence[str]]:
        return fixed

    yield ready


@asynccontextmanager
async def _ready_pods(
    resource: PDDeployment, kubeconfig: str | None, context: str | None
) -> AsyncIterator[ReadyReplicas]:
    """Follow the Ready pods of both targets, oldest first.

    While a target cannot be read its engines go on: they do not stop for want of an API server.
    """
    from pdscaler.cli.cluster import explained
    from pdscaler.cluster.cache import ClusterCache
    from pdscaler.cluster.connection import connect
    from pdscaler.cluster.errors import ClusterError
    from pdscaler.cluster.targets import TargetRef
    from pdscaler.core.decision import TargetUnknown

    namespace = resource.metadata.namespace
    references = PerPool(resource.spec.prefill.scale_target_ref, resource.spec.decode.scale_target_ref)
    targets = references.map(lambda ref: TargetRef(namespace, ref.api_version, ref.kind, ref.name))
    try:
        connection = await connect(kubeconfig, context)
    except ClusterError as error:
        raise explained(error) from error
    try:
        cache = ClusterCache(connection, [namespace])
        await cache.start()
        try:
            for target in (targets.prefill, targets.decode):
                await cache.watch(target)
            known: PerPool[Sequence[str]] = PerPool((), ())

            async def ready() -> PerPool[Sequence[str]]:
                nonlocal known
                for pool, target in targets.items():
                    if isinstance(cache.target(target), TargetUnknown):
                        continue
                    pods = sorted(cache.pods(target), key=lambda pod: (pod.created_at_s, pod.name))
                    known = known.replace(pool, [pod.name for pod in pods if pod.ready and not pod.terminating])
                return known

            yield ready
        finally:
            await cache.stop()
    finally:
        await connection.close()


def _model(resource: PDDeployment) -> EmulatedModel:
    spec = to_sizing_spec(resource)
    return EmulatedModel(
        name=resource.spec.model,
        namespace=resource.metadata.namespace,
        prefill=spec.prefill_profile,
        decode=spec.decode_profile,
        slo=spec.slo,
        routing=resource.spec.routing.prefill,
        pool_label=resource.spec.metrics.pool_label,
    )


def _load(
    phases: Path | None,
    trace: Path | None,
    rate_scale: float | None,
    duration: str | None,
    streams: Sequence[np.random.Generator],
) -> Load:
    if (phases is None) == (trace is None):
        raise InvalidInputError("", "give either --phases or --trace")
    duration_s = None if duration is None else parse_duration(duration, "--duration")
    if duration_s == 0:
        raise InvalidInputError("--duration", "must be above 0, such as 4m")
    if phases is not None:
        if rate_scale is not None:
            raise InvalidInputError("--rate-scale", "is for --trace; the phases say their own rates")
        return load_of_phases(read_phases(phases), streams[0], duration_s)
    assert trace is not None
    recorded = read_trace(trace)
    for note in recorded.notes:
        click.echo(f"note: {note}", err=True)
    if rate_scale is not None:
        recorded = scale_trace(recorded, rate_scale, streams[1])
    return load_of_trace(recorded, duration_s)


def _static(text: str) -> PerPool[Sequence[str]]:
    counts = re.fullmatch(r"(\d{1,4})P(\d{1,4})D", text, re.IGNORECASE)
    if counts is None or 0 in map(int, counts.groups()):
        raise InvalidInputError("--static", f'"{text}" is not a pair of replica counts (write 2P3D)')
    prefill, decode = map(int, counts.groups())
    return PerPool([f"prefill-{i}" for i in range(prefill)], [f"decode-{i}" for i in range(decode)])


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInputError("--listen", f'"{text}" is not an address and a port (write {DEFAULT_LISTEN})')
    return host.strip("[]"), int(port)
