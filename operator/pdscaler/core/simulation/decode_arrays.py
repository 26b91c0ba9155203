"""The arrays of a decode pool that its kernel works on. May import only numpy and this package; compiles nothing."""

import numpy as np

from pdscaler.core.simulation.tournament import Integers, Reals, Rows, leaves, tournament

REPLICA = np.dtype(
    [
        ("batch", "i8"),  # running requests
        ("at_s", "f8"),  # the instant that the following four are of
        ("progress", "f8"),  # tokens that a request running since the replica was last idle would have decoded
        ("resident", "f8"),  # KV tokens of the running requests
        ("context", "f8"),  # resident tokens by running request
        ("elapsed_s", "f8"),  # the batch's clock at that context
        ("waiting_tokens", "f8"),  # prompts in the queue
        ("head", "i8"),  # first request of the queue, -1 where it is empty
        ("tail", "i8"),
        ("is_ready", "i8"),
        ("left_s", "f8"),  # when it was told to leave
        ("gone_s", "f8"),  # when its last request finished
    ],
    align=True,
)
DECODE_REQUEST = np.dtype(
    [
        ("number", "i8"),  # of the request in order of arrival at the front door
        ("first_token_s", "f8"),
        ("input_tokens", "i8"),
        ("output_tokens", "i8"),
        ("following", "i8"),  # the next one in the queue
        ("admission", "i8"),  # counts admissions: of those that end at the same progress the first admitted goes first
        ("started_s", "f8"),
        ("finished_s", "f8"),
    ],
    align=True,
)
RUNNING = np.dtype([("ends_at", "f8"), ("request", "i8")], align=True)
"""Entry of a replica's heap: the progress at which the request has all its tokens."""


class DecodePool:
    """The arrays of a decode pool with ``initial`` idle replicas, and room for ``most`` in all."""

    __slots__ = ("bounds", "counts", "heaps", "next_s", "ready", "replicas", "tree")

    def __init__(self, most: int, initial: int, room: int) -> None:
        self.counts = np.array([0, 0, initial, initial, 0, 0], np.int64)
        self.replicas = np.zeros(most, REPLICA)
        self.replicas["head"] = self.replicas["tail"] = -1
        self.replicas["is_ready"][:initial] = 1
        self.replicas["left_s"] = self.replicas["gone_s"] = np.inf
        self.ready = np.arange(most, dtype=np.int64)  # the first counts[READY] of it, oldest first
        self.bounds = np.zeros(most)  # resident tokens at at_s and the prompts that wait
        self.next_s = np.full(leaves(most), np.inf)  # next departure of each replica
        self.tree = tournament(self.next_s)
        self.heaps = np.zeros((most, room), RUNNING)

    @property
    def arrays(self) -> tuple[Integers, Integers, Reals, Reals, Integers, Rows, Rows]:
        """The arrays in the order in which ``advance_decode`` takes them."""
        return self.counts, self.ready, self.bounds, self.next_s, self.tree, self.replicas, self.heaps
