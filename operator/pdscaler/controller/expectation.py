"""What load one case is sized for, as a value. Imports core and the forecast."""

from dataclasses import dataclass

from pdscaler.core.plan import Forecaster
from pdscaler.forecast import Forecast
from pdscaler.forecast.last_value import last_value


@dataclass(frozen=True, slots=True)
class Expectation:
    """What load a PDDeployment has to expect.

    Parameters
    ----------
    forecaster
        Gives the load to size for.
    forecast
        The forecast it is from; None where the load seen now counts.
    fallback
        Why that forecast is not what was asked for; empty where it is.
    unforeseen
        Why fewer replicas must wait, in a few words; empty where they need not.
    """

    forecaster: Forecaster = last_value
    forecast: Forecast | None = None
    fallback: str = ""
    unforeseen: str = ""


PRESENT = Expectation()
"""The load seen now."""
