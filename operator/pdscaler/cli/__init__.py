"""pdscaler.cli."""
