"""``plan --plot``: files, errors, and that nothing in a picture overlaps or leaves it."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdscaler.cli.main import cli
from pdscaler.cli.planplot import draw_picture, draw_plan
from pdscaler.cli.plotdata import plan_picture
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Ratio, SizingModel, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from support.core_cases import paper_spec, paper_workload, points_spec

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "deploy/samples/paper-mm1.yaml"
LOAD = ("--arrival-rate", "12.52", "--input-tokens", "6144", "--output-tokens", "512")
POINTS = replace(points_spec(), model=SizingModel.PAPER_MM1)


def bounded(prefill: int, decode: int, gpus: int = 1) -> PerPool[PoolLimits]:
    return PerPool(PoolLimits(max_replicas=prefill, gpus_per_replica=gpus), PoolLimits(max_replicas=decode))


def load(rate: float, input_tokens: float, output_tokens: float, scv: float = 0.0) -> WorkloadStats:
    return WorkloadStats(rate, LengthStats(input_tokens, scv), LengthStats(output_tokens, scv), 1 + scv, scv / 2)


CASES: dict[str, tuple[SizingSpec, WorkloadStats]] = {
    "paper": (
        replace(paper_spec(), model=SizingModel.PAPER_MM1, constraints=Constraints(128, Ratio(1, 4), Ratio(2, 1))),
        paper_workload(),
    ),
    "budget binds": (
        replace(paper_spec(statistic=Statistic.P95), model=SizingModel.PAPER_MM1, constraints=Constraints(56)),
        paper_workload(),
    ),
    "everything about the load": (POINTS, load(60, 3000, 150, 0.5)),
    "1P1D": (POINTS, load(1, 1000, 50)),
    "300P300D": (replace(POINTS, limits=bounded(1000, 1000)), load(5000, 2300, 350)),
    "narrow": (
        replace(POINTS, limits=bounded(2, 60, 4), constraints=Constraints(50, Ratio(1, 40), Ratio(1, 8))),
        load(12, 500, 3000),
    ),
    "infeasible": (replace(POINTS, slo=Slo(LatencyTarget(0.03), LatencyTarget(0.003))), load(60, 3000, 150)),
    "overloaded": (replace(POINTS, limits=bounded(3, 3)), load(300, 3000, 150)),
    "idle": (POINTS, load(0, 3000, 150)),
    "nothing known": (POINTS, WorkloadStats(0.0, None, None)),
    "one objective": (replace(POINTS, slo=Slo(LatencyTarget(0.3, Statistic.P99), None)), load(60, 3000, 150)),
}


@lru_cache
def drawn(name: str) -> Any:
    spec, workload = CASES[name]
    figure: Any = Figure(figsize=(12, 6.6))
    FigureCanvasAgg(figure)
    draw_picture(figure, plan_picture(spec, workload, size(spec, workload)))
    figure.canvas.draw()
    return figure


def texts(figure: Any) -> Iterator[Any]:
    """Every text that is drawn (matplotlib keeps labels of ticks beyond the axis, and does not draw them)."""
    yield from figure.texts
    for axes in figure.axes:
        yield from axes.texts
        if axes.get_legend() is not None:
            yield from axes.get_legend().get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


@pytest.mark.parametrize("name", CASES)
def test_no_text_leaves_the_picture_or_lies_on_another(name: str) -> None:
    figure = drawn(name)
    renderer = figure.canvas.get_renderer()
    shown = [text for text in texts(figure) if text.get_visible() and text.get_text().strip()]
    places = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    assert len(places) > 15
    width, height = figure.canvas.get_width_height()
    for text, box in places:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (one, first), (other, second) in combinations(places, 2):
        overlap_x = min(first.x1, second.x1) - max(first.x0, second.x0)
        overlap_y = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert not (overlap_x > 1 and overlap_y > 1), (one, other)


@pytest.mark.parametrize("name", CASES)
def test_axes_say_what_they_show(name: str) -> None:
    ttft, tpot, pairs = drawn(name).axes
    assert ttft.get_ylabel().startswith("TTFT ")
    assert tpot.get_ylabel().startswith("TPOT ")
    assert tpot.get_xlabel() == "load, requests/s"
    assert (pairs.get_xlabel(), pairs.get_ylabel()) == ("prefill replicas", "decode replicas")


def test_a_target_and_both_counts_are_in_the_legend() -> None:
    figure = drawn("paper")
    words = {text.get_text() for axis in figure.axes for text in axis.get_legend().get_texts()}
    assert {"4 prefill replicas", "3 prefill replicas", "target 2s", "target 20ms", "plan: 4P4D"} <= words
    assert {"both met", "TTFT missed", "TPOT missed", "both missed", "not allowed"} <= words
    assert "budget, 128 GPUs" not in words, "its line is out of sight"
    bound = drawn("budget binds").axes[2].get_legend().get_texts()
    assert "budget, 56 GPUs" in {text.get_text() for text in bound}


def test_colours_differ_in_lightness_too() -> None:
    from pdscaler.cli.planplot import _REGIONS

    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    shades = sorted(map(lightness, _REGIONS.values()))
    assert shades[0] < 0.55 < shades[1], "both missed is the darkest"
    assert shades[-1] > 0.9 > 0.8 > shades[-2], "both met is the lightest"


@pytest.mark.parametrize("suffix", [".PNG", ".svg"])
def test_a_file_is_written_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    spec, workload = CASES["paper"]
    result = size(spec, workload)
    files = [tmp_path / f"{number}{suffix}" for number in (1, 2)]
    for path in files:
        draw_plan(path, spec, workload, result)
    first, second = (path.read_bytes() for path in files)
    assert first == second
    if suffix == ".svg":
        assert ET.fromstring(first).tag.endswith("svg")
    else:
        assert first.startswith(b"\x89PNG")
    assert len(first) > 20_000


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["plan", "-f", str(SAMPLE), *LOAD, *map(str, args)])


def test_the_command_draws_and_prints_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    result = run("--plot", path)
    assert result.exit_code == 0, result.output
    assert result.stdout == run().stdout
    assert path.stat().st_size > 20_000


def test_an_infeasible_plan_is_drawn_too(tmp_path: Path) -> None:
    file = tmp_path / "pdd.yaml"
    file.write_text(SAMPLE.read_text(encoding="utf-8").replace("target: 20ms", "target: 5ms"), encoding="utf-8")
    path = tmp_path / "plan.png"
    result = CliRunner().invoke(cli, ["plan", "-f", str(file), *LOAD, "--plot", str(path)])
    assert result.exit_code == 3
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plan.pdf", "--plot: plan.pdf must end in .png or .svg"),
        ("plan", "--plot: plan must end in .png or .svg"),
        ("nowhere/plan.png", "there is no such folder"),
    ],
)
def test_a_file_that_cannot_be_is_one_line(tmp_path: Path, name: str, words: str) -> None:
    result = run("--plot", tmp_path / name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.png"
    path.mkdir()
    spec, workload = CASES["paper"]
    with pytest.raises(InvalidInputError) as caught:
        draw_plan(path, spec, workload, size(spec, workload))
    assert caught.value.field == "--plot"
    assert "cannot be written: is a directory" in caught.value.problem


def test_without_matplotlib_one_line_names_the_extra(tmp_path: Path) -> None:
    hide = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'matplotlib': raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from pdscaler.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "plan", "-f", str(SAMPLE), *LOAD, "--plot", str(tmp_path / "plan.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: --plot: needs matplotlib, the extra plot: pip install 'pdscaler[plot]'\n"
    assert done.stdout == ""
