"""Following PDDeployments on a terminal or in a log, over restarts of the API server.

May import click, rich, cluster and cli.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pdscaler.cli.cluster import get_or_list_names, list_all
from pdscaler.cli.live import change_line, console, fingerprint, render
from pdscaler.cli.view import View, view_of
from pdscaler.cluster.errors import FORBIDDEN, ClusterError
from pdscaler.cluster.resources import PDDeployments
from pdscaler.units import format_duration

_RETRY_S = 2.0
_REDRAW_S = 1.0


async def follow(
    resources: PDDeployments,
    namespace: str | None,
    name: str | None,
    as_json: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> None:
    """Show PDDeployments until interrupted.

    Parameters
    ----------
    resources
        The cluster's PDDeployments.
    namespace, name
        Which: None means all.
    as_json
        Write one JSON document per change, made by this function; None: a table on a terminal, else a line per change.

    Raises
    ------
    PdscalerError
        If there is no such PDDeployment or kind.
    ClusterError
        If the server refuses; while it does not answer, it is asked again.
    """
    if name is not None:
        await get_or_list_names(resources, namespace or "default", name)
    else:
        await list_all(resources, namespace)
    terminal = console()
    if as_json is None and terminal.is_terminal:
        await _live(resources, namespace, name, terminal)
        return
    before: dict[tuple[str, str], View] = {}
    async for kind, document in _changes(resources, namespace, name, lambda line: click.echo(line, err=True)):
        view = view_of(document)
        known = before.get(view.key)
        if kind == "DELETED":
            before.pop(view.key, None)
            if as_json is None:
                click.echo(f"{_now()}  {view.namespace}/{view.name}  deleted")
        elif known is None or fingerprint(known) != fingerprint(view):
            before[view.key] = view
            if as_json is None:
                click.echo(change_line(view, _now(), known))
            else:
                click.echo(json.dumps(as_json(document), separators=(",", ":")))


async def _live(resources: PDDeployments, namespace: str | None, name: str | None, terminal: Console) -> None:
    views: dict[tuple[str, str], View] = {}
    trouble = [""]

    def draw() -> RenderableType:
        table = render([views[key] for key in sorted(views)], time.time())
        return Group(table, Text(), Text(trouble[0], style="yellow")) if trouble[0] else table

    def say(line: str) -> None:
        trouble[0] = line

    async def read() -> None:
        async for kind, document in _changes(resources, namespace, name, say):
            view = view_of(document)
            trouble[0] = ""
            if kind == "DELETED":
                views.pop(view.key, None)
            else:
                views[view.key] = view
            live.update(draw(), refresh=True)

    with Live(
        Text("asking the API server", style="dim"), console=terminal, auto_refresh=False, transient=False
    ) as live:
        following = asyncio.ensure_future(read())
        try:
            while not following.done():
                await asyncio.wait({following}, timeout=_REDRAW_S)
                live.update(draw(), refresh=True)
            following.result()
        finally:
            following.cancel()


async def _changes(
    resources: PDDeployments, namespace: str | None, name: str | None, say: Callable[[str], None]
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield changes for ever: watches end by themselves every few minutes, and servers restart."""
    while True:
        try:
            async for change in resources.watch(namespace, name):
                yield change
        except ClusterError as error:
            if error.reason == FORBIDDEN:
                raise
            say(f"lost the API server, trying again every {format_duration(_RETRY_S)}: {error.message}")
            await asyncio.sleep(_RETRY_S)


def _now() -> str:
    return time.strftime("%H:%M:%S")
