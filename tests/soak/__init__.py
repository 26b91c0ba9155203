"""Random faults against a running operator on real parts, with invariants watched all the time (`make soak`)."""
