"""A deployment simulated step by step, under orders that are decided on the way. May import only numpy, numba and core.

The events are those of :func:`pdscaler.core.simulation.run.simulate` with the same orders, to the last bit: the kernels
keep their state in arrays, so a run may stop at any instant, be looked at, be given an order, and go on.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.changes import Staffing
from pdscaler.core.simulation.decode_arrays import DECODE_REQUEST, DecodePool
from pdscaler.core.simulation.prefill_arrays import PREFILL_REQUEST, PrefillPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import HEAP_ROOM, ROUTINGS, Deployment, Lives, Records, checked, tpot_s
from pdscaler.core.simulation.tables import decode_table, prefill_table

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

_Events = list[tuple[float, int]]


class _LivePool(ABC):
    """What both pools have in common: replicas, and what happens to them."""

    def __init__(self, staffing: Staffing, state: Any) -> None:
        self._state = state  # PrefillPool or DecodePool
        self._events: _Events = []
        self.staffing = staffing

    def order(self, at_s: float, wanted: int) -> None:
        """Order replicas at the present instant; what it does happens with the next step."""
        self._events += self.staffing.order(at_s, wanted)

    @abstractmethod
    def _make_room(self, most: int) -> None:
        """Make room for so many replicas."""

    def _changes(self, until_s: float) -> tuple[Reals, Integers]:
        """Return what happens to the replicas up to ``until_s``, and make room for those that begin."""
        from pdscaler.core.simulation.prefill_kernel import CHANGED

        events, self._events = self._events + self.staffing.until(until_s), []
        self._make_room(len(self.staffing.ordered_s))
        self._state.counts[CHANGED] = 0
        at_s = np.array([at_s for at_s, _ in events], np.float64)
        return at_s, np.array([ready for _, ready in events], np.int64)

    def draining(self, now_s: float) -> int:
        """Return how many replicas were told to leave and still work."""
        replicas = self._state.replicas
        return int(((replicas["left_s"] <= now_s) & (replicas["gone_s"] > now_s)).sum())

    def serving(self, now_s: float) -> NDArray[np.bool_]:
        """Return which replicas hold a place now, those that drain included, by rank."""
        from pdscaler.core.simulation.prefill_kernel import STARTED

        found: NDArray[np.bool_] = self._state.replicas["gone_s"] > now_s
        found[self._state.counts[STARTED] :] = False
        return found

    def lives(self) -> Lives:
        """Return the replicas' comings and goings."""
        count = len(self.staffing.ordered_s)
        replicas = self._state.replicas
        return Lives(
            np.array(self.staffing.ordered_s, np.float64),
            replicas["left_s"][:count].copy(),
            replicas["gone_s"][:count].copy(),
            tuple(self.staffing.cancelled),
        )


class LivePrefill(_LivePool):
    """The prefill pool of a live deployment; the requests' numbers are their places in the table."""

    def __init__(self, deployment: Deployment, requests: RequestTable, staffing: Staffing, seed: int) -> None:
        super().__init__(staffing, PrefillPool(staffing.serving, staffing.serving))
        rows = np.empty(checked(requests), PREFILL_REQUEST)
        rows["arrival_s"] = requests.arrival_s
        rows["input_tokens"] = requests.input_tokens
        rows["uncached_tokens"] = requests.input_tokens - requests.prefix_hit_tokens
        self.rows = rows
        self._order = np.empty(len(rows), np.int64)
        self._table = prefill_table(deployment.prefill)
        self._routing = ROUTINGS.index(deployment.routing)
        self._seed = seed
        self._uncached = np.concatenate(([0], np.cumsum(rows["uncached_tokens"])))
        self._finished_tokens = 0
        self.arrived = 0
        self.finished = 0

    def advance(self, until_s: float) -> Integers:
        """Let time pass; return whose pass has ended, in that order."""
        from pdscaler.core.simulation.prefill_kernel import ARRIVED, FINISHED, advance_prefill

        change_s, change_ready = self._changes(until_s)
        pool: PrefillPool = self._state
        advance_prefill(
            until_s,
            self._routing,
            self._seed,
            *pool.arrays,
            self.rows,
            self._order,
            *self._table,
            change_s,
            change_ready,
        )
        ended = self._order[self.finished : pool.counts[FINISHED]]
        self._finished_tokens += int(self.rows["uncached_tokens"][ended].sum())
        self.arrived, self.finished = int(pool.counts[ARRIVED]), int(pool.counts[FINISHED])
        return ended

    def _make_room(self, most: int) -> None:
        from pdscaler.core.simulation.room import prefill_with_room

        self._state = prefill_with_room(self._state, most)

    @property
    def running(self) -> int:
        """Requests in passes."""
        return int(self._state.replicas["running_count"].sum())

    @property
    def waiting(self) -> int:
        """Requests in queues."""
        return self.arrived - self.finished - self.running

    @property
    def waiting_tokens(self) -> int:
        """Uncached tokens in queues."""
        running_tokens = int(self._state.replicas["running_tokens"].sum())
        return int(self._uncached[self.arrived]) - self._finished_tokens - running_tokens

    @property
    def busy_replicas(self) -> int:
        """Replicas in a pass."""
        return int((self._state.replicas["running_count"] > 0).sum())

    def busy_s(self, now_s: float) -> float:
        """Return the seconds spent in passes up to now, of all replicas together."""
        ends_s = self._state.ends_s
        ahead_s = ends_s[np.isfinite(ends_s)] - now_s  # a pass is counted when it begins
        return float(self._state.replicas["busy_s"].sum() - ahead_s.sum())


class LiveDecode(_LivePool):
    """The decode pool of a live deployment; its rows are in order of first tokens."""

    def __init__(self, deployment: Deployment, requests: RequestTable, staffing: Staffing) -> None:
        several = int((requests.output_tokens > 1).sum())
        table = decode_table(deployment.decode, deployment.decode_derate, max(several, 1))
        super().__init__(staffing, DecodePool(staffing.serving, staffing.serving, min(table.max_batch, HEAP_ROOM)))
        self._table = table
        self.rows = np.zeros(several, DECODE_REQUEST)
        self.rows["finished_s"] = np.nan
        self._requests = requests
        self._inside = np.empty(0, np.int64)
        self._inside_prompts = 0
        self.arrived = 0

    def advance(self, arriving: Integers, first_token_s: Reals, until_s: float) -> Integers:
        """Let requests arrive, in order of their first tokens, and time pass; return the rows of who has finished."""
        from pdscaler.core.simulation.decode_kernel import advance_decode

        new = slice(self.arrived, self.arrived + len(arriving))
        rows = self.rows[new]
        rows["first_token_s"] = first_token_s
        rows["input_tokens"] = self._requests.input_tokens[arriving]
        rows["output_tokens"] = self._requests.output_tokens[arriving]
        rows["number"] = arriving
        self.arrived = new.stop
        change_s, change_ready = self._changes(until_s)
        pool: DecodePool = self._state
        pool.heaps = advance_decode(
            until_s, *pool.arrays, self.rows[: self.arrived], *self._table, change_s, change_ready
        )
        inside = np.concatenate((self._inside, np.arange(new.start, new.stop)))
        done = ~np.isnan(self.rows["finished_s"][inside])
        self._inside = inside[~done]
        finished: Integers = inside[done]
        self._inside_prompts += int(rows["input_tokens"].sum() - self.rows["input_tokens"][finished].sum())
        return finished

    def _make_room(self, most: int) -> None:
        from pdscaler.core.simulation.room import decode_with_room

        self._state = decode_with_room(self._state, most)

    @property
    def running(self) -> int:
        """Requests in batches."""
        return int(self._state.replicas["batch"].sum())

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._inside) - self.running

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens that wait for a slot."""
        return int(self._state.replicas["waiting_tokens"].sum())

    @property
    def busy_replicas(self) -> int:
        """Replicas with a batch."""
        return int((self._state.replicas["batch"] > 0).sum())

    def resident_tokens(self, now_s: float) -> Reals:
        """Return the KV tokens of the running requests now, by rank of their replica."""
        from pdscaler.core.simulation.decode_kernel import resident_tokens

        pool, table = self._state, self._table
        return np.asarray(resident_tokens(now_s, pool.replicas, pool.heaps, table.contexts, table.clocks))

    def decoded_tokens(self, resident: float) -> float:
        """Return the tokens that the running requests have decoded so far, their first ones not counted.

        Parameters
        ----------
        resident
            KV tokens of all of them.
        """
        return max(0.0, resident - (self._inside_prompts - self.waiting_tokens))

    @property
    def kv_capacity_tokens(self) -> float:
        """KV memory of a replica, tokens; infinite where it does not bind."""
        return self._table.kv_capacity_tokens


class LiveDeployment:
    """A deployment that is simulated step by step.

    Parameters
    ----------
    deployment
        Profiles and routing.
    requests
        What arrives.
    replicas
        Replicas that are ready from the start, at least 1 of each.
    startup_s
        Seconds from an order to the first request served.
    seed
        Seed of ``Routing.RANDOM``.

    Raises
    ------
    InvalidInputError
        If counts, durations or requests make no sense.
    """

    def __init__(
        self,
        deployment: Deployment,
        requests: RequestTable,
        replicas: PerPool[int],
        startup_s: PerPool[float],
        *,
        seed: int = 0,
    ) -> None:
        staff = PerPool(*(Staffing(pool, count, startup_s[pool]) for pool, count in replicas.items()))
        self.requests = requests
        self.prefill = LivePrefill(deployment, requests, staff.prefill, seed)
        self.decode = LiveDecode(deployment, requests, staff.decode)
        self.first_token_s: Reals = self.prefill.rows["first_token_s"]
        """By request, seconds; to be read of those that :meth:`advance` has told."""
        self.finished_s = np.full(len(requests), np.nan)
        """Likewise."""
        self._held = np.empty(0, np.int64)  # their pass has ended, their first token is on its way
        self._single = requests.output_tokens == 1
        self.now_s = -math.inf

    @property
    def pools(self) -> PerPool[LivePrefill | LiveDecode]:
        """Both pools."""
        both: PerPool[LivePrefill | LiveDecode] = PerPool(self.prefill, self.decode)
        return both

    def order(self, replicas: PerPool[int]) -> None:
        """Order replicas now, after all that happens at this instant."""
        for pool, live in self.pools.items():
            live.order(self.now_s, replicas[pool])

    def advance(self, until_s: float) -> tuple[Integers, Integers]:
        """Let time pass up to and including ``until_s``.

        Returns
        -------
        tuple[Integers, Integers]
            The requests that got their first token, in that order, and those that finished, in no particular one.

        Notes
        -----
        Both are known at ``until_s`` and not before: a pass whose first tokens are still on their way is not told.
        """
        ended = self.prefill.advance(until_s)
        held = np.concatenate((self._held, ended))
        # Passes that end later may overtake: of two prompts the longer one has more overhead.
        first_s = self.prefill.rows["first_token_s"][held]
        order = np.argsort(first_s, kind="stable")
        held, first_s = held[order], first_s[order]
        there = int(np.searchsorted(first_s, until_s, side="right"))
        self._held = held[there:]
        first = held[:there]
        single = self._single[first]
        decoding = first[~single]
        rows = self.decode.advance(decoding, first_s[:there][~single], until_s)
        self.finished_s[first[single]] = first_s[:there][single]
        decoded = self.decode.rows[rows]
        self.finished_s[decoded["number"]] = decoded["finished_s"]
        self.now_s = until_s
        return first, np.concatenate((first[single], decoded["number"]))

    def records(self) -> Records:
        """Return what happened to all requests; to be asked when all have finished."""
        first_token_s, finished_s = self.first_token_s.copy(), self.finished_s.copy()
        started_s = np.full(len(first_token_s), np.nan)
        started_s[self.decode.rows["number"]] = self.decode.rows["started_s"]
        return Records(
            arrival_s=self.requests.arrival_s,
            first_token_s=first_token_s,
            decode_started_s=started_s,
            finished_s=finished_s,
            ttft_s=first_token_s - self.requests.arrival_s,
            tpot_s=tpot_s(self.requests, first_token_s, finished_s),
            lives=PerPool(self.prefill.lives(), self.decode.lives()),
            prefill_busy_s=self.prefill.busy_s(self.now_s),
        )
