"""``pdscaler crd``: print the CustomResourceDefinition, or write the repository's copies. May import click and api."""

from pathlib import Path

import click

from pdscaler.api.crd import CRD_NAME, crd_yaml
from pdscaler.errors import InvalidInputError

COPIES = (Path("crds") / f"{CRD_NAME}.yaml", Path("charts/pdscaler/files") / f"{CRD_NAME}.yaml")
"""Where the repository keeps the generated file: for kubectl and kustomize, and for the chart."""


@click.command()
@click.option("--write", is_flag=True, help="Write the files of the repository (run in its root) instead of printing.")
def crd(*, write: bool) -> None:
    """Print the CustomResourceDefinition that the models generate."""
    text = crd_yaml()
    if not write:
        click.echo(text, nl=False)
        return
    for path in COPIES:
        if not path.parent.is_dir():
            raise InvalidInputError(
                "--write", f"there is no folder {path.parent} here (run it in the repository's root)"
            )
    for path in COPIES:
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
