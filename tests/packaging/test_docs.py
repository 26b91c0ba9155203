"""What the documents tell a user to type exists."""

import re
import tomllib
from pathlib import Path

import pytest

from pdscaler.cli.main import LAZY
from support.manifests import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
_PATH = re.compile(r"(?<![\w/.-])((?:deploy|charts|crds|docs|tests|operator|requirements|bench)/[\w./-]*\w)")


def shell(text: str) -> str:
    """Return the shell blocks of a document, and its code spans."""
    return "\n".join([*re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_targets_and_paths_exist(document: Path) -> None:
    text = document.read_text()
    code = shell(text)
    for command in re.findall(r"(?:^|[\n(;|&`]\s*)(?:pdscaler|kubectl pd) ([a-z]+)\b", code):
        assert command in LAZY, f"pdscaler {command}"
    for target in re.findall(r"\bmake ([a-z]+)\b", code):
        assert target in _TARGETS, f"make {target}"
    for path in _PATH.findall(code):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in link:
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_a_document_names_exist(document: Path) -> None:
    for file, name in re.findall(r"(tests/[\w./-]+\.py)::(\w+)", document.read_text()):
        tests = re.findall(r"^\s*(?:async )?def (test_\w+)\(", (ROOT / file).read_text(), flags=re.MULTILINE)
        assert name in tests, f"{file}::{name}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in listed} - {"pdscaler"}
    text = (ROOT / "docs/dependencies.md").read_text()
    table = set(re.findall(r"^\| `([A-Za-z0-9-]+)`", text, flags=re.MULTILINE))
    assert names == table


def test_every_runtime_dependency_is_imported_where_its_line_says() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    modules = {"pyyaml": "yaml", "matplotlib": "matplotlib"}
    for name, parts in re.findall(r"^\| `([A-Za-z0-9-]+)` \| [^|]+ \| ([^|]+) \|", text, flags=re.MULTILINE):
        folders = re.findall(r"`([\w./]+)`", parts)
        module = modules.get(name, name.replace("-", "_"))
        imports = re.compile(rf"^\s*(?:import|from) {module}\b", flags=re.MULTILINE)
        for folder in folders:
            files = [ROOT / folder] if (ROOT / folder).is_file() else list((ROOT / folder).rglob("*.py"))
            assert any(imports.search(file.read_text()) for file in files), f"{name} in {folder}"
