"""What is in the wheel, and what the lock files promise."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from support.manifests import ROOT, VERSION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
_PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?)==\S+(?P<marker> ; .+)? \\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    assert file.name == f"pdscaler-{VERSION}-py3-none-any.whl"
    return zipfile.ZipFile(file)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pdscaler", f"pdscaler-{VERSION}.dist-info"}
    in_tree = {
        str(path.relative_to(ROOT / "operator"))
        for path in (ROOT / "operator/pdscaler").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("pdscaler/")} == in_tree
    assert "pdscaler/py.typed" in names
    assert {f"pdscaler/telemetry/presets/{name}.yaml" for name in ("vllm", "llmd")} <= names
    assert {f"pdscaler/simulator/report/report.{kind}" for kind in ("css", "js")} <= names
    assert not [name for name in names if "test" in name or "conftest" in name]


def test_the_wheel_names_its_commands_and_its_licence(wheel: zipfile.ZipFile) -> None:
    info = f"pdscaler-{VERSION}.dist-info"
    entries = wheel.read(f"{info}/entry_points.txt").decode()
    assert set(re.findall(r"^(\S+) = pdscaler\.cli\.main:main$", entries, flags=re.MULTILINE)) == {
        "pdscaler",
        "kubectl-pd",
    }
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_the_source_root_is_no_package() -> None:
    """``operator/__init__.py`` would shadow the standard library's module of that name."""
    assert not (ROOT / "operator/__init__.py").exists()
    import operator

    assert not Path(str(operator.__file__)).is_relative_to(ROOT)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_is_pinned_and_hashed_and_comes_from_no_named_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-e)\b", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    packages = [line for line in lines if not line.startswith(" ")]
    assert packages
    for line in packages:
        assert _PINNED.match(line), line
        assert _HASH.match(lines[lines.index(line) + 1]), line
    assert all(_PINNED.match(line) or _HASH.match(line) for line in lines)


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return {
        found[0].lower().replace("_", "-"): found[1]
        for found in re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", text, flags=re.M)
    }


def test_the_lock_files_hold_every_direct_dependency_and_agree_with_each_other() -> None:
    direct = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in PROJECT["dependencies"]}
    operator, dev = locked("operator.txt"), locked("dev.txt")
    assert direct <= set(operator)
    assert operator.items() <= dev.items()
    assert "hatchling" in locked("build.txt")
