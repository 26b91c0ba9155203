"""Who dominates whom, the bound that nobody may beat, the tables and the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
from bench.policy import plot, report
from bench.policy.cases import Case, synthetic
from bench.policy.compare import Compared, below_bound, better_than_ours, dominates, dominators, front, mean_ratio
from bench.policy.runs import DEFAULT, TUNED, Reference, Run, document, of

from pdscaler.simulator.policies import POLICIES

REFERENCE = Reference("a case", "print", "code", 10.0, 0.995, True, 6.0, (3, 2), (5, 4))


def run(policy: str, joint: float, gpu_hours: float, variant: str = DEFAULT, option: float | None = None) -> Run:
    figures = (joint, 1.0, joint, gpu_hours, gpu_hours + 0.5, 7, 12, 900, 0.3)
    return Run("a case", "print", "code", policy, variant, option, *figures)


OURS = run("pdscaler", 0.995, 11.0)
HPA, CHEAP, EQUAL = run("hpa", 0.97, 14.0), run("dopd", 0.6, 4.0), run("chiron", 0.995, 11.0)
BETTER = run("wva", 0.999, 10.5, TUNED, 0.4)


def compared(*runs: Run, reference: Reference = REFERENCE) -> Compared:
    return Compared(reference, runs)


def test_domination_is_as_good_in_both_and_better_in_one() -> None:
    assert dominates(OURS, HPA)
    assert not dominates(HPA, OURS)
    assert not dominates(OURS, EQUAL)
    assert not dominates(OURS, CHEAP)
    assert not dominates(CHEAP, OURS)
    assert dominates(replace(OURS, gpu_hours=10.9), OURS)
    assert dominates(replace(OURS, joint=0.996), OURS)


def test_the_front_is_what_nobody_dominates() -> None:
    runs = [OURS, HPA, CHEAP]
    assert front(runs) == [CHEAP, OURS]
    assert front([*runs, BETTER]) == [CHEAP, BETTER]
    assert dominators(HPA, [*runs, BETTER]) == [BETTER, OURS]


def test_what_beats_ours_is_named() -> None:
    worse, better = compared(OURS, HPA, CHEAP), compared(OURS, HPA, BETTER)
    assert better_than_ours([worse]) == []
    assert better_than_ours([worse, better]) == [(better, BETTER)]


def test_a_run_below_the_bound_is_found_where_it_reaches_the_goal() -> None:
    assert below_bound([compared(OURS, CHEAP)]) == []  # cheap, but below the goal
    impossible = run("hpa", 0.99, 5.99)
    found = compared(OURS, impossible)
    assert below_bound([found]) == [(found, impossible)]
    assert below_bound([compared(run("hpa", 0.99, 6.0))]) == []


def test_ratios_are_averaged_geometrically() -> None:
    other = compared(run("pdscaler", 1.0, 44.0), reference=replace(REFERENCE, oracle_gpu_hours=20.0))
    assert mean_ratio([compared(OURS), other], "pdscaler", DEFAULT) == pytest.approx((1.1 * 2.2) ** 0.5)


@pytest.mark.parametrize("found", [OURS, BETTER, REFERENCE])
def test_results_survive_being_written(found: Run | Reference) -> None:
    assert of(document(found)) == found


def case(name: str = "step") -> Case:
    return Case(synthetic(names=[name])[0])


def test_the_document_holds_the_table_and_the_verdict(tmp_path: Path) -> None:
    slow = replace(case(), startup_s=600.0)
    results = {
        case(): compared(OURS, HPA, CHEAP, BETTER),
        slow: compared(run("pdscaler", 0.98, 12.0), run("hpa", 0.5, 20.0)),
    }
    text = report.markdown(results, [("What it shows", "images/picture.png")])
    assert "2 cases, 6 runs." in text
    assert "in 1 of 2 cases" in text
    assert "wva (tuned) 99.90 % with 10.50 GPU-hours" in text
    assert "pdscaler attains less than 99% in: step ×1, start-up 600s (98.0 %)." in text
    assert "| **pdscaler** | 99.50 % | 11.00 | 1.10 | 7 | – | – | – | – | wva (tuned) |" in text
    assert "| hpa | 97.0 % | 14.00 | 1.40 | 7 | – | – | – | – | wva (tuned) |" in text
    assert "| **pdscaler** | 99.50 % at 1.10 | 98.0 % at 1.20 |" in text
    assert "![What it shows](images/picture.png)" in text
    for name, entry in POLICIES.items():
        assert f"| {name} | {entry.source} |" in text
    peak = report.markdown({case(): compared(OURS, run("static", 1.0, 11.0))}, [])
    assert "**No policy, tuned or not, attains as much" in peak
    assert "The static peak, which is given what the busiest minutes need, does:\n\n- step ×1" in peak
    best = report.markdown({case(): compared(OURS, HPA, CHEAP)}, [])
    assert "static peak, which" not in best
    assert "**No policy, tuned or not, attains as much as pdscaler with as few GPU-hours, in any case.**" in best
    assert "pdscaler attains at least 99% in every case." in best
    path = tmp_path / "document.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(path, text)
    assert path.read_text() == f"before\n{report.BEGIN}\n\n{text}\n\n{report.END}\nafter\n"


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    results = {case(name): compared(OURS, HPA, CHEAP, BETTER) for name in ("step", "constant", "on-off", "diurnal")}
    path = tmp_path / "images" / "picture.png"
    plot.draw(results, path, columns=3)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert len(plot.COLOURS) >= len(POLICIES)
    assert len(plot.MARKERS) >= len(POLICIES)
