from pdscaler.core.plan import Forecaster
from pdscaler.forecast.last_value import last_value
from support.core_cases import paper_workload


def test_what_is_seen_is_what_is_expected() -> None:
    forecaster: Forecaster = last_value
    now = paper_workload()
    assert forecaster(now, 0.0) is now
    assert forecaster(now, 1e9) is now
