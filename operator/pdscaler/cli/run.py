"""``pdscaler run``: the operator. May import click, the configuration and, once that is read, the controller."""

import asyncio
import gc
import os
from pathlib import Path

import click

from pdscaler.api.config import LogFormat, load_config

_FORMATS = [choice.value for choice in LogFormat]
_NAMES = "NAME,…"
_COLLECTIONS = (50_000, 20, 50)
"""A period of a thousand PDDeployments makes a million objects that live for a second and hang in no circle: with
Python's own thresholds a quarter of the time for reading goes into looking through them."""


@click.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="YAML file; flags and PDSCALER_* go first."
)
@click.option("--evaluation-period", metavar="DURATION", help="Time between two evaluations [15s].")
@click.option("--namespaces", metavar=_NAMES, help="Namespaces to stay within [all].")
@click.option("--kubeconfig", type=click.Path(), help="Kubeconfig [a pod's service account, else as kubectl].")
@click.option("--context", help="Context of the kubeconfig [its current one].")
@click.option("--metrics-address", metavar="HOST:PORT", help="Where /metrics is served [:8080]; empty: nowhere.")
@click.option("--health-address", metavar="HOST:PORT", help="Where /healthz is served [:8081]; empty: nowhere.")
@click.option("--leader-election", is_flag=True, default=None, help="Write only while a Lease is held [no].")
@click.option("--lease-duration", metavar="DURATION", help="How long other replicas wait for a silent leader [15s].")
@click.option("--renew-deadline", metavar="DURATION", help="How long a leader goes on without a renewal [10s].")
@click.option("--retry-period", metavar="DURATION", help="Time between two tries to renew or to get the Lease [2s].")
@click.option("--lease-name", metavar="NAME", help="Name of the Lease [pdscaler-leader].")
@click.option("--lease-namespace", metavar="NAME", help="Namespace of the Lease [the pod's own].")
@click.option("--log-format", type=click.Choice(_FORMATS), help="Form of the log lines [json].")
@click.option(
    "--verify-plans/--no-verify-plans", default=None, help="Settle replica counts by simulation, in a thread [yes]."
)
@click.option("--prometheus-url", metavar="URL", help='URL of the endpoint "default".')
@click.option("--prometheus-endpoints", metavar="NAME=URL,…", help="Prometheus endpoints by name.")
@click.option("--prometheus-allowed-urls", metavar="URL,…", help="What a PDDeployment's url may be [nothing].")
@click.option("--presets", type=click.Path(), help="Directory of the administrator's presets.")
def run(config_file: Path | None, namespaces: str | None, **flags: object) -> None:
    """Run the operator: scale every PDDeployment from live metrics until told to stop."""
    names = None if namespaces is None else tuple(name.strip() for name in namespaces.split(",") if name.strip())
    config = load_config(config_file, os.environ, {**flags, "namespaces": names})
    # kopf and the cluster's client take a second to import: a wrong flag is told at once.
    from pdscaler.controller import logs
    from pdscaler.controller.application import Application

    logs.configure(config.log_format.value)
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)

    async def serve() -> None:
        await Application(config).run()

    asyncio.run(serve())
