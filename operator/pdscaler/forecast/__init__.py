"""pdscaler.forecast."""
