"""``python -m localplane``: its commands. Imports click; each command imports what it needs."""

import sys
from pathlib import Path

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


def main() -> None:
    """Run a command; print an error of ours as one line and exit with its status."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except PdscalerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)


__all__ = ["Path", "main"]
