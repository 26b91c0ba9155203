"""``pdscaler run``: what cannot work is one line and exit status 2."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pdscaler.controller
from pdscaler.cli.main import cli

MODULES = [info.name for info in pkgutil.walk_packages(pdscaler.controller.__path__, "pdscaler.controller.")]


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["run", *arguments], env={"KUBECONFIG": "/nonexistent/kubeconfig", **environ})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("evaluationPeriod: soon", 'evaluationPeriod: "soon" is not a duration'),
        ("evaluationPeriodd: 15s", "evaluationPeriodd"),
        ("leaderElection: true", "leaseNamespace"),
        ("renewDeadline: 14s", "renewDeadline"),
        ("- a list", "expected one mapping"),
        ("a: b: c", "operator.yaml"),
        ("prometheus: {endpoints: {default: {url: 'ftp://x'}}}", "prometheus.endpoints.default.url"),
        ("kubeconfig: /nonexistent/kubeconfig", "kubeconfig"),
        ("presets: /nonexistent", "/nonexistent"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(text, encoding="utf-8")
    result = run("--config", str(path))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "/nonexistent.yaml"], "/nonexistent.yaml"),
        (["--evaluation-period", "soon"], "--evaluation-period"),
        (["--metrics-address", "8080"], "--metrics-address"),
        (["--log-format", "xml"], "--log-format"),
        (["--prometheus-url", "nowhere"], "--prometheus-url"),
        (["--kubeconfig", "/nonexistent/kubeconfig"], "kubeconfig"),
        (["--leader-election"], "leaseNamespace"),
        (["--retry-period", "5s"], "--retry-period"),
    ],
)
def test_a_flag_that_cannot_be_used(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_variable_that_cannot_be_used() -> None:
    result = run(PDSCALER_EVALUATION_PERIOD="soon")
    assert result.exit_code == 2
    assert "PDSCALER_EVALUATION_PERIOD" in result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_controller_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
