"""pdscaler: right-size the prefill and decode pools of disaggregated LLM inference.

The layers, highest first (import-linter enforces them, see ``pyproject.toml``)::

    cli, controller > telemetry, cluster, simulator, profiler > api > forecast > core > units, errors
"""

__version__ = "0.1.0"
