"""Laws of the telemetry's estimators and of its escaping."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.histogram import Bucket, differences, quantile_interval, scv_of
from pdscaler.telemetry.text import quote_label_value, shown

VLLM_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, math.inf)
lengths = st.lists(st.integers(1, 20000), min_size=1, max_size=60)


def _buckets(values: list[int]) -> list[Bucket]:
    return differences({float(bound): float(sum(v <= bound for v in values)) for bound in VLLM_BOUNDS})


@given(lengths)
def test_the_scv_lies_between_what_the_buckets_allow(values: list[int]) -> None:
    mean = float(np.mean(values))
    estimate = scv_of(_buckets(values), mean)
    buckets = _buckets(values)
    total = sum(bucket.weight for bucket in buckets)
    # Bhatia-Davis over the whole range is the loosest, the buckets' own bounds the tightest upper limit.
    most = sum(b.weight * b.upper**2 for b in buckets) / total - mean**2
    assert 0 <= estimate <= most / mean**2 + 1e-9
    truth = float(np.var(values)) / mean**2
    widest = sum(b.weight * (b.upper - b.lower) ** 2 for b in buckets) / total / mean**2
    # Each observation lies in its bucket in truth and in the estimate: the distributions differ by a bucket at most.
    assert abs(math.sqrt(estimate) - math.sqrt(truth)) <= math.sqrt(widest) + 1e-6


@given(lengths, st.floats(0.01, 1000))
def test_the_scv_has_no_unit(values: list[int], scale: float) -> None:
    mean = float(np.mean(values))
    scaled = [Bucket(b.lower * scale, b.upper * scale, b.weight * 3) for b in _buckets(values)]
    assert scv_of(scaled, mean * scale) == pytest.approx(scv_of(_buckets(values), mean), rel=1e-6, abs=1e-9)


@given(lengths, lengths)
def test_pods_pool(one: list[int], other: list[int]) -> None:
    mean = float(np.mean(one + other))
    apart = scv_of(_buckets(one) + _buckets(other), mean)
    assert apart == pytest.approx(scv_of(_buckets(one + other), mean), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scv", [0.05, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("mean", [100.0, 400.0, 1500.0, 4000.0])
def test_typical_lengths_are_estimated_as_documented(mean: float, scv: float) -> None:
    rng = np.random.default_rng(7)
    sigma2 = math.log1p(scv)
    for sample in (
        rng.lognormal(math.log(mean) - sigma2 / 2, math.sqrt(sigma2), 40_000),
        rng.gamma(1 / scv, mean * scv, 40_000),
    ):
        values = np.clip(np.round(sample), 1, 20000)
        buckets = differences({float(bound): float((values <= bound).sum()) for bound in VLLM_BOUNDS})
        error = scv_of(buckets, float(values.mean())) - float(values.var() / values.mean() ** 2)
        assert -0.1 <= error <= 0.16


@given(lengths, st.floats(0.01, 0.99))
def test_the_quantile_lies_in_its_interval(values: list[int], quantile: float) -> None:
    interval = quantile_interval(_buckets(values), quantile)
    assert interval is not None
    truth = float(np.quantile(values, quantile, method="inverted_cdf"))
    assert interval[0] <= truth <= interval[1]


@given(st.text(max_size=80))
def test_a_quoted_label_value_is_one_string(value: str) -> None:
    quoted = quote_label_value(value)
    assert quoted.isascii()
    assert quoted.isprintable()
    inside = quoted[1:-1]
    # Every quote within is escaped: an even number of backslashes before one would end the string.
    assert '"' not in inside.replace("\\\\", "").replace('\\"', "")
    read = inside.encode("ascii").decode("unicode_escape").encode("latin-1")
    assert read == value.encode("utf-8", "surrogatepass")


@given(st.text(max_size=300))
def test_foreign_text_in_a_message_is_printable_and_short(value: str) -> None:
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= 65 * 10 + 2
