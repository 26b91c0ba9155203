"""``make fuzz``: every target for its share of some minutes, with a report of what came of the cases.

    python -m fuzz --minutes 10 --seed 1 --only Prometheus

The report goes to ``build/fuzz/report.json``. The exit status is 1 where a case failed; the case stands in the report,
as small as it could be made, and the same seed finds it again.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from fuzz.everything import TARGETS
from fuzz.target import Outcomes, Target, run

ROUND = 100
"""Cases between two looks at the clock."""


def spend(target: Target, seconds: float, first: int) -> Outcomes:
    """Run rounds of a target until the time is spent or a case fails."""
    ends_s = time.monotonic() + seconds
    total = Outcomes()
    number = first
    while True:
        found = run(target, ROUND, number)
        total.ended += found.ended
        if found.failure:
            total.failure = f"seed {number}: {found.failure}"
            return total
        if time.monotonic() >= ends_s:
            return total
        number += 1


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz every parser and every way in.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together [10]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same cases [1]")
    parser.add_argument("--only", default="", help="only targets whose name holds this")
    parser.add_argument("--report", type=Path, default=Path("build/fuzz/report.json"))
    options = parser.parse_args(arguments)
    targets = [target for target in TARGETS if options.only.lower() in target.name.lower()]
    if not targets or not options.minutes > 0:
        parser.error("no such target, or no time")
    # What a world of fakes logs while it is treated badly is not the report.
    logging.disable(logging.CRITICAL)
    width = max(len(target.name) for target in targets)
    rows = []
    begun_s = time.monotonic()
    for place, target in enumerate(targets):
        # What a target left over, its last round apart, the others share.
        left_s = options.minutes * 60 - (time.monotonic() - begun_s)
        started_s = time.monotonic()
        outcomes = spend(target, left_s / (len(targets) - place), options.seed * 1_000_000)
        seconds = time.monotonic() - started_s
        ended = ", ".join(f"{count} {name}" for name, count in outcomes.ended.most_common())
        print(f"{target.name:<{width}}  {outcomes.cases:>8} cases  {seconds:6.1f} s  {ended}", flush=True)
        if outcomes.failure:
            print(f"  FAILED: {outcomes.failure}", flush=True)
        rows.append(
            {
                "target": target.name,
                "cases": outcomes.cases,
                "seconds": round(seconds, 1),
                "ended": dict(outcomes.ended),
                "failure": outcomes.failure or None,
            }
        )
    failed = [row["target"] for row in rows if row["failure"]]
    report = {"minutes": options.minutes, "seed": options.seed, "ok": not failed, "targets": rows}
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    total = sum(int(row["cases"]) for row in rows)  # type: ignore[call-overload]
    print(f"{total} cases, {len(failed)} targets failed; report: {options.report}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
