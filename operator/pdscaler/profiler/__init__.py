"""pdscaler.profiler."""
