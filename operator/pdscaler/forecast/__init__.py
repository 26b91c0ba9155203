"""What load to expect: from what is observed to what is sized for. May import only numpy, core, units and errors.

Each module is one method, a :class:`pdscaler.core.plan.Forecaster`: a pure function of the observed workload and of how
far ahead is asked, seconds. Today there is one, ``last_value``, which is also what ``forecast.method: Auto`` picks.
"""
