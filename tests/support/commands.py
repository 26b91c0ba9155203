"""Runs ``pdscaler`` commands in the test's process, and writes samples with changes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pdscaler.cli.main import cli


def command(*args: object) -> Result:
    """Run a command line."""
    return CliRunner().invoke(cli, [*map(str, args)])


def answer(*args: object, status: int = 0) -> dict[str, Any]:
    """Run a command line that ends with a status; return its JSON document, in which every number is finite."""
    result = command(*args, "-o", "json")
    assert result.exit_code == status, result.output
    document: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda text: pytest.fail(f"{text} in JSON"))
    return document


def variant(sample: Path, folder: Path, *replacements: tuple[str, str]) -> Path:
    """Write a sample file with texts replaced, each of which it holds."""
    text = sample.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = folder / "pdd.yaml"
    path.write_text(text, encoding="utf-8")
    return path
