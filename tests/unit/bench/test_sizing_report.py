"""What the answers are summed up to, how they are kept, and what the document says."""

import re
from pathlib import Path

import pytest
from bench.sizing import plot, report, results
from bench.sizing.cases import cases
from bench.sizing.engines import ENGINES
from bench.sizing.judge import Answer, Judged
from bench.sizing.planners import ANALYTIC, PLANNERS, VERIFIED

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "sizing-benchmark.md"


def judged(prefill: int, decode: int, ttft: float, tpot: float, ms: float = 1.0) -> Judged:
    return Judged(prefill, decode, 2 * prefill + decode, ttft, tpot, ttft <= 1.02, tpot <= 1.02, ms, "")


REFUSED = Judged(None, None, None, None, None, False, False, 3.0, "refuses")


def answer(case: int, ours: Judged, others: Judged) -> Answer:
    """The smallest pair is 3P4D, 10 GPUs."""
    planners = {planner.name: ours if planner is VERIFIED else others for planner in PLANNERS}
    return Answer(
        case, 1, f"print{case}", "engine", "a | question", ("Mean", "P95"), (2, 1), 3, 4, 10, 0.9, 0.95, (0.01, 0.01),
        False, 1000, 0.5, planners,
    )  # fmt: skip


ANSWERS = [
    answer(0, judged(3, 4, 0.9, 0.95), judged(1, 4, 40.0, 0.9)),
    answer(1, judged(3, 5, 0.9, 0.7), REFUSED),
    answer(2, judged(3, 3, 0.9, 1.015), judged(5, 9, 0.5, 0.5)),
]


def test_figures_of_one_planner() -> None:
    ours = report.figures(ANSWERS, VERIFIED)
    assert (ours.met, ours.refused) == (1.0, 0)
    assert ours.least == pytest.approx(1 / 3)
    assert ours.above_mean == pytest.approx((0 + 0.1 + 0) / 3)
    # One fewer within the tolerance is not short of anything.
    assert (ours.most_above, ours.most_below) == (1, 0)
    assert ours.worst_latency == 1.015


def test_a_refusal_and_a_miss_count_as_not_met() -> None:
    others = report.figures(ANSWERS, ANALYTIC)
    assert others.met == pytest.approx(1 / 3)
    assert others.met_ttft == pytest.approx(1 / 3)
    assert others.met_tpot == pytest.approx(2 / 3)
    assert (others.refused, others.most_above, others.most_below) == (1, 5, 2)
    assert others.above_mean == pytest.approx(0.9)
    assert others.worst_latency == 40.0


def test_what_is_written_names_every_planner_and_every_deviation(tmp_path: Path) -> None:
    text = report.markdown(ANSWERS, 1, "images/picture.png")
    for planner in PLANNERS:
        assert f"| {planner.title} |" in text
    assert "not exactly the smallest pair: 2" in text
    document = tmp_path / "document.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(document, text)
    written = document.read_text()
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    report.write(document, "anew")
    assert written.count(report.BEGIN) == document.read_text().count(report.BEGIN) == 1
    document.write_text("without markers")
    with pytest.raises(ValueError, match="lacks the markers"):
        report.write(document, text)


def test_all_but_one_is_not_all() -> None:
    many = [answer(index, judged(3, 4, 0.9, 0.95), judged(3, 4, 0.9, 0.95)) for index in range(299)]
    text = report.markdown([*many, answer(299, judged(1, 4, 9.0, 0.9), REFUSED)], 1, "image.png")
    row = next(line for line in text.splitlines() if line.startswith(f"| {VERIFIED.title} |"))
    assert "99.67 %" in row
    assert "100 %" not in row.split("|")[2]


def test_answers_are_read_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    for one in ANSWERS:
        results.append(path, one)
    with path.open("a") as file:
        file.write('{"case": 3, "seed')
    assert results.read(path) == ANSWERS
    assert results.read(tmp_path / "none.jsonl") == []


def test_only_answers_to_the_same_question_are_used_again() -> None:
    asked = cases(ENGINES, 2, 1)
    same = Answer.of({**ANSWERS[0].document(), "fingerprint": asked[0].fingerprint})
    other = Answer.of({**ANSWERS[1].document(), "fingerprint": "of another version"})
    assert results.usable([same, other], asked) == {0: same}


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "images" / "picture.png"
    plot.draw(ANSWERS, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert sum(plot._spread(ANSWERS, VERIFIED)) == pytest.approx(100)
    assert plot._spread(ANSWERS, VERIFIED)[plot.SMALLEST] == pytest.approx(100 / 3)
    assert plot._spread(ANSWERS, ANALYTIC)[0] == pytest.approx(100 / 3)


def test_the_document_says_the_command_and_shows_every_planner() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "make bench-sizing" in text
    table = text.partition(report.BEGIN)[2].partition(report.END)[0]
    for planner in PLANNERS:
        assert f"| {planner.title} |" in text.partition(report.BEGIN)[0], "its rule"
        assert f"| {planner.title} |" in table, "its figures"
    assert re.search(r"(\d+) cases, seed \d+", table)
    cases_judged = int(re.findall(r"(\d+) cases, seed", table)[0])
    assert cases_judged >= 300
    for heading in re.findall(r"^\| planner \| (.+) \|$", table, flags=re.MULTILINE)[0].split(" | "):
        assert f"**{heading}" in text or f", {heading}" in text, f"{heading} is not explained"
