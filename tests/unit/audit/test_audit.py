"""The audit tells what it knows, and what it does not know is not clean."""

import copy
import stat
from pathlib import Path
from typing import Any

import pytest
from audit.licensing import refused
from audit.lock import locked, read
from audit.sbom import AuditError, absent, licences, shipped
from audit.vulnerabilities import Finding, Verdict, look_up

from support.manifests import ROOT

ENVIRONMENT: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "metadata": {"component": {"name": "pdscaler", "bom-ref": "root-component"}},
    "components": [
        {"name": "PyYAML", "version": "6.0.3", "bom-ref": "PyYAML==6.0.3", "licenses": [{"license": {"id": "MIT"}}]},
        {"name": "pytest", "version": "9", "bom-ref": "pytest==9"},
    ],
    "dependencies": [
        {"ref": "root-component", "dependsOn": ["PyYAML==6.0.3", "pytest==9"]},
        {"ref": "PyYAML==6.0.3"},
        {"ref": "pytest==9"},
    ],
}


def test_the_bill_of_materials_holds_what_is_shipped_and_nothing_else() -> None:
    document = shipped(ENVIRONMENT, {"pyyaml": ("6.0.3",), "colorama": ("1",)}, "pdscaler")
    assert [component["name"] for component in document["components"]] == ["PyYAML"]
    assert document["dependencies"] == [
        {"ref": "root-component", "dependsOn": ["PyYAML==6.0.3"]},
        {"ref": "PyYAML==6.0.3"},
    ]
    assert absent(document, {"pyyaml": ("6.0.3",), "colorama": ("1",)}) == ["colorama"]
    assert list(licences(document["components"][0])) == ["MIT"]


def test_what_is_not_true_is_not_written() -> None:
    with pytest.raises(AuditError, match=r"pyyaml is 6\.0\.3 in the environment and 6\.0\.4 in the lock"):
        shipped(ENVIRONMENT, {"pyyaml": ("6.0.4",)}, "pdscaler")
    with pytest.raises(AuditError, match="holds nothing"):
        shipped(ENVIRONMENT, {"numpy": ("2",)}, "pdscaler")
    other = copy.deepcopy(ENVIRONMENT)
    other["metadata"]["component"]["name"] = "another"
    with pytest.raises(AuditError, match="not that of pdscaler"):
        shipped(other, {"pyyaml": ("6.0.3",)}, "pdscaler")


def test_the_locks_are_read_whole() -> None:
    for name in ("operator", "dev", "build", "audit"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        versions = [version for found in locked(text).values() for version in found]
        assert len(versions) == sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines())
    shipped_lock, dev = read(ROOT / "requirements/operator.txt"), read(ROOT / "requirements/dev.txt")
    assert set(shipped_lock.items()) <= set(dev.items()), "what is tested is not what is shipped"
    assert "pip-audit" not in dev


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        (["Apache-2.0 WITH LLVM-exception AND MIT"], ""),
        (["MIT", "GPL-2.0-only"], "GPL-2.0-only is not among"),
        (["AGPL-3.0-only"], "AGPL-3.0-only is not among"),
        (["(MIT OR GPL-2.0-only)"], "is not among"),
        (["License :: DFSG approved"], "states no licence"),
    ],
)
def test_licences(stated: list[str], problem: str) -> None:
    found = refused(stated)
    assert (problem in found) if problem else found == ""


def script(folder: Path, text: str) -> Path:
    path = folder / "pip-audit"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_database_that_cannot_be_reached_is_not_a_clean_bill(tmp_path: Path) -> None:
    nothing = """echo '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'"""
    unreachable = f"""case "$*" in *pypi*) {nothing};; *) echo 'no such host' >&2; exit 1;; esac"""
    assert look_up(script(tmp_path, unreachable), []) == "pypi knows none of the 1 packages; osv: no such host"


def test_the_second_database_answers_where_the_first_does_not(tmp_path: Path) -> None:
    vulnerable = '{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}'
    unknown = '{"name": "b", "skip_reason": "x"}'
    answer = f"""case "$*" in *osv*) echo '{{"dependencies": [{vulnerable}, {unknown}]}}'; exit 1;; esac"""
    found = look_up(script(tmp_path, answer), [Path("r.txt")])
    assert found == Verdict(1, ("b",), (Finding("a", "1", "PYSEC-1", ("2",)),))
    assert str(found.findings[0]) == "a 1: PYSEC-1 (fixed in 2)"
