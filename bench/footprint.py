"""What the core costs to import: memory and time, each in a fresh interpreter. Imports the standard library only."""

import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench.figure import Figure

_PROBE = """
import pathlib, time
def resident_kib():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
before, begin = resident_kib(), time.perf_counter()
import {module}
print((resident_kib() - before) / 1024, 1000 * (time.perf_counter() - begin))
"""


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure the import of the plan and all it needs, beside that of numpy alone."""
    memory_mib, time_ms = _import("pdscaler.core.plan", quick)
    numpy_mib, numpy_ms = _import("numpy", quick)
    yield Figure("core_import_memory", memory_mib, "MiB", 20.0, numpy_mib)
    yield Figure("core_import_time", time_ms, "ms", 200.0, numpy_ms)


def _import(module: str, quick: bool) -> tuple[float, float]:
    """Return the medians of memory (MiB) and time (ms) that an import takes."""
    runs = []
    for _ in range(2 if quick else 9):
        probe = [sys.executable, "-c", _PROBE.format(module=module)]
        output = subprocess.run(probe, check=True, capture_output=True, text=True).stdout
        runs.append(tuple(float(word) for word in output.split()))
    memory_mib, time_ms = (statistics.median(run[index] for run in runs) for index in (0, 1))
    return memory_mib, time_ms
