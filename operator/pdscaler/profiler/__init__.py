"""Engine profiles from measurements: other tools' results become the profile blocks of a PDDeployment.

``measured`` reads a file of measurements. May import pydantic, api, core, units and errors; no cluster, no telemetry,
no simulator.
"""
