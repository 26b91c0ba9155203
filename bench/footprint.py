"""What the core costs to import, and verifying plans in memory, each in a fresh interpreter. Standard library only."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from bench.commands import SAMPLES
from bench.figure import Figure

_PROBE = """
import pathlib, time
def resident_kib():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
before, begin = resident_kib(), time.perf_counter()
import {module}
print((resident_kib() - before) / 1024, 1000 * (time.perf_counter() - begin))
"""

_VERIFYING = """
import pathlib, sys, yaml
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.controller.verification_process import VerificationProcess
from pdscaler.core.workload import LengthStats, WorkloadStats
resource = parse_pddeployment(yaml.safe_load(pathlib.Path(sys.argv[1]).read_text()))
workload = WorkloadStats(12.52, LengthStats(6144.0), LengthStats(512.0))
process = VerificationProcess()
process(to_scaling_spec(resource).sizing, workload, None)
print(int(pathlib.Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure the import of the plan and all it needs, beside that of numpy alone."""
    memory_mib, time_ms = _import("pdscaler.core.plan", quick)
    numpy_mib, numpy_ms = _import("numpy", quick)
    yield Figure("core_import_memory", memory_mib, "MiB", 20.0, numpy_mib)
    yield Figure("core_import_time", time_ms, "ms", 200.0, numpy_ms)
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ) if quick else {**os.environ, "NUMBA_CACHE_DIR": cache}
        if not quick:
            yield Figure("verification_memory_compiling", _verifying_mib(environment), "MiB", 300.0)
        yield Figure("verification_memory", _verifying_mib(environment), "MiB", 200.0)


def _verifying_mib(environment: dict[str, str]) -> float:
    """Return the most memory of the process that verifies plans, after its first plan."""
    probe = [sys.executable, "-c", _VERIFYING, str(SAMPLES / "deepseek-v31.yaml")]
    return float(subprocess.run(probe, check=True, capture_output=True, text=True, env=environment).stdout)


def _import(module: str, quick: bool) -> tuple[float, float]:
    """Return the medians of memory (MiB) and time (ms) that an import takes."""
    runs = []
    for _ in range(2 if quick else 9):
        probe = [sys.executable, "-c", _PROBE.format(module=module)]
        output = subprocess.run(probe, check=True, capture_output=True, text=True).stdout
        runs.append(tuple(float(word) for word in output.split()))
    memory_mib, time_ms = (statistics.median(run[index] for run in runs) for index in (0, 1))
    return memory_mib, time_ms
