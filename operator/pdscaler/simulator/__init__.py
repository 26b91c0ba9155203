"""pdscaler.simulator."""
