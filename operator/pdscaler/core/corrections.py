"""What an engine was found to do beside its profile, and a profile corrected by it. Imports core only.

The corrected profile is an ordinary one: every law, the simulation that verifies a plan, and the key under which it is
remembered see an engine as it is, and know nothing of calibration.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from pdscaler.core.calibration import DERATE_BOUNDS
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import PrefillProfile
from pdscaler.core.spec import SizingModel, SizingSpec

MOST_EXTRA_S = 60.0
"""Overhead of a first token beyond the profile's, at most: nobody transfers a KV cache for longer."""


@dataclass(frozen=True, slots=True)
class EngineCorrection:
    """How one pool's engines differ from their profile.

    Parameters
    ----------
    derate
        Throughput over the profile's, in :data:`pdscaler.core.calibration.DERATE_BOUNDS`; below 1 they are slower.
    extra_s
        Overhead of a first token beyond the profile's, seconds; negative: less. 0 for decode.
    """

    derate: float = 1.0
    extra_s: float = 0.0

    @property
    def rounded(self) -> "EngineCorrection":
        """The same in four decimals and tens of microseconds, as it is kept in a document, within its bounds."""
        derate = min(max(self.derate, DERATE_BOUNDS[0]), DERATE_BOUNDS[1])
        extra_s = min(max(self.extra_s, -MOST_EXTRA_S), MOST_EXTRA_S)
        return EngineCorrection(round(derate, 4), round(extra_s, 5))


AS_PROFILED = EngineCorrection()
NOTHING = PerPool(AS_PROFILED, AS_PROFILED)


def calibratable(spec: SizingSpec) -> bool:
    """Whether a spec is corrected at all: PaperMM1 pins the published formulas, as they are."""
    return spec.model is SizingModel.AUTO


def corrected(spec: SizingSpec, corrections: PerPool[EngineCorrection]) -> SizingSpec:
    """Return a spec whose profiles are those of the engines as they are; the very same where nothing differs."""
    if corrections == NOTHING or not calibratable(spec):
        return spec
    prefill, decode = corrections.prefill, corrections.decode
    return replace(
        spec,
        prefill_profile=_prefill(spec.prefill_profile, prefill.derate, prefill.extra_s),
        decode_derate=spec.decode_derate * decode.derate,
    )


@lru_cache(maxsize=256)
def _prefill(profile: PrefillProfile, derate: float, extra_s: float) -> PrefillProfile:
    maximum = profile.max_throughput
    return replace(
        profile,
        points=tuple(replace(point, latency_s=point.latency_s / derate) for point in profile.points),
        max_throughput=None
        if maximum is None
        else replace(maximum, tokens_per_second=maximum.tokens_per_second * derate),
        overhead=replace(profile.overhead, fixed_s=max(0.0, profile.overhead.fixed_s + extra_s)),
    )
