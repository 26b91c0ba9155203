"""pdscaler.api."""
