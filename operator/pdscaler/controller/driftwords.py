"""How far engines are off their profile, in words. May import core and units only: the command line says them, too."""

from pdscaler.core.pools import Pool
from pdscaler.units import format_number


def drift_words(pool: Pool, drift: float | None) -> str:
    """Say how far a pool's engines are off their profile: ``mean TPOT is 42 % above what its profile says``."""
    if drift is None:
        return ""
    name = "TTFT" if pool is Pool.PREFILL else "TPOT"
    side = "above" if drift > 0 else "below"
    return f"mean {name} is {format_number(100 * abs(drift), 2)} % {side} what its profile says"
