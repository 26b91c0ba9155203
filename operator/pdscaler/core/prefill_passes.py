"""How prompts share passes: prompts in a full pass, pass time against prompts, throughput. Imports core only.

A pass takes whole prompts in order while their sum fits the token budget, and always the first (DESIGN section 6).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from pdscaler.core.curves import Line
from pdscaler.core.prefill_lengths import PromptLengths

_BUDGETS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.5, 8.0, 16.0, 40.0)
_VARIATIONS = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_FULL = (
    (1.000, 1.000, 1.000, 1.000, 1.000, 1.000, 1.000),
    (1.000, 1.000, 1.000, 1.001, 1.011, 1.044, 1.105),
    (1.000, 1.000, 1.003, 1.023, 1.078, 1.169, 1.292),
    (1.000, 1.003, 1.026, 1.087, 1.188, 1.324, 1.492),
    (1.000, 1.027, 1.088, 1.187, 1.322, 1.492, 1.694),
    (1.002, 1.094, 1.187, 1.311, 1.472, 1.668, 1.898),
    (1.034, 1.207, 1.315, 1.454, 1.631, 1.848, 2.103),
    (1.175, 1.358, 1.466, 1.611, 1.800, 2.032, 2.306),
    (1.450, 1.538, 1.635, 1.779, 1.975, 2.220, 2.513),
    (1.984, 1.954, 2.015, 2.143, 2.340, 2.603, 2.925),
    (2.467, 2.413, 2.433, 2.532, 2.723, 2.994, 3.337),
    (3.472, 3.384, 3.339, 3.373, 3.529, 3.796, 4.173),
    (4.976, 4.876, 4.782, 4.725, 4.806, 5.051, 5.441),
    (7.475, 7.375, 7.258, 7.107, 7.055, 7.215, 7.597),
    (15.475, 15.376, 15.246, 15.018, 14.709, 14.559, 14.745),
    (39.474, 39.370, 39.250, 39.003, 38.523, 37.905, 37.434),
)
"""Mean prompts in a pass when the queue never ends: rows by budget over mean length, columns by length scv.

Counted over 1.5 million log-normal prompts packed in order. Far up it tends to budget − (1 + scv) / 2: what is left
open is the part that a prompt straddling the budget has already filled (the age of a renewal process).
"""

_LADDER = (
    1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5, 9.0, 11.0, 14.0, 18.0, 24.0, 32.0,
    44.0, 64.0, 96.0, 160.0, 320.0, 1000.0, 4000.0, 16000.0,
)  # fmt: skip
"""Prompts in a pass at which pass times are tabulated; steps of a tenth to a fifth where most passes are."""


@dataclass(frozen=True, slots=True)
class PassTable:
    """Pass time against the (mean) number of prompts in it, for one mix of lengths.

    Parameters
    ----------
    prompts
        1 = first node, ascending; the last is the mean number in a full pass.
    pass_s
        Mean time of a pass with so many, seconds.
    envelope_s
        The same, lowered to where throughput never falls as passes grow: prompts / max throughput so far.
    single_s
        Time of a pass over one prompt.
    peak_rps
        Greatest throughput of any pass size.
    saturation_rps
        Throughput of full passes, requests/s: more than it is never served, whatever the pass sizes on the way.
    full
        Mean prompts in a full pass (in a cautious table the least of any variation up to the given one).
    """

    prompts: tuple[float, ...]
    pass_s: tuple[float, ...]
    envelope_s: tuple[float, ...]
    single_s: float
    peak_rps: float
    saturation_rps: float
    full: float


def full_pass(budget: float, scv: float) -> float:
    """Return the mean number of prompts in a full pass.

    Parameters
    ----------
    budget
        Token budget over mean prompt length.
    scv
        Squared coefficient of variation of the lengths.

    Examples
    --------
    >>> full_pass(5.5, 0.0), round(full_pass(5.5, 1.0), 2), full_pass(0.5, 0.0)
    (5.0, 4.72, 1.0)
    """
    constant = max(1.0, float(math.floor(budget * (1 + 1e-12))))
    if scv <= 0:
        return constant
    if scv < _VARIATIONS[0]:
        share = scv / _VARIATIONS[0]
        return constant + (_column(budget, 0) - constant) * share
    if scv >= _VARIATIONS[-1]:
        return _column(budget, len(_VARIATIONS) - 1)
    right = bisect_right(_VARIATIONS, scv)
    low, high = _column(budget, right - 1), _column(budget, right)
    return low + (high - low) * ((scv - _VARIATIONS[right - 1]) / (_VARIATIONS[right] - _VARIATIONS[right - 1]))


def least_full_pass(budget: float, scv: float) -> float:
    """Return the least :func:`full_pass` of any variation up to ``scv``: it never grows with the variation."""
    least = min(full_pass(budget, 0.0), full_pass(budget, scv))
    for index, variation in enumerate(_VARIATIONS):
        if variation >= scv:
            break
        least = min(least, _column(budget, index))
    return least


def pass_table(line: Line, lengths: PromptLengths, budget_tokens: float) -> PassTable:
    """Tabulate pass times of one mix of lengths.

    Notes
    -----
    A pass of n prompts takes p(n m) + E[p(X)] − p(m), m the mean length: the mean pass at n = 1, and the curve beyond,
    where the sum of n lengths varies little.
    """
    budget = budget_tokens / lengths.tokens
    return _table(line, lengths.tokens, lengths.pass_s, full_pass(budget, lengths.scv), ())


def cautious_pass_table(line: Line, lengths: PromptLengths, budget_tokens: float) -> PassTable:
    """Tabulate pass times such that nothing gets faster as the lengths vary more, for P95 and P99.

    Prompts that vary can pack better than constant ones (two of 5000 tokens exceed a budget of 8192, two that vary may
    not). The gain is left out here.
    """
    budget = budget_tokens / lengths.tokens
    constant, varied = full_pass(budget, 0.0), full_pass(budget, lengths.scv)
    others = (constant, varied, least_full_pass(budget, lengths.scv))
    return _table(line, lengths.tokens, lengths.convex_pass_s, max(constant, varied), others)


def flatness(line: Line, tokens: float, budget_tokens: float) -> float:
    """Return how little longer passes take longer: 1 not at all up to some size, 0 in proportion or more.

    Examples
    --------
    >>> round(flatness(Line((0.0, 1000.0), (0.03, 0.04), 0.00001), 1000.0, 8192.0), 2)
    0.75
    """
    single_s = line(tokens)
    counts = _LADDER[1 : bisect_right(_LADDER, budget_tokens / tokens)]
    slope = min(((line(count * tokens) - single_s) / (count - 1) for count in counts), default=single_s)
    return 1.0 - min(1.0, slope / single_s)


def _table(line: Line, tokens: float, single_s: float, full: float, others: tuple[float, ...]) -> PassTable:
    offset_s = single_s - line(tokens)
    prompts = [*_LADDER[: bisect_right(_LADDER, full * 0.999)], full] if full > 1 else [1.0]
    pass_s = [line(count * tokens) + offset_s for count in prompts]
    pass_s[0] = single_s
    peak_rps = 0.0
    envelope_s = []
    for count, seconds in zip(prompts, pass_s, strict=True):
        peak_rps = max(peak_rps, count / seconds)
        envelope_s.append(count / peak_rps)
    saturation_rps = prompts[-1] / pass_s[-1]
    for count in others:
        rate = count / (line(count * tokens) + offset_s)
        saturation_rps = min(saturation_rps, rate)
    if others:
        least = min(others)
        sizes = [*(count for count in prompts if count < least), least]
        peak_rps = min(peak_rps, max(count / (line(count * tokens) + offset_s) for count in sizes))
    return PassTable(
        prompts=tuple(prompts),
        pass_s=tuple(pass_s),
        envelope_s=tuple(envelope_s),
        single_s=single_s,
        peak_rps=peak_rps,
        saturation_rps=saturation_rps,
        full=min([full, *others]),
    )


def _column(budget: float, index: int) -> float:
    """Return the tabulated number at one variation, linear in the budget."""
    right = bisect_right(_BUDGETS, budget)
    if right == len(_BUDGETS):
        return _FULL[-1][index] + budget - _BUDGETS[-1]
    low, high = _FULL[right - 1][index], _FULL[right][index]
    return low + (high - low) * ((budget - _BUDGETS[right - 1]) / (_BUDGETS[right] - _BUDGETS[right - 1]))
