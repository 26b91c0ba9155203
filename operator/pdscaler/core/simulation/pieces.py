"""Both pools run piece by piece: what is unfinished is carried from one piece of requests to the next. Imports core.

Between pieces the rows of the finished requests are dropped, and what points at a row (queues, passes, heaps) is
renumbered.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.simulation.changes import Changes
from pdscaler.core.simulation.decode_arrays import DECODE_REQUEST, DecodePool
from pdscaler.core.simulation.prefill_arrays import PREFILL_REQUEST, PrefillPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import HEAP_ROOM, ROUTINGS, Deployment, checked
from pdscaler.core.simulation.tables import decode_table, prefill_table

Rows = NDArray[np.void]

FIRST_TOKEN = np.dtype(
    [
        ("number", "i8"),  # of the request in the run
        ("arrival_s", "f8"),
        ("first_token_s", "f8"),
        ("input_tokens", "i8"),
        ("output_tokens", "i8"),
    ]
)
"""A request that has its first token: what decode and the statistics need of it."""


class Finished(NamedTuple):
    """Finished requests: number in the run, latencies (TPOT NaN for an answer of one token), time in the system."""

    number: NDArray[np.int64]
    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    stay_s: NDArray[np.float64]


def _renumbered(kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the new number of each row, −1 of those that are dropped; the last entry keeps −1 what it is."""
    return np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)


class PrefillPieces:
    """The prefill pool of a run in pieces."""

    def __init__(self, deployment: Deployment, changes: Changes, seed: int) -> None:
        self._table = prefill_table(deployment.prefill)
        self._routing = ROUTINGS.index(deployment.routing)
        self._seed = seed
        self._changes = changes
        self._pool = PrefillPool(changes.most, changes.initial)
        self._rows = np.empty(0, PREFILL_REQUEST)
        self._known = np.empty((0, 2), np.int64)  # of each row the number in the run, and the output tokens
        self._arrived = 0
        self.now_s = 0.0
        """When the last first token was there."""

    @property
    def inside(self) -> int:
        """Requests that wait or are in a pass."""
        return len(self._rows)

    @property
    def busy_s(self) -> float:
        """Seconds in passes, of all replicas together."""
        return float(self._pool.replicas["busy_s"].sum())

    def advance(self, requests: RequestTable | None, until_s: float) -> Rows:
        """Let the next requests arrive and time pass; return whose pass has ended, in that order."""
        from pdscaler.core.simulation.prefill_kernel import ARRIVED, FINISHED, advance_prefill

        pool = self._pool
        pool.counts[ARRIVED], pool.counts[FINISHED] = len(self._rows), 0
        if requests is not None:
            self._append(requests)
        order = np.empty(len(self._rows), np.int64)
        advance_prefill(
            until_s,
            self._routing,
            self._seed,
            *pool.arrays,
            self._rows,
            order,
            *self._table,
            self._changes.at_s,
            self._changes.ready,
        )
        order = order[: pool.counts[FINISHED]]
        rows, known = self._rows[order], self._known[order]
        ended = np.empty(len(order), FIRST_TOKEN)
        for name in ("arrival_s", "first_token_s", "input_tokens"):
            ended[name] = rows[name]
        ended["number"], ended["output_tokens"] = known[:, 0], known[:, 1]
        if len(order):
            self.now_s = float(rows["first_token_s"].max())
        self._drop(order)
        return ended

    def _append(self, requests: RequestTable) -> None:
        rows = np.empty(checked(requests), self._rows.dtype)
        rows["arrival_s"] = requests.arrival_s
        rows["input_tokens"] = requests.input_tokens
        rows["uncached_tokens"] = requests.input_tokens - requests.prefix_hit_tokens
        self._rows = np.concatenate((self._rows, rows))
        number = np.arange(self._arrived, self._arrived + len(rows))
        self._known = np.concatenate((self._known, np.column_stack((number, requests.output_tokens))))
        self._arrived += len(rows)

    def _drop(self, finished: NDArray[np.int64]) -> None:
        kept = np.ones(len(self._rows), bool)
        kept[finished] = False
        number = _renumbered(kept)
        replicas = self._pool.replicas
        replicas["running"][replicas["running_count"] == 0] = -1
        for name in ("head", "tail", "running"):
            replicas[name] = number[replicas[name]]
        self._rows = self._rows[kept]
        self._rows["following"] = number[self._rows["following"]]
        self._known = self._known[kept]


class DecodePieces:
    """The decode pool of a run in pieces."""

    def __init__(self, deployment: Deployment, changes: Changes) -> None:
        self._table = decode_table(deployment.decode, deployment.decode_derate, deployment.decode.max_batch)
        self._changes = changes
        self._pool = DecodePool(changes.most, changes.initial, min(self._table.max_batch, HEAP_ROOM))
        self._rows = np.empty(0, DECODE_REQUEST)
        self._inside = np.empty(0, FIRST_TOKEN)  # of each row where it came from
        self._held = np.empty(0, FIRST_TOKEN)  # first tokens that are there after the end of the piece
        self.decoding_s = 0.0
        """Seconds between admission and end, of all finished requests together."""
        self.now_s = 0.0
        """End of the last request."""

    @property
    def inside(self) -> int:
        """Requests that wait or run."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._rows) - int(self._pool.replicas["batch"].sum())

    def advance(self, ended: Rows, until_s: float) -> Iterator[Finished]:
        """Let time pass; yield who has finished. ``ended``: those whose pass has ended, all until ``until_s``."""
        single = ended["output_tokens"] == 1
        if single.any():
            done = ended[single]
            ttft_s = done["first_token_s"] - done["arrival_s"]
            yield Finished(done["number"], ttft_s, np.full(len(ttft_s), np.nan), ttft_s)
        held = np.concatenate((self._held, ended[~single]))
        held = held[np.argsort(held["first_token_s"], kind="stable")]
        # Passes that end later may overtake: of two prompts the longer one has more overhead.
        arriving = int(np.searchsorted(held["first_token_s"], until_s, side="right"))
        self._held = held[arriving:]
        self._arrive(held[:arriving], until_s)
        finished = ~np.isnan(self._rows["finished_s"])
        if finished.any():
            yield self._finish(finished)

    def _arrive(self, arriving: Rows, until_s: float) -> None:
        from pdscaler.core.simulation.decode_kernel import ARRIVED, advance_decode

        rows = np.empty(len(arriving), self._rows.dtype)
        for name in ("number", "first_token_s", "input_tokens", "output_tokens"):
            rows[name] = arriving[name]
        rows["finished_s"] = np.nan
        pool = self._pool
        pool.counts[ARRIVED] = len(self._rows)
        self._rows = np.concatenate((self._rows, rows))
        self._inside = np.concatenate((self._inside, arriving))
        pool.heaps = advance_decode(
            until_s,
            *pool.arrays,
            self._rows,
            *self._table,
            self._changes.at_s,
            self._changes.ready,
        )

    def _finish(self, finished: NDArray[np.bool_]) -> Finished:
        rows, known = self._rows[finished], self._inside[finished]
        self.decoding_s += float((rows["finished_s"] - rows["started_s"]).sum())
        self.now_s = float(rows["finished_s"].max())
        tpot_s = (rows["finished_s"] - rows["first_token_s"]) / (rows["output_tokens"] - 1)
        ttft_s = known["first_token_s"] - known["arrival_s"]
        self._drop(finished)
        return Finished(known["number"], ttft_s, tpot_s, rows["finished_s"] - known["arrival_s"])

    def _drop(self, finished: NDArray[np.bool_]) -> None:
        number = _renumbered(~finished)
        pool = self._pool
        for name in ("head", "tail"):
            pool.replicas[name] = number[pool.replicas[name]]
        for heap, batch in zip(pool.heaps, pool.replicas["batch"], strict=True):
            heap["request"][:batch] = number[heap["request"][:batch]]
        self._rows = self._rows[~finished]
        self._rows["following"] = number[self._rows["following"]]
        self._inside = self._inside[~finished]
