"""Tournaments over the keys of a pool's replicas, and the kinds of array the kernels take. May import only numpy."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.void]
Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


def leaves(most: int) -> int:
    """Return the room that a tournament of so many needs: a power of two, at least two."""
    return 1 << max(1, (most - 1).bit_length())


def tournament(keys: Reals) -> Integers:
    """Return the tree of winners: the leaves behind, the root at 1; the least key wins, of equals the lower index."""
    width = len(keys)
    tree = np.arange(-width, width, dtype=np.int64)
    for node in range(width - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
    return tree
