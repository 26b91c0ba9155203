"""What the metrics showed at each scrape, by time: all that a policy may know of the load. May import numpy and core.

A row is what Prometheus holds after a scrape: counters that only grow, histograms, and gauges of that instant. The
front door counts a request and its prompt when it arrives, TTFT when its first token is there, and OSL and TPOT when it
has finished (the bucket bounds are llm-d's); the engines show who waits and who runs.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.simulation.live import LiveDeployment
from pdscaler.simulator.histograms import EPP_INPUT_TOKENS, EPP_LATENCY_S, EPP_OUTPUT_TOKENS, EPP_TPOT_S

Integers = NDArray[np.int64]

SCRAPE = np.dtype([
    ("at_s", "f8"),
    # Counters since the begin.
    ("arrivals", "f8"),
    ("input_tokens", "f8"),
    ("cached_tokens", "f8"),
    ("first_tokens", "f8"),
    ("ttft_s", "f8"),
    ("finished", "f8"),
    ("output_tokens", "f8"),
    ("decoded", "f8"),  # finished answers of two tokens or more: those that have a TPOT
    ("tpot_s", "f8"),
    ("generated_tokens", "f8"),  # of the answers that still run, too
    ("prefill_busy_s", "f8"),
    # Gauges of the instant, over all replicas of a pool.
    ("prefill_waiting", "f8"),
    ("prefill_running", "f8"),
    ("prefill_waiting_tokens", "f8"),
    ("prefill_busy_replicas", "f8"),
    ("decode_waiting", "f8"),
    ("decode_running", "f8"),
    ("decode_waiting_tokens", "f8"),
    ("decode_busy_replicas", "f8"),
    ("kv_tokens", "f8"),  # resident
    ("kv_usage", "f8"),  # mean share of the KV memory over the replicas; NaN where it has no limit
])  # fmt: skip

BOUNDS = {
    "isl": np.array(EPP_INPUT_TOKENS),
    "osl": np.array(EPP_OUTPUT_TOKENS),
    "ttft": np.array(EPP_LATENCY_S),
    "tpot": np.array(EPP_TPOT_S),
}
"""Upper bounds of the histograms' buckets; one more bucket is open."""


class ScrapeLog:
    """The scrapes so far, oldest first."""

    def __init__(self, room: int = 256) -> None:
        self._rows = np.zeros(room, SCRAPE)
        self._counts = {name: np.zeros((room, len(bounds) + 1), np.int64) for name, bounds in BOUNDS.items()}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> NDArray[np.void]:
        """The counters and gauges, one row for each scrape."""
        return self._rows[: self._size]

    def counts(self, name: str) -> Integers:
        """Return the counts of a histogram's buckets since the begin, one row for each scrape."""
        return self._counts[name][: self._size]

    def append(self, row: NDArray[np.void], observed: dict[str, NDArray[np.float64]]) -> None:
        """Add a scrape: its row, and what the histograms have observed since the last one."""
        if self._size == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
            self._counts = {
                name: np.concatenate((counts, np.zeros_like(counts))) for name, counts in self._counts.items()
            }
        place = self._size
        self._rows[place] = row
        for name, counts in self._counts.items():
            if place:
                counts[place] = counts[place - 1]
            values = observed[name]
            if len(values):
                buckets = np.searchsorted(BOUNDS[name], values)
                counts[place] += np.bincount(buckets, minlength=counts.shape[1])
        self._size += 1


class Scraper:
    """Scrapes a live deployment.

    Parameters
    ----------
    live
        The deployment.
    """

    def __init__(self, live: LiveDeployment) -> None:
        self.log = ScrapeLog()
        self._live = live
        self._requests = live.requests
        self._row = np.zeros(1, SCRAPE)[0]
        self._seen: dict[str, list[NDArray[np.float64]]] = {name: [] for name in BOUNDS}
        self._arrived = 0

    def see(self, first: Integers, finished: Integers) -> None:
        """Take the requests that got their first token since the last call, and those that finished."""
        requests, live, row = self._requests, self._live, self._row
        arrived = slice(self._arrived, live.prefill.arrived)
        self._arrived = live.prefill.arrived
        inputs = requests.input_tokens[arrived]
        row["arrivals"] += len(inputs)
        row["input_tokens"] += inputs.sum()
        row["cached_tokens"] += requests.prefix_hit_tokens[arrived].sum()
        ttft_s = live.first_token_s[first] - requests.arrival_s[first]
        row["first_tokens"] += len(first)
        row["ttft_s"] += ttft_s.sum()
        outputs = requests.output_tokens[finished]
        row["finished"] += len(finished)
        row["output_tokens"] += outputs.sum()
        several = outputs > 1
        decoded = finished[several]
        tpot_s = (live.finished_s[decoded] - live.first_token_s[decoded]) / (outputs[several] - 1)
        row["decoded"] += len(decoded)
        row["tpot_s"] += tpot_s.sum()
        for name, values in (("isl", inputs), ("osl", outputs), ("ttft", ttft_s), ("tpot", tpot_s)):
            self._seen[name].append(np.asarray(values, np.float64))

    def scrape(self) -> None:
        """Write down what the metrics show now."""
        live, row = self._live, self._row
        now_s, prefill, decode = live.now_s, live.prefill, live.decode
        resident = decode.resident_tokens(now_s)
        tokens = float(resident.sum())
        row["at_s"] = now_s
        # First tokens come from prefill, the rest of finished and of running answers from decode.
        row["generated_tokens"] = (
            row["first_tokens"] + row["output_tokens"] - row["finished"] + decode.decoded_tokens(tokens)
        )
        row["prefill_busy_s"] = prefill.busy_s(now_s)
        row["prefill_waiting"], row["prefill_running"] = prefill.waiting, prefill.running
        row["prefill_waiting_tokens"], row["prefill_busy_replicas"] = prefill.waiting_tokens, prefill.busy_replicas
        row["decode_waiting"], row["decode_running"] = decode.waiting, decode.running
        row["decode_waiting_tokens"], row["decode_busy_replicas"] = decode.waiting_tokens, decode.busy_replicas
        row["kv_tokens"] = tokens
        serving = int(decode.serving(now_s).sum())
        capacity = decode.kv_capacity_tokens
        row["kv_usage"] = tokens / (capacity * serving) if math.isfinite(capacity) and serving else math.nan
        seen = {name: np.concatenate(values) if values else np.empty(0) for name, values in self._seen.items()}
        self.log.append(row, seen)
        for values in self._seen.values():
            values.clear()
