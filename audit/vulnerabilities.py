"""Known vulnerabilities, by pip-audit. What cannot be looked up is said to be not audited, never to be clean."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
"""Databases that pip-audit can ask, the preferred one first."""

_LIMIT_S = 300.0


@dataclass(frozen=True)
class Finding:
    """One known vulnerability of one package."""

    package: str
    version: str
    id: str
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no release mends it"
        return f"{self.package} {self.version}: {self.id} ({fixed})"


@dataclass(frozen=True)
class Verdict:
    """What a database said.

    Parameters
    ----------
    audited
        How many packages it knew.
    skipped
        Packages that it did not know: nothing is known of them.
    findings
        Known vulnerabilities.
    """

    audited: int
    skipped: tuple[str, ...]
    findings: tuple[Finding, ...]


def judge(report: Any) -> Verdict:
    """Read pip-audit's JSON report.

    Examples
    --------
    >>> judge({"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "unknown"}]})
    Verdict(audited=1, skipped=('b',), findings=())
    """
    known = [entry for entry in report["dependencies"] if "skip_reason" not in entry]
    findings = (
        Finding(entry["name"], entry["version"], found["id"], tuple(found.get("fix_versions", ())))
        for entry in known
        for found in entry["vulns"]
    )
    skipped = tuple(sorted(entry["name"] for entry in report["dependencies"] if "skip_reason" in entry))
    return Verdict(len(known), skipped, tuple(findings))


def look_up(pip_audit: Path, requirements: Sequence[Path]) -> Verdict | str:
    """Ask the databases, one after the other, until one answers.

    Returns
    -------
    Verdict | str
        What it said, or in one line why none did.
    """
    reasons = []
    for service in SERVICES:
        command = [
            str(pip_audit),
            "--disable-pip",
            "--no-deps",
            "--progress-spinner",
            "off",
            "-f",
            "json",
            "-s",
            service,
        ]
        for path in requirements:
            command += ["-r", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            reasons.append(f"{service} gave no answer in {_LIMIT_S:g} s")
            continue
        try:
            verdict = judge(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError):
            said = (done.stderr.strip().splitlines() or ["no report"])[-1]
            reasons.append(f"{service}: {said[:100]}")
            continue
        if verdict.audited:
            return verdict
        reasons.append(f"{service} knows none of the {len(verdict.skipped)} packages")
    return "; ".join(reasons)
