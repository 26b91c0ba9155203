"""Observations made up by hand, and an engine whose figures can be worked out."""

import numpy as np

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, ScalingSpec, SizingSpec
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies import Setting
from pdscaler.simulator.scrapes import BOUNDS, SCRAPE, ScrapeLog

STEP_S = 15.0
COUNTERS = (
    "arrivals", "input_tokens", "cached_tokens", "first_tokens", "ttft_s", "finished", "output_tokens", "decoded",
    "tpot_s", "generated_tokens", "prefill_busy_s",
)  # fmt: skip


def engine(prefill: int = 1, decode: int = 1) -> Setting:
    """A pass takes 10 ms and 20 us a token; a step 5 ms, 50 us a request and 20 ns a KV token; 400 000 KV tokens.

    TTFT 200 ms, TPOT 10 ms. At 900 tokens in and 200 out, a prompt takes 28 ms, and the largest batch within TPOT is
    71, whose step takes 9.97 ms.
    """
    contexts, batches = (500.0, 1000.0, 2000.0, 4000.0), (1.0, 10.0, 50.0, 100.0, 200.0)
    limits = PerPool(PoolLimits(1, 100, 1, 120.0), PoolLimits(1, 100, 1, 120.0))
    sizing = SizingSpec(
        "hand",
        Slo(LatencyTarget(0.2, Statistic.P99), LatencyTarget(0.01, Statistic.P99)),
        PrefillProfile(tuple(PrefillPoint(float(n), 0.01 + 2e-5 * n) for n in (500, 1000, 2000, 4000, 8000, 16_000))),
        DecodeProfile(
            tuple(DecodePoint(c, b, 0.005 + b * (5e-5 + 2e-8 * c)) for c in contexts for b in batches), 200, 400_000
        ),
        limits,
    )
    return Setting(ScalingSpec(sizing), PerPool(prefill, decode))


def pools(prefill: int, decode: int, *, starting: tuple[int, int] = (0, 0)) -> PerPool[PoolState]:
    """So many ready replicas, and so many that start."""
    return PerPool(
        PoolState(prefill + starting[0], prefill, starting[0]), PoolState(decode + starting[1], decode, starting[1])
    )


def seen(
    at: PerPool[PoolState],
    *,
    now_s: float = 1200.0,
    rate: float = 100.0,
    isl: float = 900.0,
    osl: float = 200.0,
    ttft_s: float = 0.028,
    tpot_s: float = 0.008,
    **gauges: float,
) -> Observation:
    """A steady load since the begin, as it is seen at ``now_s``; gauges are those of every scrape.

    ``prefill_busy_s`` and ``generated_tokens`` are per second.
    """
    per_second = {
        "arrivals": rate,
        "input_tokens": rate * isl,
        "first_tokens": rate,
        "ttft_s": rate * ttft_s,
        "finished": rate,
        "output_tokens": rate * osl,
        "decoded": rate,
        "tpot_s": rate * tpot_s,
        **gauges,
    }
    log = ScrapeLog()
    row = np.zeros(1, SCRAPE)[0]
    for at_s in np.arange(10.0, now_s, STEP_S):
        row["at_s"] = at_s
        for name, value in per_second.items():
            row[name] = value * at_s if name in COUNTERS else value
        log.append(row, {name: np.empty(0) for name in BOUNDS})
    return Observation(now_s, at, log, len(log))
