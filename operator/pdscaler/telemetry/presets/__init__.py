"""Presets: data files that say how engines and front doors name the quantities."""

from pdscaler.telemetry.presets.load import find_preset, load_presets
from pdscaler.telemetry.presets.model import MetricType, Names, Preset, Quantity, Scope, Source

__all__ = ["MetricType", "Names", "Preset", "Quantity", "Scope", "Source", "find_preset", "load_presets"]
