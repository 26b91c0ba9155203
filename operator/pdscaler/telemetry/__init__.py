"""pdscaler.telemetry."""
