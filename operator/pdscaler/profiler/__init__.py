"""Engine profiles from measurements. May import api, core, units and errors; no cluster, no telemetry, no simulator."""
