"""What decode needs to know of the lengths of requests: moments, a few representatives. Imports core only."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from pdscaler.core.workload import LengthStats

SHORTEST = 1.5
"""A log-normal output shorter than this, tokens, rounds to one token: it never decodes."""

REPRESENTATIVES = 8
"""Equally likely steps that stand for a log-normal distribution of output lengths."""

_NORMAL = NormalDist()
_LEVELS = tuple(_NORMAL.inv_cdf((index + 0.5) / REPRESENTATIVES) for index in range(REPRESENTATIVES))


@dataclass(frozen=True, slots=True)
class DecodeLengths:
    """Lengths of the requests that decode, those of at least two output tokens.

    Parameters
    ----------
    share
        Share of all requests that decode.
    steps
        Mean steps of one of them, E[OSL − 1], tokens.
    steps_scv
        Squared coefficient of variation of the steps.
    prompt
        Mean input tokens.
    context, context_variance
        Resident tokens of a request found running at a random time: the prompt, and a uniform share of a length-biased
        output (a request with twice the output stays twice as long).
    own_context, own_variance
        A request's resident tokens averaged over its own stay, over requests.
    output
        The distribution of output tokens, for what needs more than moments.

    Notes
    -----
    With N the steps, I the prompt: context = E[I] + E[N²] / 2E[N]; its variance Var(I) + E[N³] / 3E[N] −
    (E[N²] / 2E[N])²; own context = E[I] + E[N] / 2.
    """

    share: float
    steps: float
    steps_scv: float
    prompt: float
    context: float
    context_variance: float
    own_context: float
    own_variance: float
    output: LengthStats

    def representatives(self) -> list[tuple[float, float]]:
        """Return (steps, share) of a few requests that stand for all that decode, steps ascending."""
        if self.output.atoms:
            return _merged([(tokens - 1.0, share) for tokens, share in self.output.atoms if tokens >= SHORTEST])
        if self.output.scv <= 0:
            return [(self.steps, 1.0)]
        sigma = math.sqrt(math.log1p(self.output.scv))
        middle = math.log(self.output.mean_tokens) - sigma * sigma / 2
        steps = [max(1.0, math.exp(middle + sigma * level) - 1.0) for level in _LEVELS]
        return [(count, 1.0 / REPRESENTATIVES) for count in steps]


def _merged(atoms: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return neighbouring atoms merged into groups of about 1 / (2 REPRESENTATIVES) of all, shares adding up to 1."""
    total = math.fsum(share for _, share in atoms)
    groups: list[tuple[float, float]] = []
    tokens = weight = 0.0
    for steps, share in atoms:
        tokens, weight = tokens + steps * share, weight + share
        if weight >= total / (2 * REPRESENTATIVES):
            groups.append((tokens / weight, weight / total))
            tokens = weight = 0.0
    if weight > 0:
        groups.append((tokens / weight, weight / total))
    return groups


def decode_lengths(isl: LengthStats, osl: LengthStats) -> DecodeLengths:
    """Work out what decode needs of the input and output lengths."""
    share, first, second, third = _step_moments(osl)
    prompt = isl.mean_tokens
    prompt_variance = prompt * prompt * max(0.0, isl.scv)
    if share <= 0 or first <= 0:
        return DecodeLengths(0.0, 0.0, 0.0, prompt, prompt, prompt_variance, prompt, prompt_variance, osl)
    progress = second / (2 * first)
    variance = max(0.0, second - first * first)
    return DecodeLengths(
        share=share,
        steps=first,
        steps_scv=variance / (first * first),
        prompt=prompt,
        context=prompt + progress,
        context_variance=prompt_variance + max(0.0, third / (3 * first) - progress * progress),
        own_context=prompt + first / 2,
        own_variance=prompt_variance + variance / 4,
        output=osl,
    )


def _step_moments(osl: LengthStats) -> tuple[float, float, float, float]:
    """Return P(N >= 1), and E[N], E[N²], E[N³] of the steps N = OSL − 1 of those that have any."""
    if osl.atoms:
        kept = [(tokens - 1.0, share) for tokens, share in osl.atoms if tokens >= SHORTEST]
        share = math.fsum(weight for _, weight in kept)
        if share <= 0:
            return 0.0, 0.0, 0.0, 0.0
        first, second, third = (math.fsum(weight * steps**k for steps, weight in kept) / share for k in (1, 2, 3))
        return share, first, second, third
    mean = osl.mean_tokens
    if osl.scv <= 0:
        steps = mean - 1.0
        return (1.0 if steps > 0 else 0.0), steps, steps * steps, steps**3
    # Partial moments of the log-normal above SHORTEST: E[X^k; X > a] = E[X^k] Phi(k sigma - (ln a - mu) / sigma).
    variance = math.log1p(osl.scv)
    sigma = math.sqrt(variance)
    edge = (math.log(SHORTEST / mean) + variance / 2) / sigma
    above = [mean**k * (1 + osl.scv) ** (k * (k - 1) / 2) * _NORMAL.cdf(k * sigma - edge) for k in range(4)]
    share = above[0]
    if share < 1e-9:
        return 0.0, 0.0, 0.0, 0.0
    first = (above[1] - above[0]) / share
    second = (above[2] - 2 * above[1] + above[0]) / share
    third = (above[3] - 3 * above[2] + 3 * above[1] - above[0]) / share
    return share, first, max(second, first * first), max(third, first**3)
