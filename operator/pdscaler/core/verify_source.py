"""Where trials get their latencies: the event simulation of one pool, block by block. Imports core; numba when it runs.

Both pools see the same requests. Decode depends on prefill only through the first tokens, so that those of the settled
prefill count are simulated once and serve every trial of decode.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.simulation.requests import RequestTable, draw_requests
from pdscaler.core.simulation.run import Deployment, deployment_of, simulate_decode, simulate_prefill, tpot_s
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verify_scale import Memory, Saturation, decode_memory, prefill_memory
from pdscaler.core.workload import WorkloadStats

MOST_REPLICAS = 1000
"""A prefill pool of more replicas than this is simulated as one in which no request ever waits."""


class Blocks:
    """Blocks of random requests of one workload, each drawn once.

    Parameters
    ----------
    workload
        The load, with known lengths.
    seed
        Block k is drawn with a seed of its own, made of this and k.
    """

    def __init__(self, workload: WorkloadStats, seed: int) -> None:
        self._workload = workload
        self._seed = seed
        self._known: dict[int, RequestTable] = {}

    def __call__(self, block: int, size: int) -> RequestTable:
        """Return the first ``size`` requests of a block: a shorter draw begins a longer one."""
        known = self._known.get(block)
        if known is None or len(known) < size:
            known = self._known[block] = draw_requests(self._workload, size, block_seed(self._seed, block))
        return known.first(size)


def block_seed(seed: int, block: int) -> int:
    """Return the seed of a block: neighbouring blocks and seeds have nothing in common.

    Examples
    --------
    >>> block_seed(0, 1) == block_seed(0, 1), block_seed(0, 1) == block_seed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence((seed, block)).generate_state(1)[0])


class PrefillSource:
    """TTFT of the prefill pool.

    Parameters
    ----------
    spec, workload
        What is sized.
    blocks
        The requests.
    saturation
        The load beyond which the pool's queue grows without bound: how long it remembers depends on it.
    seed
        Of the routing, where it is random.
    """

    def __init__(
        self, spec: SizingSpec, workload: WorkloadStats, blocks: Blocks, saturation: Saturation, *, seed: int
    ) -> None:
        self._spec = spec
        self._workload = workload
        self._blocks = blocks
        self._saturation = saturation
        self._seed = seed
        self._deployment = deployment_of(spec)

    def latencies(self, block: int, size: int, replicas: int) -> NDArray[np.float64]:
        """Simulate a block."""
        requests = self._blocks(block, size)
        return self.first_tokens(block, size, replicas) - requests.arrival_s

    def first_tokens(self, block: int, size: int, replicas: int) -> NDArray[np.float64]:
        """Return when each request of a block has its first token, seconds."""
        requests = self._blocks(block, size)
        if replicas > MOST_REPLICAS:
            return unhindered(self._deployment, requests)
        return simulate_prefill(self._deployment, requests, replicas, seed=block_seed(self._seed, block))

    def alone(self, size: int) -> NDArray[np.float64]:
        """Return the latencies of requests that have a replica to themselves."""
        requests = self._blocks(0, size)
        return unhindered(self._deployment, requests) - requests.arrival_s

    def memory(self, replicas: int) -> Memory:
        """Return how long the pool remembers."""
        return prefill_memory(self._spec, self._workload, replicas, self._saturation)


class DecodeSource:
    """TPOT of the decode pool behind a given prefill pool.

    Parameters
    ----------
    spec, workload
        What is sized.
    blocks
        The requests.
    saturation
        The load beyond which the pool's queue grows without bound.
    first_tokens
        From a block and its size to when each request arrives at decode.
    """

    def __init__(
        self,
        spec: SizingSpec,
        workload: WorkloadStats,
        blocks: Blocks,
        saturation: Saturation,
        *,
        first_tokens: Callable[[int, int], NDArray[np.float64]],
    ) -> None:
        self._spec = spec
        self._workload = workload
        self._blocks = blocks
        self._saturation = saturation
        self._first_tokens = first_tokens
        self._known: dict[int, NDArray[np.float64]] = {}
        self._deployment = deployment_of(spec)

    def latencies(self, block: int, size: int, replicas: int) -> NDArray[np.float64]:
        """Simulate a block; NaN where the answer is one token."""
        requests = self._blocks(block, size)
        known = self._known.get(block)
        if known is None or len(known) < size:
            known = self._known[block] = self._first_tokens(block, size)
        first_token_s = known[:size]
        return tpot_s(requests, first_token_s, simulate_decode(self._deployment, requests, first_token_s, replicas))

    def alone(self, size: int) -> NDArray[np.float64]:
        """Return the latencies of requests that have a replica to themselves; NaN where the answer is one token."""
        return decode_alone(self._deployment, self._blocks(0, size))

    def memory(self, replicas: int) -> Memory:
        """Return how long the pool remembers."""
        return decode_memory(self._spec, self._workload, replicas, self._saturation)


def unhindered(deployment: Deployment, requests: RequestTable) -> NDArray[np.float64]:
    """Return the first tokens of requests that never wait and never share a pass, seconds."""
    curve = prefill_curve(deployment.prefill)
    uncached = requests.input_tokens - requests.prefix_hit_tokens
    lengths, where = np.unique(uncached, return_inverse=True)
    passes = np.array([curve.time_s(float(tokens)) for tokens in lengths])[where]
    overhead = curve.fixed_overhead_s + curve.overhead_per_token_s * requests.input_tokens
    return np.asarray(requests.arrival_s + passes + overhead, np.float64)


def decode_alone(deployment: Deployment, requests: RequestTable) -> NDArray[np.float64]:
    """Return the time per output token of requests that never share a batch, seconds; NaN where it is one token."""
    surface = decode_surface(deployment.decode)
    longest = float(requests.output_tokens.max())
    context = float(requests.input_tokens.max()) + longest
    step_s = max(surface.at_context(1.0, context), surface.at_context(1.0, 1.0)) / deployment.decode_derate
    first_token_s = np.arange(len(requests), dtype=np.float64) * np.float64(2 * longest * step_s)
    return tpot_s(requests, first_token_s, simulate_decode(deployment, requests, first_token_s, 1))
