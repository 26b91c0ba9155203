"""The page that shows what every failure does names tests that exist, some of them on real parts in every row."""

import ast
import re
from functools import cache

import pytest

from support.manifests import ROOT

PAGE = ROOT / "docs/fault-matrix.md"
REAL = ("e2e/", "contract/")
_NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[tuple[str, str]]:
    """Return what happens and what proves it, of each row."""
    lines = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [(line[0], line[2]) for line in cells if line[0] not in {"what happens", "---"}]


@cache
def named_in(file: str) -> frozenset[str]:
    """Return the names of the tests of a file, in classes too."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_line_of_the_page_has_three_cells() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {4}
    assert len(rows()) > 25


@pytest.mark.parametrize(("what", "proof"), rows(), ids=[what[:60] for what, _ in rows()])
def test_a_row_is_proved_on_real_parts_by_tests_that_exist(what: str, proof: str) -> None:
    named = _NAMED.findall(proof)
    assert len(named) == proof.count("::")
    assert any(file.startswith(REAL) for file, _ in named), what
    for file, test in named:
        assert test in named_in(file), f"{file}::{test}"
