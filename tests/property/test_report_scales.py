"""The axes of a report: whatever is to be seen lies on them, in order, and its neighbourhood is named."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pdscaler.simulator.report.scales import Scale, clock, latency_scale, linear_scale, share_scale, time_scale

latencies = st.floats(1e-6, 1e5)


def check(scale: Scale, values: list[float], *, most: int) -> None:
    """Ticks stand in order, few enough to be read, apart from each other; values keep their order."""
    places = [tick.place for tick in scale.ticks]
    assert 2 <= len(places) <= most
    assert all(0 <= place <= 1 for place in places)
    assert all(earlier < later for earlier, later in pairwise(places))
    assert len({tick.text for tick in scale.ticks}) == len(places)
    at = scale.place(np.array(sorted(values)))
    assert np.all(np.diff(at) >= 0)
    assert np.all((at >= 0) & (at <= 1))


@given(latencies, latencies)
def test_latencies(one: float, other: float) -> None:
    least, most = sorted((one, other))
    scale = latency_scale(least, most)
    check(scale, [least, most], most=9)
    ends = scale.place(np.array([least, most]))
    # Nothing is clipped, and what is shown takes a good part of the axis.
    assert 0 < ends[1] <= 1
    assert ends[1] >= 0.4
    if most >= 10 * least:
        assert ends[0] <= 0.6
        assert ends[1] - ends[0] >= 0.3


@given(st.floats(0, 1e9), st.booleans())
def test_counts_and_rates(most: float, whole: bool) -> None:
    scale = linear_scale(most, whole=whole)
    check(scale, [0.0, most], most=8)
    assert scale.low == 0
    assert scale.high >= most * (1 - 1e-9)
    if whole:
        assert all(tick.text.isdigit() for tick in scale.ticks)


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(1, 3000))
def test_shares(shares: list[float], requests: int) -> None:
    seen = np.array([round(share * requests) / requests for share in shares] + [math.nan])
    scale = share_scale(seen, 0.99)
    check(scale, [share for share in seen.tolist() if not math.isnan(share)], most=9)
    assert scale.ticks[-1].text == "100 %"
    full, goal = scale.place(np.array([1.0, 0.99]))
    assert full == 1
    assert 0 < goal < 0.9
    # What misses anything is told apart from what misses nothing.
    short = seen[seen < 1]
    assert np.all(scale.place(short) < 1)


@given(st.integers(0, 10**8), st.floats(0, 1e8))
def test_times(begin_s: int, span_s: float) -> None:
    scale = time_scale(float(begin_s), begin_s + span_s)
    places = [tick.place for tick in scale.ticks]
    assert 1 <= len(places) <= 12
    assert all(earlier < later for earlier, later in pairwise(places))
    assert len({tick.text for tick in scale.ticks}) == len(places)


@given(st.integers(0, 10**8))
def test_clocks(at_s: int) -> None:
    days, _, text = clock(float(at_s)).rpartition("d ")
    hours, minutes, seconds = map(int, text.split(":"))
    assert int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds == at_s
    assert minutes < 60
    assert seconds < 60
    assert hours < 24
