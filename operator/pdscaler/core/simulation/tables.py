"""Profiles as arrays for the kernels. May import only numpy, the standard library and core."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.curves import Line, decode_surface, prefill_curve
from pdscaler.core.profile import DecodeProfile, PrefillProfile


class PrefillTable(NamedTuple):
    """Pass times of one prefill profile: the knots of its line, and what else the kernel needs of it."""

    knots: NDArray[np.float64]
    values: NDArray[np.float64]
    tail_slope: float
    fixed_overhead_s: float
    overhead_per_token_s: float
    max_batched_tokens: int


class DecodeTable(NamedTuple):
    """Step times of one decode profile.

    Parameters
    ----------
    contexts
        Measured contexts, tokens, ascending.
    clocks
        For each batch (first axis): its step time at each context, seconds; the integral of that over the context from
        the first one, which is the time in which the batch grows to it; and its slope up to the next context.
    max_batch
        Batch slots.
    kv_capacity_tokens
        KV memory, tokens; infinite where it does not bind.
    """

    contexts: NDArray[np.float64]
    clocks: NDArray[np.float64]
    max_batch: int
    kv_capacity_tokens: float


@lru_cache(maxsize=64)
def prefill_table(profile: PrefillProfile) -> PrefillTable:
    """Return the pass times of a profile."""
    curve = prefill_curve(profile)
    return PrefillTable(
        np.array(curve.line.knots, np.float64),
        np.array(curve.line.values, np.float64),
        float(curve.line.tail_slope),
        float(curve.fixed_overhead_s),
        float(curve.overhead_per_token_s),
        int(profile.max_batched_tokens),
    )


def decode_table(profile: DecodeProfile, derate: float, largest_batch: int) -> DecodeTable:
    """Return the step times of a profile for batches up to ``largest_batch`` or its own limit.

    Parameters
    ----------
    profile
        The profile.
    derate
        Throughput against the measured one: divides the step times.
    largest_batch
        No batch can be larger than the number of requests.
    """
    batches = min(profile.max_batch, largest_batch)
    # Few sizes, so that the cache hits: the next power of two.
    return _decode_table(profile, derate, min(profile.max_batch, 1 << max(4, (batches - 1).bit_length())))


@lru_cache(maxsize=32)
def _decode_table(profile: DecodeProfile, derate: float, batches: int) -> DecodeTable:
    surface = decode_surface(profile)
    sizes = np.arange(batches + 1, dtype=np.float64)
    step_s = np.stack([_along(line, sizes) for line in surface.lines], axis=1) / derate
    contexts = np.array(surface.contexts, np.float64)
    # In the order of the reference, so that the numbers are the same to the last bit.
    elapsed_s, slope = np.zeros_like(step_s), np.zeros_like(step_s)
    for i in range(1, len(contexts)):
        width = contexts[i] - contexts[i - 1]
        elapsed_s[:, i] = elapsed_s[:, i - 1] + width * (step_s[:, i] + step_s[:, i - 1]) / 2
        slope[:, i - 1] = (step_s[:, i] - step_s[:, i - 1]) / width
    capacity = surface.kv_capacity_tokens
    return DecodeTable(
        contexts,
        np.ascontiguousarray(np.stack((step_s, elapsed_s, slope), axis=1)),
        int(surface.max_batch),
        np.inf if capacity is None else float(capacity),
    )


def _along(line: Line, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of a line at many places, each as ``line`` itself computes it."""
    knots, values = np.array(line.knots), np.array(line.values)
    right = np.searchsorted(knots, x, side="right")
    left = np.clip(right - 1, 0, None)
    inner = np.clip(right, None, len(knots) - 1)
    width = np.where(inner > left, knots[inner] - knots[left], 1.0)
    between = values[left] + (values[inner] - values[left]) * ((x - knots[left]) / width)
    beyond = values[-1] + line.tail_slope * (x - knots[-1])
    return np.asarray(np.where(right == 0, values[0], np.where(right == len(knots), beyond, between)))
