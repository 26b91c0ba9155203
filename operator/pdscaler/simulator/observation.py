"""What a policy may see: the scrapes up to now and the pods, as the operator sees them. May import numpy and core.

Rates and means over a window are the difference of two scrapes within it, divided by their distance: what Prometheus'
``rate`` comes to. Nothing newer than the last visible scrape can be asked for.
"""

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.decision import PoolState
from pdscaler.core.histogram import Bucket, scv_of
from pdscaler.core.pools import PerPool
from pdscaler.core.workload import LengthStats, PoolLoad
from pdscaler.simulator.scrapes import BOUNDS, ScrapeLog

MAX_PREFIX_HIT_RATIO = 0.99
"""A prompt's last block is always computed: as the operator reads it."""


class Window:
    """What was counted between two scrapes.

    Parameters
    ----------
    log
        The scrapes.
    first, last
        Places of the two, ``first < last``.
    """

    __slots__ = ("_first", "_last", "_log", "span_s")

    def __init__(self, log: ScrapeLog, first: int, last: int) -> None:
        self._log = log
        self._first = first
        self._last = last
        self.span_s = self._grown("at_s")
        """Seconds between the two scrapes."""

    def _grown(self, counter: str) -> float:
        column = self._log.rows[counter]
        return float(column[self._last] - column[self._first])

    def _mean(self, total: str, count: str) -> float | None:
        counted = self._grown(count)
        return self._grown(total) / counted if counted > 0 else None

    def rate(self, counter: str) -> float:
        """Return a counter's increase per second; see ``SCRAPE`` for their names."""
        return self._grown(counter) / self.span_s

    @property
    def rate_rps(self) -> float:
        """Arrivals at the front door, requests/s."""
        return self.rate("arrivals")

    @property
    def ttft_mean_s(self) -> float | None:
        """Mean TTFT of the first tokens, seconds; None where there was none."""
        return self._mean("ttft_s", "first_tokens")

    @property
    def tpot_mean_s(self) -> float | None:
        """Mean TPOT of the finished answers, seconds; None where none has finished."""
        return self._mean("tpot_s", "decoded")

    @property
    def isl_mean(self) -> float | None:
        """Mean prompt of the arrivals, tokens; None where nothing arrived."""
        return self._mean("input_tokens", "arrivals")

    @property
    def osl_mean(self) -> float | None:
        """Mean answer of the finished requests, tokens; None where none has finished."""
        return self._mean("output_tokens", "finished")

    @property
    def prefix_hit_ratio(self) -> float:
        """Share of the arrived prompt tokens that the prefix cache serves."""
        return min(MAX_PREFIX_HIT_RATIO, self._mean("cached_tokens", "input_tokens") or 0.0)

    def buckets(self, name: str) -> list[Bucket]:
        """Return the observations of a histogram (``isl``, ``osl``, ``ttft`` or ``tpot``) by bucket."""
        counts = self._log.counts(name)
        grown = counts[self._last] - counts[self._first]
        bounds = BOUNDS[name]
        return [
            Bucket(
                float(bounds[place - 1]) if place else 0.0,
                float(bounds[place]) if place < len(bounds) else np.inf,
                float(grown[place]),
            )
            for place in np.flatnonzero(grown)
        ]

    def lengths(self, name: str) -> LengthStats | None:
        """Return mean and spread of ``isl`` or ``osl``; the spread is estimated from the buckets."""
        mean = self.isl_mean if name == "isl" else self.osl_mean
        return None if mean is None else LengthStats(mean, scv_of(self.buckets(name), mean))


class Observation:
    """What is known at an evaluation; it stays what it is when time goes on.

    Parameters
    ----------
    now_s
        Time of the evaluation, seconds.
    pools
        Both pools' replicas now: watches tell them without delay. ``pending_replicas`` are starting,
        ``terminating_replicas`` finish what they run.
    log
        The scrapes.
    known
        How many of them are visible yet.
    """

    __slots__ = ("_known", "_log", "now_s", "pools")

    def __init__(self, now_s: float, pools: PerPool[PoolState], log: ScrapeLog, known: int) -> None:
        self.now_s = now_s
        self.pools = pools
        self._log = log
        self._known = known

    @property
    def ordered(self) -> PerPool[int]:
        """What was ordered last."""
        return self.pools.map(lambda pool: pool.spec_replicas)

    @property
    def scraped_s(self) -> float | None:
        """Time of the last scrape, seconds; None before the first one."""
        return self.gauge("at_s")

    def gauge(self, name: str) -> float | None:
        """Return a gauge at the last scrape (see ``SCRAPE``); None before the first one."""
        return float(self._log.rows[name][self._known - 1]) if self._known else None

    def recent(self, name: str, window_s: float) -> NDArray[np.float64]:
        """Return a counter or gauge at the scrapes of the last ``window_s`` seconds, oldest first."""
        column = self._log.rows[name][self._first(window_s) : self._known].copy()
        return np.asarray(column, np.float64)

    def window(self, window_s: float) -> Window | None:
        """Return what was counted over the last ``window_s`` seconds; None with fewer than two scrapes in them."""
        first, last = self._first(window_s), self._known - 1
        return Window(self._log, first, last) if first < last else None

    def covered_s(self, window_s: float) -> float:
        """Return how much of the last ``window_s`` seconds scrapes cover; 0 with fewer than two."""
        first, last = self._first(window_s), self._known - 1
        if first >= last:
            return 0.0
        at_s = self._log.rows["at_s"]
        step_s = float(at_s[last] - at_s[first]) / (last - first)
        blank_s = float(at_s[first]) - (self.now_s - window_s)
        # A rate is carried on to the window's begin where that is near, else by half a step.
        return window_s if blank_s <= 1.1 * step_s else window_s - blank_s + step_s / 2

    def load(self, pool: str) -> PoolLoad:
        """Return what the engines of a pool (``prefill`` or ``decode``) showed at the last scrape."""
        usage = self.gauge("kv_usage") if pool == "decode" else None
        return PoolLoad(
            waiting_requests=self.gauge(f"{pool}_waiting"),
            running_requests=self.gauge(f"{pool}_running"),
            kv_usage_ratio=None if usage is None or np.isnan(usage) else usage,
        )

    def _first(self, window_s: float) -> int:
        """Return the place of the oldest visible scrape within the window."""
        return int(np.searchsorted(self._log.rows["at_s"][: self._known], self.now_s - window_s, side="right"))
