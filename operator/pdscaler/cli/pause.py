"""``pdscaler pause`` and ``pdscaler resume``: annotations, so that GitOps keeps them. May import click, api and cli."""

from collections.abc import Callable
from typing import Any

import click

from pdscaler.api.annotations import PAUSED, PAUSED_SCALE_DOWN, PAUSED_SCALE_UP, paused_of
from pdscaler.cli.cluster import ClusterOptions, ask, cluster_options, get_or_list_names
from pdscaler.cluster.resources import PDDeployments
from pdscaler.core.decision import Paused


@click.command()
@click.argument("name")
@click.option("--scale-up", is_flag=True, help="Only scaling up.")
@click.option("--scale-down", is_flag=True, help="Only scaling down.")
@cluster_options
def pause(name: str, scale_up: bool, scale_down: bool, where: ClusterOptions) -> None:
    """Stop scaling a PDDeployment, without deleting anything: it goes on recommending."""
    _change(where, name, lambda _: paused_too(scale_up, scale_down))
    click.echo(f"resume with: pdscaler resume {name} -n {where.home_namespace}")


@click.command()
@click.argument("name")
@click.option("--scale-up", is_flag=True, help="Only scaling up.")
@click.option("--scale-down", is_flag=True, help="Only scaling down.")
@cluster_options
def resume(name: str, scale_up: bool, scale_down: bool, where: ClusterOptions) -> None:
    """Let a PDDeployment be scaled again: in both directions, or in the one that is named."""
    _change(where, name, lambda now: resumed(now, scale_up, scale_down))


def _change(where: ClusterOptions, name: str, decide: Callable[[Paused], dict[str, str | None]]) -> None:
    namespace = where.home_namespace

    async def change(resources: PDDeployments) -> Paused:
        now = _paused(await get_or_list_names(resources, namespace, name))
        return _paused(await resources.patch_annotations(namespace, name, decide(now)))

    click.echo(f"{namespace}/{name}: {words(ask(where, change))}")


def _paused(document: dict[str, Any]) -> Paused:
    return paused_of((document.get("metadata") or {}).get("annotations") or {})


def paused_too(scale_up: bool, scale_down: bool) -> dict[str, str | None]:
    """Return the annotation that pauses one direction, or both; the other directions stay as they are."""
    if scale_up == scale_down:
        return {PAUSED: "true"}
    return {PAUSED_SCALE_UP if scale_up else PAUSED_SCALE_DOWN: "true"}


def resumed(now: Paused, scale_up: bool, scale_down: bool) -> dict[str, str | None]:
    """Return the annotations that resume one direction, or both, and leave the other as it is."""
    if scale_up == scale_down:
        return {PAUSED: None, PAUSED_SCALE_UP: None, PAUSED_SCALE_DOWN: None}
    up, down = now.scale_up and not scale_up, now.scale_down and not scale_down
    return {
        PAUSED: None,
        PAUSED_SCALE_UP: "true" if up else None,
        PAUSED_SCALE_DOWN: "true" if down else None,
    }


def words(paused: Paused) -> str:
    """Say which directions are paused.

    Examples
    --------
    >>> words(Paused(scale_down=True))
    'scale-down is paused, scale-up goes on'
    """
    if paused.scale_up and paused.scale_down:
        return "paused: nothing is scaled, recommendations go on"
    if paused.scale_up:
        return "scale-up is paused, scale-down goes on"
    return "scale-down is paused, scale-up goes on" if paused.scale_down else "scaling is active"
