"""The annotations that pause a PDDeployment (they survive GitOps). May import only core."""

from collections.abc import Mapping

from pdscaler.core.decision import Paused

PAUSED = "pdscaler.io/paused"
PAUSED_SCALE_UP = "pdscaler.io/paused-scale-up"
PAUSED_SCALE_DOWN = "pdscaler.io/paused-scale-down"

_NOT_PAUSED = frozenset({"false", "no", "off", "0"})


def paused_of(annotations: Mapping[str, str]) -> Paused:
    """Return which directions are paused.

    Whoever sets one of the annotations means to pause: any value but a plain "false" does.

    Examples
    --------
    >>> paused_of({"pdscaler.io/paused-scale-down": "true"})
    Paused(scale_up=False, scale_down=True)
    """
    both = _is_set(annotations.get(PAUSED))
    return Paused(
        scale_up=both or _is_set(annotations.get(PAUSED_SCALE_UP)),
        scale_down=both or _is_set(annotations.get(PAUSED_SCALE_DOWN)),
    )


def _is_set(value: str | None) -> bool:
    return value is not None and str(value).strip().lower() not in _NOT_PAUSED
