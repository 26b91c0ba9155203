"""``python -m localplane``: its commands. Imports click; each command imports what it needs."""

import sys
from pathlib import Path
from typing import Any

import click

from pdscaler.errors import PdscalerError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run a real Kubernetes control plane and Prometheus on loopback, without Docker and without root."""


@cli.command()
def tools() -> None:
    """Compile the tools into the cache (once), and print where they are."""
    from localplane.progress import Console
    from localplane.tools import ensure_tools

    found = ensure_tools(Console())
    width = max(map(len, found.paths))
    for name, path in found.paths.items():
        click.echo(f"{name:<{width}}  {path}")


@cli.command()
@click.option("--nodes", default=4, show_default=True, help="Fake nodes of 8 GPUs each.")
@click.option(
    "--sd",
    "sd_url",
    default="http://127.0.0.1:9400/sd",
    show_default=True,
    help="Service discovery that Prometheus asks: where `pdscaler emulate` listens.",
)
def up(nodes: int, sd_url: str) -> None:
    """Run a control plane and a Prometheus until Ctrl-C, for trying things by hand."""
    import tempfile
    import time

    from localplane.plane import ControlPlane
    from localplane.processes import terminate_as_interrupt
    from localplane.progress import Console
    from localplane.prom import Prometheus
    from localplane.tools import ensure_tools

    terminate_as_interrupt()
    found = ensure_tools(Console())
    with tempfile.TemporaryDirectory(prefix="pdscaler-up-", ignore_cleanup_errors=True) as folder:
        run_dir = Path(folder)
        with (
            ControlPlane(run_dir / "plane", found, gpu_nodes=nodes) as plane,
            Prometheus(run_dir / "prometheus", found, [sd_url], processes=plane.processes) as prometheus,
        ):
            click.echo(f"export KUBECONFIG={plane.kubeconfig}")
            click.echo(f"export PATH={found['kubectl'].parent}:$PATH")
            click.echo(f"export PDSCALER_PROMETHEUS_URL={prometheus.url}")
            click.echo(f"# Prometheus scrapes what {sd_url} and {prometheus.file_sd} list; Ctrl-C ends it all")
            while True:
                time.sleep(1.0)
                plane.processes.check()


@cli.command()
@click.option("--cluster", default="local", show_default=True, help="local, kind, or kind-NAME.")
@click.option("--trace", type=click.Path(path_type=Path), help="Recorded requests to play instead of the phases.")
@click.option("--profile", type=click.Path(path_type=Path), help="Measured profile to play the trace on.")
@click.option("--duration", help="How much of the trace, such as 4m (the default).")
@click.option("--rate-scale", type=float, help="Multiply the rate of the trace.")
@click.option("--forecast", help="The method that looks ahead in the phases [Auto]; LastValue: nothing does.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for what it leaves [build/demo].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the load.")
def demo(*, cluster: str, out: Path | None, seed: int, **played: Any) -> None:
    """Run the main job end to end, watch it, judge it and draw it."""
    from localplane.demo import OUT, Played, run_demo

    sys.exit(run_demo(cluster, Played(**played), seed=seed, out=out or OUT))


def main() -> None:
    """Run a command; print an error of ours as one line and exit with its status."""
    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing is left running", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except PdscalerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
