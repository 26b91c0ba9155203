"""pdscaler.controller."""
