"""``pdscaler crd``: print the CustomResourceDefinition, or write its copies. May import click, api, cli."""

from pathlib import Path

import click

from pdscaler.api.crd import CRD_NAME, crd_document, crd_yaml
from pdscaler.cli.output import emit, output_option
from pdscaler.errors import InvalidInputError

COPIES = (Path("crds") / f"{CRD_NAME}.yaml", Path("charts/pdscaler/files") / f"{CRD_NAME}.yaml")
"""Where the repository keeps the generated file: for kubectl and kustomize, and for the chart."""


@click.command()
@click.option("--write", is_flag=True, help="Write the files of the repository (run in its root) instead of printing.")
@output_option
def crd(*, write: bool, output: str) -> None:
    """Print the CustomResourceDefinition that the models generate, as YAML or JSON."""
    text = crd_yaml()
    if not write:
        if output == "json":
            emit(crd_document(), output)
        else:
            click.echo(text, nl=False)  # with its comment: the same text as the repository's files
        return
    for path in COPIES:
        if not path.parent.is_dir():
            raise InvalidInputError(
                "--write", f"there is no folder {path.parent} here (run it in the repository's root)"
            )
    for path in COPIES:
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
