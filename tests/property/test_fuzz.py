"""Every fuzz target, for a moment; ``make fuzz`` runs them for minutes."""

import pytest

from fuzz.everything import TARGETS
from fuzz.target import Target, run

EXAMPLES = 50


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_no_case_breaks_anything(target: Target) -> None:
    outcomes = run(target, EXAMPLES, number=20261121)
    assert not outcomes.failure, outcomes.failure
    assert outcomes.cases >= EXAMPLES // 2
