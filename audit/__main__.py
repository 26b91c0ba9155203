"""``make audit``: known vulnerabilities, the bill of materials and the licences of what is shipped.

Writes ``build/audit/sbom.cdx.json`` (CycloneDX, validated against its schema) and ``build/audit/report.json``. The exit
status is 1 where a vulnerability is known, a licence is not allowed or, with ``--strict``, a package was not audited.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from audit.licensing import refused
from audit.lock import read
from audit.sbom import AuditError, Document, absent, licences, shipped
from audit.vulnerabilities import Verdict, look_up

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "audit"
_VALIDATE = (
    "import sys; from cyclonedx.schema import SchemaVersion; from cyclonedx.validation.json import JsonStrictValidator;"
    "error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read());"
    "sys.exit(str(error) if error else 0)"
)


def bill_of_materials(tools: Path) -> Document:
    """Return the CycloneDX document of what is shipped, as this environment has it installed."""
    how = ("--mc-type", "application", "--output-reproducible", "--spec-version", "1.6", "--of", "JSON")
    described = _run(
        [tools / "cyclonedx-py", "environment", sys.executable, "--pyproject", ROOT / "pyproject.toml", *how]
    )
    document = shipped(json.loads(described), read(ROOT / "requirements" / "operator.txt"), "pdscaler")
    _run([tools / "python", "-c", _VALIDATE], json.dumps(document))
    return document


def _run(command: list[str | Path], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise AuditError(f"{Path(command[0]).name}: {(done.stderr.strip().splitlines() or ['failed'])[-1][:300]}")
    return done.stdout


def _vulnerabilities(found: Verdict | str) -> tuple[bool, bool]:
    """Print what is known; return whether all is well, and whether all was audited."""
    if isinstance(found, str):
        print(f"vulnerabilities  NOT AUDITED: no database can be reached from here ({found})")
        return True, False
    print(f"vulnerabilities  {len(found.findings)} known in {found.audited} packages")
    for finding in found.findings:
        print(f"  {finding}")
    if found.skipped:
        print(f"  NOT AUDITED, unknown to the database: {', '.join(found.skipped)}")
    return not found.findings, not found.skipped


def main(arguments: list[str] | None = None) -> int:
    """Audit, print and write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tools", type=Path, required=True, help="folder of pip-audit and cyclonedx-py")
    parser.add_argument("--strict", action="store_true", help="what was not audited is a failure, too")
    options = parser.parse_args(arguments)
    locks = [ROOT / "requirements" / name for name in ("operator.txt", "build.txt", "dev.txt")]
    try:
        document = bill_of_materials(options.tools)
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "sbom.cdx.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    stated = {component["name"]: sorted(set(licences(component))) for component in document["components"]}
    counts = Counter(licence for found in stated.values() for licence in found)
    problems = {name: problem for name, found in stated.items() if (problem := refused(found))}
    elsewhere = absent(document, read(locks[0]))
    print(f"shipped          {len(stated)} packages (build/audit/sbom.cdx.json, CycloneDX {document['specVersion']})")
    if elsewhere:
        print(f"  of other platforms, and not here: {', '.join(elsewhere)}")
    print(f"licences         {', '.join(f'{count} {name}' for name, count in counts.most_common())}")
    for name, problem in problems.items():
        print(f"  {name} {problem}")
    verdict = look_up(options.tools / "pip-audit", locks)
    well, whole = _vulnerabilities(verdict)
    report = {
        "packages": stated,
        "licence_problems": problems,
        "audited": 0 if isinstance(verdict, str) else verdict.audited,
        "not_audited": verdict if isinstance(verdict, str) else list(verdict.skipped),
        "vulnerabilities": [] if isinstance(verdict, str) else [str(finding) for finding in verdict.findings],
    }
    (OUT / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if well and not problems and (whole or not options.strict) else 1


if __name__ == "__main__":
    sys.exit(main())
