"""The forecast that expects what is seen now. Imports the standard library and core only."""

from pdscaler.core.workload import WorkloadStats


def last_value(workload: WorkloadStats, horizon_s: float) -> WorkloadStats:
    """Expect the observed workload to stay as it is.

    Parameters
    ----------
    workload
        What is observed now.
    horizon_s
        How far ahead is asked, seconds; it does not matter here.

    Examples
    --------
    >>> now = WorkloadStats(3.0, None, None)
    >>> last_value(now, 195.0) is now
    True
    """
    del horizon_s
    return workload
