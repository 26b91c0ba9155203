import math

import pytest

from pdscaler.core.curves import Line, decode_surface
from pdscaler.core.decision import Binding
from pdscaler.core.paper import BatchLimit, DecodeModel, PrefillModel, batch_limit, prefill_throughput
from pdscaler.core.profile import DecodePoint, DecodeProfile
from pdscaler.core.slo import LatencyTarget, Statistic

LINE = Line((1.0, 11.0, 21.0), (0.010, 0.020, 0.040), 0.002)


def decode(
    rate_rps: float = 10.0, target_s: float | None = 0.02, limit: float = 256.0, line: Line = LINE, derate: float = 1.0
) -> DecodeModel:
    target = None if target_s is None else LatencyTarget(target_s)
    return DecodeModel(rate_rps, 100.0, line, BatchLimit(limit, Binding.BATCH_SLOTS), derate, target)


def prefill(rate_rps: float, target: LatencyTarget | None = None) -> PrefillModel:
    return PrefillModel(rate_rps, 0.2, 0.1, target)


class TestPrefill:
    def test_mean_of_the_mm1_queue(self) -> None:
        # mu = 5/s, lambda = 3/s in each of two replicas: 1 / (5 - 3) = 0.5 s, and 0.1 s of overhead.
        statistics = prefill(6.0).statistics(2)
        assert statistics.mean == pytest.approx(0.6)
        assert statistics.p50 == pytest.approx(0.1 + 0.5 * math.log(2))
        assert statistics.p99 == pytest.approx(0.1 + 0.5 * math.log(100))

    @pytest.mark.parametrize("rate_rps", [10.0, 11.0])
    def test_an_unstable_queue_is_infinite(self, rate_rps: float) -> None:
        statistics = prefill(rate_rps).statistics(2)
        assert statistics.mean == math.inf
        assert statistics.p50 == math.inf

    def test_capacity_meets_the_target_exactly(self) -> None:
        for statistic in Statistic:
            target = LatencyTarget(1.5, statistic)
            capacity = prefill(1.0, target).capacity_rps
            assert prefill(capacity, target).statistics(1).of(statistic) == pytest.approx(1.5)

    @pytest.mark.parametrize("target_s", [0.05, 0.1, 0.3])
    def test_infeasible_at_service_plus_overhead_and_below(self, target_s: float) -> None:
        model = prefill(6.0, LatencyTarget(target_s))
        assert not model.attainable
        assert model.capacity_rps == 0
        # The bounded rule: half the service rate, so that the wait is the service.
        assert model.best_effort_rps == pytest.approx(2.5)
        assert prefill(2.5).statistics(1).mean == pytest.approx(0.1 + 2 * 0.2)

    def test_throughput_in_tokens(self) -> None:
        assert prefill_throughput(1000, 100, 1.1, 0.1, factor=2) == pytest.approx(800)
        assert prefill_throughput(1000, 100, 0.3, 0.1, factor=2) == 0

    def test_without_a_target_the_load_stays_at_nine_tenths(self) -> None:
        model = prefill(6.0)
        assert model.attainable
        assert model.capacity_rps == pytest.approx(4.5)


class TestDecode:
    def test_largest_batch_is_real_valued(self) -> None:
        assert decode(target_s=0.02).largest_batch == pytest.approx(11.0)
        assert decode(target_s=0.03).largest_batch == pytest.approx(16.0)
        assert decode(target_s=0.05).largest_batch == pytest.approx(26.0)

    def test_capacity(self) -> None:
        assert decode(target_s=0.02).capacity_rps == pytest.approx(11 / 0.02 / 100)
        assert decode(target_s=0.02).binding is Binding.TPOT

    def test_derate_multiplies_the_throughput(self) -> None:
        plain, derated = decode(), decode(derate=0.905)
        assert derated.capacity_rps == pytest.approx(0.905 * plain.capacity_rps)
        rate = derated.capacity_rps
        assert decode(rate, derate=0.905).statistics(1).mean == pytest.approx(0.02)

    def test_slots_bind(self) -> None:
        model = decode(limit=4.0)
        assert model.binding is Binding.BATCH_SLOTS
        assert model.largest_batch == 4
        assert model.capacity_rps == pytest.approx(4 / 0.013 / 100)

    def test_a_looser_target_is_never_worth_less(self) -> None:
        # Throughput falls beyond a batch of 11 here: 550 tokens/s there, 525 at 21.
        assert decode(target_s=0.04).capacity_rps == pytest.approx(decode(target_s=0.02).capacity_rps)

    def test_prediction_inverts_the_throughput(self) -> None:
        for batch in (1.0, 2.5, 7.0, 11.0):
            rate = batch / LINE(batch) / 100
            assert decode(rate).statistics(1).mean == pytest.approx(LINE(batch))

    def test_light_load_decodes_like_one_request_alone(self) -> None:
        assert decode(0.01).statistics(1).p99 == pytest.approx(0.010)
        assert decode(0.0).statistics(1).mean == pytest.approx(0.010)

    def test_more_than_any_batch_yields_is_infinite(self) -> None:
        assert decode(5.6).statistics(1).mean == math.inf
        assert decode(5.4).statistics(1).mean == pytest.approx(0.020, rel=0.1)

    def test_infeasible_comes_within_two_percent_of_the_best(self) -> None:
        model = decode(target_s=0.009)
        assert not model.attainable
        assert model.capacity_rps == 0
        assert decode(model.best_effort_rps).statistics(1).mean == pytest.approx(1.02 * 0.010)

    def test_one_slot_only(self) -> None:
        model = decode(limit=1.0)
        assert model.capacity_rps == pytest.approx(1 / 0.010 / 100)
        assert decode(1.0, limit=1.0).statistics(1).mean == pytest.approx(0.010)
        assert decode(1.01, limit=1.0).statistics(1).mean == math.inf

    def test_no_target_uses_all_slots(self) -> None:
        model = decode(target_s=None, limit=8.0)
        assert model.attainable
        assert model.largest_batch == 8


@pytest.mark.parametrize(
    ("capacity", "context", "batch", "binding"),
    [
        (None, 1000.0, 60.0, Binding.BATCH_SLOTS),
        (60_000.0, 1000.0, 60.0, Binding.BATCH_SLOTS),
        (30_000.0, 1000.0, 30.0, Binding.KV_MEMORY),
        (500.0, 1000.0, 1.0, Binding.KV_MEMORY),
    ],
)
def test_batch_limit(capacity: float | None, context: float, batch: float, binding: Binding) -> None:
    points = (DecodePoint(1000, 1, 0.01), DecodePoint(1000, 2, 0.02))
    assert batch_limit(decode_surface(DecodeProfile(points, 60, capacity)), context) == BatchLimit(batch, binding)
