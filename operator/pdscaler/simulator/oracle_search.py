"""The least counts, window by window, that keep every window within its allowance. May import numpy and core.

All windows are tried at once. A window depends on the one before it (what waits at its begin) and, where answers are
long, on the one behind it. So a miss is put down to the first of neighbouring windows that miss, and to those whose
second half misses more than the whole window may. The latter are tried once more, when their neighbours have settled.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

Misses = Callable[[Integers, Bools], tuple[Integers, Integers]]
"""Counts and the windows that are asked about; misses by window, and those of its second half."""

MOST_ROUNDS = 64
"""A round moves at least one window; in practice about ten suffice."""

_STRIDE = 0.1
"""First step of the search, as a share of the count."""


def settle(start: Integers, bounds: tuple[int, int], allowed: Integers, misses: Misses) -> Integers:
    """Return counts that keep every window within its allowance, as far as the bounds let, and none of which can fall.

    Parameters
    ----------
    start
        Where to begin.
    bounds
        Least and most replicas.
    allowed
        Misses that each window may have.
    misses
        Simulates.
    """
    needs = np.clip(start, *bounds).astype(np.int64)
    every = np.ones(len(needs), bool)
    needs, found = _raised(needs, bounds[1], allowed, misses, every)
    needs = _lowered(needs, bounds[0], allowed, misses, found)
    needs, _ = _raised(needs, bounds[1], allowed, misses, every)
    return needs


def _raised(needs: Integers, most: int, allowed: Integers, misses: Misses, which: Bools) -> tuple[Integers, Integers]:
    """Raise windows that miss; return the counts and the misses. What is met is checked by one run over all windows."""
    found, _ = misses(needs, which)
    for _ in range(MOST_ROUNDS):
        missing = (found > allowed) & (needs < most)
        if not missing.any():
            break
        far = found > 10 * (allowed + 1)
        step = np.where(far, np.ceil(_STRIDE * needs), 1).astype(np.int64)
        needs = np.where(missing, np.minimum(needs + step, most), needs)
        near = _with_neighbours(missing)
        found = np.where(near, misses(needs, near)[0], found)
    return needs, found


def _lowered(needs: Integers, least: int, allowed: Integers, misses: Misses, found: Integers) -> Integers:
    step = np.maximum(1, np.rint(_STRIDE * needs)).astype(np.int64)
    within = found <= allowed
    fixed = (needs <= least) | ~within
    again = np.zeros(len(needs), bool)
    for _ in range(MOST_ROUNDS):
        if fixed.all():
            break
        trial = np.where(fixed, needs, np.maximum(needs - step, least))
        near = _with_neighbours(~fixed)
        whole, second = misses(trial, near)
        bad = near & within & (whole > allowed)
        first = _culprits(bad, ~fixed)
        culprits = first | (bad & ~fixed & (second > allowed))
        needs = np.where(~fixed & ~bad & ~first, trial, needs)
        single = culprits & (step <= 1)
        again |= single & ~first
        fixed |= single | (needs <= least)
        step = np.where(culprits, np.maximum(1, step // 2), step)
    for parity in (0, 1):  # none of these has a neighbour that is tried with it
        tried = again & (np.arange(len(needs)) % 2 == parity)
        if tried.any():
            near = _with_neighbours(tried)
            bad = near & within & (misses(needs - tried, near)[0] > allowed)
            needs = needs - (tried & ~_culprits(bad, tried))
    return needs


def _culprits(bad: Bools, lowered: Bools) -> Bools:
    """Return, for each run of windows that miss, the lowered window that is to blame: its first one, or one beside."""
    found = np.zeros(len(bad), bool)
    for place in np.flatnonzero(bad & ~np.concatenate(([False], bad[:-1]))).tolist():
        beside = (place, place - 1, place + 1)
        for culprit in (each for each in beside if 0 <= each < len(bad) and lowered[each]):
            found[culprit] = True
            break
    return found


def _with_neighbours(which: Bools) -> Bools:
    wider = which.copy()
    wider[1:] |= which[:-1]
    wider[:-1] |= which[1:]
    return wider
