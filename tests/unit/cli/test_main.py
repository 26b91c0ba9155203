"""The command line as a whole: lazy commands, one-line errors, exit statuses, the CRD, results as documents."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from pdscaler import __version__
from pdscaler.api.crd import crd_document, crd_yaml
from pdscaler.cli import main as main_module
from pdscaler.cli.main import LAZY, NOT_YET, cli, main
from pdscaler.cli.output import aligned, emit, finite
from pdscaler.errors import PdscalerError


def test_help_names_every_command_without_importing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in LAZY.items():
        assert f"  {name} " in result.stdout
        assert text.split()[0] in result.stdout


def test_no_command_is_the_help() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


@pytest.mark.parametrize("name", LAZY)
def test_every_command_exists_and_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage:")


def test_unknown_command() -> None:
    result = CliRunner().invoke(cli, ["paln"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no such command 'paln'")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", NOT_YET)
def test_a_command_of_a_later_release(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "-f", "pdd.yaml"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {name}: is not supported yet (available: run, plan,")
    assert result.stderr.count("\n") == 1


def test_a_full_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "pdscaler", "crd"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: output: No space left on device\n")


def test_version() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).stdout


class StrangeError(PdscalerError):
    exit_status = 7


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (PdscalerError("one line"), 2, "error: one line\n"),
        (StrangeError("another"), 7, "error: another\n"),
        (click.ClickException("Over\nthere."), 1, "error: over there\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int, words: str
) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: failing)
    result = CliRunner().invoke(cli, ["crd"])
    assert result.exit_code == status
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: failing)
    assert isinstance(CliRunner().invoke(cli, ["crd"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("argv0", "usage"),
    [("/usr/local/bin/kubectl-pd", "Usage: kubectl pd plan"), ("/usr/bin/pdscaler", "Usage: pdscaler plan")],
)
def test_kubectl_plugin_is_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv0: str, usage: str
) -> None:
    monkeypatch.setattr("sys.argv", [argv0, "plan", "--help"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(usage)


def test_crd_is_printed() -> None:
    result = CliRunner().invoke(cli, ["crd"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == crd_document()


def test_crd_as_json() -> None:
    result = CliRunner().invoke(cli, ["crd", "-o", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == crd_document()


def test_crd_is_written_in_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["crd", "--write"])
    assert result.exit_code == 2
    assert "run it in the repository's root" in result.stderr
    (tmp_path / "crds").mkdir()
    (tmp_path / "charts/pdscaler/files").mkdir(parents=True)
    assert CliRunner().invoke(cli, ["crd", "--write"]).exit_code == 0
    for folder in ("crds", "charts/pdscaler/files"):
        assert (tmp_path / folder / "pddeployments.pdscaler.io.yaml").read_text(encoding="utf-8") == crd_yaml()


def test_finite() -> None:
    value = {"a": float("inf"), "b": [float("nan"), 1.5], "c": ({"d": float("-inf")},), 5: "x"}
    assert finite(value) == {"a": None, "b": [None, 1.5], "c": [{"d": None}], "5": "x"}


def test_emit(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"rate": float("inf"), "name": "später"}
    emit(document, "json")
    assert json.loads(capsys.readouterr().out) == {"rate": None, "name": "später"}
    emit(document, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == {"rate": None, "name": "später"}
    emit(document, "table", lambda: "for people")
    assert capsys.readouterr().out == "for people\n"
    emit(document, "table")
    assert yaml.safe_load(capsys.readouterr().out) == {"rate": None, "name": "später"}


def test_aligned_columns_have_no_trailing_blanks() -> None:
    assert aligned([("a", "bb", ""), ("ccc", "d", "e")]) == ["  a     bb", "  ccc   d    e"]
