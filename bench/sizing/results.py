"""The answers of a run as JSON lines: written as they come, taken up again where a run was cut off."""

import json
from collections.abc import Iterable
from pathlib import Path

from bench.sizing.cases import Case
from bench.sizing.judge import Answer


def read(path: Path) -> list[Answer]:
    """Read every whole line; a line that a cut-off run left unfinished is passed over."""
    if not path.exists():
        return []
    answers = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            answers.append(Answer.of(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            continue
    return answers


def usable(answers: Iterable[Answer], cases: Iterable[Case]) -> dict[int, Answer]:
    """Return the answers, by case, that answer one of the cases exactly as it stands."""
    wanted = {case.index: case.fingerprint for case in cases}
    return {answer.case: answer for answer in answers if wanted.get(answer.case) == answer.fingerprint}


def append(path: Path, answer: Answer) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(answer.document()) + "\n")


def write(path: Path, answers: Iterable[Answer]) -> None:
    """Write all lines anew, in the order of the cases."""
    lines = [json.dumps(answer.document()) for answer in sorted(answers, key=lambda answer: answer.case)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
