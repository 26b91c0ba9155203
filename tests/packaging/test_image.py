"""The image's steps, run outside Docker: the same script on the same files, and what the Dockerfile promises."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.manifests import ROOT, VERSION

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def copied_sources() -> list[str]:
    """Return what the build stage copies from the repository."""
    build = DOCKERFILE.split("\nFROM ")[1]
    lines = re.findall(r"^COPY (.+)$", build, flags=re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment made by the script from nothing but what the Dockerfile copies."""
    context = tmp_path_factory.mktemp("context")
    for source in copied_sources():
        there = context / source
        there.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / source, there)
    target = tmp_path_factory.mktemp("image") / "pdscaler"
    script = context / "deploy/image/install.sh"
    environment = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "HOME": str(context), **_package_index()}
    done = subprocess.run([script, context, target], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"pdscaler, version {VERSION}" in done.stdout
    return target


def _package_index() -> dict[str, str]:
    """Keep what tells pip where its index and its cache are on this machine."""
    import os

    kept = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


def run(installed: Path, *arguments: str | Path) -> str:
    # An empty environment and a foreign folder: nothing of the repository can help.
    done = subprocess.run(
        [installed / "bin/pdscaler", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_the_script_installs_plans_and_prints_the_crd(installed: Path) -> None:
    sample = ROOT / "deploy/samples/deepseek-v31.yaml"
    answer = run(
        installed,
        *("plan", "-f", sample, "--arrival-rate", "12.52", "--input-tokens", "6144", "--output-tokens", "512"),
        *("-o", "json"),
    )
    assert '"feasible": true' in answer
    assert run(installed, "crd") == (ROOT / "crds/pddeployments.pdscaler.io.yaml").read_text()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_operator_starts_from_it_and_says_what_is_missing(installed: Path) -> None:
    done = subprocess.run(
        [installed / "bin/pdscaler", "run", "--config", "/nonexistent.yaml"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "/nonexistent.yaml" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_environment_holds_no_installer_and_no_tests(installed: Path) -> None:
    assert not list(installed.glob("bin/pip*"))
    (packages,) = installed.glob("lib/python*/site-packages")
    assert not list(packages.glob("pip")) + list(packages.glob("setuptools")) + list(packages.glob("hatchling"))
    assert not (packages / "operator").exists()
    assert (packages / "pdscaler/py.typed").exists()
    assert (installed / "bin/kubectl-pd").exists()


def test_the_dockerfile_is_thin_and_not_root() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    steps = re.findall(r"^RUN (.+)$", DOCKERFILE, flags=re.MULTILINE)
    assert steps == ["deploy/image/install.sh /src /opt/pdscaler"]
    user = re.search(r"^USER (\d+):(\d+)$", stages[-1], flags=re.MULTILINE)
    assert user is not None
    assert user.group(1) != "0"
    for manifest in ("deploy/base/deployment.yaml", "charts/pdscaler/templates/deployment.yaml"):
        assert f"runAsUser: {user.group(1)}\n" in (ROOT / manifest).read_text()


def test_everything_the_dockerfile_copies_reaches_the_build() -> None:
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(copied_sources()) == allowed
    assert all((ROOT / source).exists() for source in allowed)
