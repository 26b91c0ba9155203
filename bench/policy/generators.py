"""Seeded synthetic traces: how the rate and the lengths go over time. Imports numpy and pdscaler's core.

Arrivals are a gamma process in operational time: unit-rate gaps of a squared coefficient of variation (1: Poisson)
are laid along the integral of the rate. Lengths are log-normal around means that may drift. Rate, gaps, prompts and
answers have random streams of their own, so that changing one leaves the others.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.simulation.requests import RequestTable, draw_gaps, draw_lengths
from pdscaler.core.workload import LengthStats
from pdscaler.errors import InvalidInputError

Reals = NDArray[np.float64]
Rate = Callable[[Reals, np.random.Generator], Reals]

STEP_S = 5.0
"""The rate is linear between points of this distance."""

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of traffic.

    Parameters
    ----------
    title
        What a person calls it.
    text
        What happens, in one line.
    hours
        Length.
    rate
        Requests/s at points of time (seconds), with a generator for what is random in it.
    isl, osl
        Mean and spread of prompts and answers at the begin, tokens.
    drift_to
        Means of prompts and answers at the end; they drift linearly over the middle half. None: they stay.
    arrival_scv
        Squared coefficient of variation of the gaps at a constant rate; 1 is Poisson.
    ttft_s, tpot_s
        P99 targets that make sense for it on the engine of the benchmark, seconds.
    """

    title: str
    text: str
    hours: float
    rate: Rate
    isl: LengthStats
    osl: LengthStats
    drift_to: tuple[float, float] | None = None
    arrival_scv: float = 1.0
    ttft_s: float = 0.4
    tpot_s: float = 0.015


def generate(shape: Shape, seed: int, *, rate_scale: float = 1.0, hours: float | None = None) -> RequestTable:
    """Draw the requests of a shape.

    Parameters
    ----------
    shape
        The kind of traffic.
    seed
        Of all that is random, at least 0; the same seed gives the same requests.
    rate_scale
        Multiplies the rate, > 0.
    hours
        Cuts the shape's length; a cut stream is the beginning of the whole one.

    Raises
    ------
    InvalidInputError
        If the scale is not above 0, or nothing arrives.
    """
    if not 0 < rate_scale < math.inf:
        raise InvalidInputError("rate_scale", f"is {rate_scale}, expected a number above 0")
    span_s = HOUR_S * shape.hours
    at_s = np.arange(0.0, span_s + STEP_S, STEP_S)
    rates, gaps, inputs, outputs = (np.random.default_rng([seed, stream]) for stream in range(4))
    rate_rps = np.maximum(0.0, shape.rate(at_s, rates)) * rate_scale
    grown = np.concatenate(([0.0], np.cumsum((rate_rps[1:] + rate_rps[:-1]) / 2 * STEP_S)))
    until = float(np.interp(min(span_s, HOUR_S * (hours or shape.hours)), at_s, grown))
    arrival_s = np.interp(_unit_arrivals(until, shape.arrival_scv, gaps), grown, at_s)
    if not len(arrival_s):
        raise InvalidInputError("rate_scale", f"nothing arrives at {rate_scale:g} times the rate")
    ends = shape.drift_to or (shape.isl.mean_tokens, shape.osl.mean_tokens)
    share = np.clip((arrival_s / span_s - 0.25) / 0.5, 0.0, 1.0)
    input_tokens, output_tokens = (
        _lengths(stats, 1 + share * (end / stats.mean_tokens - 1), rng)
        for stats, end, rng in ((shape.isl, ends[0], inputs), (shape.osl, ends[1], outputs))
    )
    return RequestTable(arrival_s, input_tokens, output_tokens, np.zeros_like(input_tokens))


def _unit_arrivals(until: float, scv: float, rng: np.random.Generator) -> Reals:
    """Return the arrivals of a renewal process of rate 1 up to ``until``."""
    pieces, last = [], 0.0
    while last < until:
        piece = last + np.cumsum(draw_gaps(scv, rng, 65_536))
        pieces.append(piece)
        last = float(piece[-1])
    arrivals = np.concatenate(pieces) if pieces else np.empty(0)
    return np.asarray(arrivals[arrivals < until], np.float64)


def _lengths(stats: LengthStats, factor: Reals, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw lengths whose mean is ``factor`` times that of ``stats``."""
    fine = 1000  # drawn in thousandths, so that a factor below 1 keeps the distribution
    drawn = draw_lengths(LengthStats(stats.mean_tokens * fine, stats.scv), rng, len(factor))
    return np.asarray(np.maximum(1, np.rint(drawn * factor / fine)), np.int64)


def wander(rng: np.random.Generator, count: int, tau_s: float, deviation: float) -> Reals:
    """Return a stationary autoregressive path of mean 0 in steps of :data:`STEP_S`.

    Parameters
    ----------
    rng
        Its randomness.
    count
        Points.
    tau_s
        Time in which its memory falls to 1/e, seconds.
    deviation
        Standard deviation.
    """
    from scipy.signal import lfilter

    memory = math.exp(-STEP_S / tau_s)
    shocks = rng.standard_normal(count) * deviation * math.sqrt(1 - memory**2)
    shocks[0] = rng.standard_normal() * deviation
    return np.asarray(lfilter([1.0], [1.0, -memory], shocks), np.float64)


def _constant(level: float) -> Rate:
    return lambda at_s, rng: np.full(len(at_s), level)  # noqa: ARG005 - nothing is random in it


def _diurnal(at_s: Reals, rng: np.random.Generator) -> Reals:
    """From 6 at night to 42 requests/s in the afternoon, with quarters of an hour that are busier than others."""
    day = 24.0 - 18.0 * np.cos(2 * np.pi * at_s / (24 * HOUR_S))
    return np.asarray(day * np.exp(wander(rng, len(at_s), 900.0, 0.08)), np.float64)


def _flash(at_s: Reals, rng: np.random.Generator) -> Reals:
    """Four times the load within a minute, which fades over a quarter of an hour; three times in the run."""
    rate = np.full(len(at_s), 30.0)
    for hour in (0.9, 1.7, 2.4):
        begin_s = HOUR_S * hour + rng.uniform(-300.0, 300.0)
        since_s = at_s - begin_s
        rise = np.clip(since_s / 60.0, 0.0, 1.0)
        rate += 90.0 * rise * np.exp(-np.maximum(0.0, since_s - 300.0) / 400.0)
    return rate


def _steps(at_s: Reals, rng: np.random.Generator) -> Reals:  # noqa: ARG001 - nothing is random in it
    """Up threefold, down by half, up again: each within seconds."""
    return np.asarray(np.interp(at_s, *np.array(
        [(0, 30), (3600, 30), (3605, 90), (5400, 90), (5405, 45), (7200, 45), (7205, 70), (9000, 70)], float
    ).T), np.float64)  # fmt: skip


def _on_off(at_s: Reals, rng: np.random.Generator) -> Reals:
    """Bursts of some minutes at 90 requests/s, breaks of some minutes at 4."""
    rate = np.full(len(at_s), 4.0)
    begin_s, end_s = 0.0, float(at_s[-1])
    while begin_s < end_s:
        begin_s += rng.exponential(240.0) + 30.0
        until_s = begin_s + rng.exponential(180.0) + 30.0
        rate[(at_s >= begin_s) & (at_s < until_s)] = 90.0
        begin_s = until_s
    return rate


def _growth(at_s: Reals, rng: np.random.Generator) -> Reals:
    """Fivefold in four hours, evenly, with a little unrest."""
    return np.asarray((20.0 + 20.0 * at_s / HOUR_S) * np.exp(wander(rng, len(at_s), 600.0, 0.05)), np.float64)


def _bursty(at_s: Reals, rng: np.random.Generator) -> Reals:
    """A chat service: bursts of minutes on waves of half-hours on a day."""
    slow = 1 + 0.5 * np.sin(2 * np.pi * at_s / (24 * HOUR_S))
    noise = wander(rng, len(at_s), 120.0, 0.3) + wander(rng, len(at_s), 1800.0, 0.25)
    return np.asarray(30.0 * slow * np.exp(noise), np.float64)


def _reasoning(at_s: Reals, rng: np.random.Generator) -> Reals:
    """A reasoning service over a working day: few requests, long answers."""
    day = 1 + 0.6 * np.sin(2 * np.pi * at_s / (24 * HOUR_S) - 1)
    return np.asarray(16.0 * day * np.exp(wander(rng, len(at_s), 900.0, 0.15)), np.float64)


CHAT_ISL, CHAT_OSL = LengthStats(1100.0, 0.8), LengthStats(210.0, 0.6)

SHAPES: Final[Mapping[str, Shape]] = {
    "constant": Shape("constant", "60 requests/s, Poisson", 2.0, _constant(60.0), CHAT_ISL, CHAT_OSL),
    "diurnal": Shape("diurnal", "a day, 6 to 42 requests/s", 24.0, _diurnal, CHAT_ISL, CHAT_OSL),
    "flash-crowd": Shape("flash crowd", "30 requests/s, thrice four times as many", 3.0, _flash, CHAT_ISL, CHAT_OSL),
    "step": Shape("step", "30, 90, 45, 70 requests/s, each within 5 s", 2.5, _steps, CHAT_ISL, CHAT_OSL),
    "on-off": Shape(
        "on/off", "bursts of minutes at 90 requests/s, breaks at 4; gaps of scv 4", 3.0, _on_off,
        LengthStats(2000.0, 1.0), LengthStats(60.0, 2.0), arrival_scv=4.0, ttft_s=0.6,
    ),
    "mix-drift": Shape(
        "mix drift", "30 requests/s; from summarising (4000 in, 120 out) to reasoning (600 in, 1200 out)", 3.0,
        _constant(30.0), LengthStats(4000.0, 0.3), LengthStats(120.0, 0.5), drift_to=(600.0, 1200.0), ttft_s=0.8,
    ),
    "slow-growth": Shape("slow growth", "20 to 100 requests/s in four hours", 4.0, _growth, CHAT_ISL, CHAT_OSL),
    "bursty-chat": Shape(
        "bursty chat", "about 40 requests/s, bursts of minutes; gaps of scv 2", 6.0, _bursty,
        LengthStats(1200.0, 1.4), LengthStats(200.0, 0.64), arrival_scv=2.0,
    ),
    "reasoning-day": Shape(
        "reasoning day", "6 to 25 requests/s, answers of 1500 tokens", 8.0, _reasoning,
        LengthStats(800.0, 1.0), LengthStats(1500.0, 0.64),
    ),
}  # fmt: skip
