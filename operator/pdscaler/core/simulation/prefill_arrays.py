"""The arrays of a prefill pool that its kernel works on. May import only numpy and this package; compiles nothing."""

import numpy as np

from pdscaler.core.simulation.tournament import Integers, Reals, Rows, leaves, tournament

REPLICA = np.dtype(
    [
        ("head", "i8"),  # first request of the queue, -1 where it is empty
        ("tail", "i8"),
        ("running", "i8"),  # first request of the running pass; the links of the queue lead to the others
        ("running_count", "i8"),  # 0: idle
        ("running_tokens", "i8"),  # uncached tokens of the pass
        ("unfinished", "i8"),  # those of queue and pass
        ("is_ready", "i8"),
        ("busy_s", "f8"),  # seconds in passes
        ("left_s", "f8"),  # when it was told to leave
        ("gone_s", "f8"),  # when its last pass ended
    ],
    align=True,
)
PREFILL_REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),
        ("input_tokens", "i8"),
        ("uncached_tokens", "i8"),
        ("following", "i8"),  # the next one in the queue
        ("first_token_s", "f8"),
    ],
    align=True,
)


class PrefillPool:
    """The arrays of a prefill pool with ``initial`` idle replicas, and room for ``most`` in all."""

    __slots__ = ("counts", "end_tree", "ends_s", "load_tree", "loads", "ready", "replicas")

    def __init__(self, most: int, initial: int) -> None:
        self.counts = np.array([0, 0, initial, initial, 0, 0], np.int64)
        self.replicas = np.zeros(most + 1, REPLICA)
        self.replicas["head"] = self.replicas["tail"] = -1
        self.replicas["is_ready"][:initial] = 1
        self.replicas["left_s"] = self.replicas["gone_s"] = np.inf
        self.ready = np.arange(most, dtype=np.int64)  # the first counts[READY] of it, oldest first
        self.loads = np.full(leaves(most), np.inf)  # what routing compares; infinite where a replica is not ready
        self.loads[:initial] = 0.0
        self.ends_s = np.full(leaves(most), np.inf)  # end of each replica's pass
        # Tournaments over both: the winner, the older one of equals, is at 1.
        self.load_tree, self.end_tree = tournament(self.loads), tournament(self.ends_s)

    @property
    def arrays(self) -> tuple[Integers, Integers, Reals, Integers, Reals, Integers, Rows]:
        """The arrays in the order in which ``advance_prefill`` takes them."""
        return (
            self.counts, self.ready, self.loads, self.load_tree, self.ends_s, self.end_tree, self.replicas,
        )  # fmt: skip
