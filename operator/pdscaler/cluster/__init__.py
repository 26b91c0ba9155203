"""pdscaler.cluster."""
