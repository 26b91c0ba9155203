"""`python -m bench` writes one object for each figure, in the shape of DESIGN section 5."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.long
def test_every_figure_has_its_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    figures = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.json")}
    assert {"plan_call_median", "plan_call_p99", "core_import_memory", "plan_command_time"} <= set(figures)
    for name, figure in figures.items():
        assert set(figure) == {"name", "value", "unit", "goal", "peer", "ratio"}
        assert figure["name"] == name
        assert figure["value"] > 0
        assert (figure["peer"] is None) == (figure["ratio"] is None)
        assert name in done.stdout


def test_an_unknown_group_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "nonsense", "--output", str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no group 'nonsense'" in done.stderr
