"""Laws of phases whose rate goes in a straight line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.workload import LengthStats
from pdscaler.simulator.workload import Phase, phase_requests

RATES = st.floats(0.0, 200.0, allow_subnormal=False)


def phase(begin_rps: float, end_rps: float | None, duration_s: float = 20.0, scv: float = 1.0) -> Phase:
    return Phase("p", duration_s, begin_rps, LengthStats(100.0, 0.5), LengthStats(10.0), scv, end_rps)


@given(RATES, RATES, st.floats(0.5, 500.0), st.floats(0.0, 1.0, exclude_max=True))
def test_the_time_of_an_expected_number_is_its_inverse(
    begin_rps: float, end_rps: float, duration_s: float, share: float
) -> None:
    made = phase(begin_rps, end_rps, duration_s)
    requests = share * made.expected(duration_s)
    if requests > 1e-9:
        at_s = made.reaches(requests)
        assert 0 <= at_s <= duration_s * (1 + 1e-9)
        assert made.expected(at_s) == pytest.approx(requests, rel=1e-6)


@given(RATES, RATES, st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 2**32 - 1))
def test_arrivals_ascend_within_the_phase(begin_rps: float, end_rps: float, scv: float, seed: int) -> None:
    made = phase(begin_rps, end_rps, scv=scv)
    arrivals = [request.arrival_s for request in phase_requests([made], np.random.default_rng(seed))]
    assert arrivals == sorted(arrivals)
    assert all(0 <= at_s < 20.0 for at_s in arrivals)
    if scv == 0:
        assert abs(len(arrivals) - made.expected(20.0)) <= 1.0 + 1e-6


@given(st.floats(0.1, 200.0), st.integers(0, 2**32 - 1))
def test_an_end_like_the_begin_changes_nothing(rate_rps: float, seed: int) -> None:
    flat, same = (list(phase_requests([phase(rate_rps, end)], np.random.default_rng(seed))) for end in (None, rate_rps))
    assert flat == same
