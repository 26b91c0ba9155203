"""Measure speed and memory: one JSON file for each figure, and one table. `python -m bench [--quick] [GROUP ...]`."""

import argparse
from pathlib import Path

from bench import commands, following, footprint, planning, simulating
from bench.figure import Figure, show
from rich.console import Console

GROUPS = {
    "planning": planning.figures,
    "following": following.figures,
    "simulating": simulating.figures,
    "footprint": footprint.figures,
    "commands": commands.figures,
}


def main() -> None:
    """Run the groups asked for (all, where none is named)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed and memory of pdscaler.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all where none is named")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder of the JSON files")
    parser.add_argument("--quick", action="store_true", help="few samples: only to see that the figures come")
    options = parser.parse_args()
    for group in options.groups:
        if group not in GROUPS:
            parser.error(f"no group {group!r}: choose of {', '.join(GROUPS)}")
    options.output.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    for name, measure in GROUPS.items():
        if not options.groups or name in options.groups:
            for figure in measure(options.quick):
                figure.write(options.output)
                figures.append(figure)
    console = Console()
    console.width = max(console.width, 100)
    show(figures, console)
    console.print(f"written to {options.output}/")


if __name__ == "__main__":
    main()
