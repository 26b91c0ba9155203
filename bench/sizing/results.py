"""The answers of a run as JSON lines: written as they come, taken up again where a run was cut off."""

from collections.abc import Iterable
from pathlib import Path

from bench import lines
from bench.sizing.cases import Case
from bench.sizing.judge import Answer


def read(path: Path) -> list[Answer]:
    """Read every whole answer."""
    answers = []
    for line in lines.read(path):
        try:
            answers.append(Answer.of(line))
        except (ValueError, TypeError, KeyError):
            continue
    return answers


def usable(answers: Iterable[Answer], cases: Iterable[Case]) -> dict[int, Answer]:
    """Return the answers, by case, that answer one of the cases exactly as it stands."""
    wanted = {case.index: case.fingerprint for case in cases}
    return {answer.case: answer for answer in answers if wanted.get(answer.case) == answer.fingerprint}


def append(path: Path, answer: Answer) -> None:
    """Add one line."""
    lines.append(path, answer.document())


def write(path: Path, answers: Iterable[Answer]) -> None:
    """Write all lines anew, in the order of the cases."""
    lines.write(path, (answer.document() for answer in sorted(answers, key=lambda answer: answer.case)))
