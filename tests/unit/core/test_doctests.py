"""The examples in the core's and the forecast's docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import pdscaler.core
import pdscaler.forecast
from pdscaler import units

MODULES = [
    units.__name__,
    *(
        info.name
        for package in (pdscaler.core, pdscaler.forecast)
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 10
