"""How long `pdscaler plan` takes from start to answer, and in what memory. Imports the standard library only."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure

SAMPLES = Path(__file__).resolve().parent.parent / "deploy" / "samples"
PLANS = (("plan_command", "paper-mm1.yaml", 100.0), ("plan_command_verified", "deepseek-v31.yaml", 300.0))
"""Name of the figure, its sample (by formula, and settled by simulation) and the goal of its memory, MiB."""

LOAD = ("--arrival-rate", "12.52", "--input-tokens", "6144", "--output-tokens", "512")


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure the command, beside an interpreter that does nothing."""
    repeats = 2 if quick else 9
    bare_s = statistics.median(_seconds([sys.executable, "-c", "pass"]) for _ in range(repeats))
    for name, sample, most_mib in PLANS:
        arguments = ["plan", "-f", str(SAMPLES / sample), *LOAD, "-o", "json"]
        plan = [sys.executable, "-m", "pdscaler", *arguments]
        _seconds(plan)  # the first run compiles the modules, and the simulation where there is one
        yield Figure(f"{name}_time", statistics.median(_seconds(plan) for _ in range(repeats)), "s", 1.0, bare_s)
        yield Figure(f"{name}_memory", _peak_mib(arguments), "MiB", most_mib)


def _seconds(command: list[str]) -> float:
    """Return how long a command takes; it must succeed, as the figure of one that did not answer would be no figure."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _peak_mib(arguments: list[str]) -> float:
    """Return the peak of the resident memory of a `pdscaler` command.

    The peak that wait4 reports would include that of this process, which the child was forked from.
    """
    probe = [sys.executable, "-c", _PROBE, *arguments]
    done = subprocess.run(probe, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return int(done.stderr.split()[-1]) / 1024


_PROBE = """
import atexit, pathlib, runpy, sys
def report():
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(report)
runpy.run_module("pdscaler", run_name="__main__", alter_sys=True)
"""
