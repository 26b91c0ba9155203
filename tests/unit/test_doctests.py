"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import pdscaler

MODULES = [
    info.name
    for info in pkgutil.walk_packages(pdscaler.__path__, "pdscaler.")
    if info.name != "pdscaler.__main__"  # importing it runs the command
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 10
