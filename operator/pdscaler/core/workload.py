"""What arrives: rate and length statistics, as values; and "no data" as a value. Imports the standard library only."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Mean and spread of a token count per request.

    Parameters
    ----------
    mean_tokens
        Mean, tokens, > 0.
    scv
        Squared coefficient of variation (variance over squared mean), >= 0.
    atoms
        The distribution where it was measured: (tokens, share) with tokens ascending and the shares adding up to 1, in
        keeping with mean and scv. Empty: log-normal with them (constant where the scv is 0).
    """

    mean_tokens: float
    scv: float = 0.0
    atoms: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadStats:
    """Offered load of one PDDeployment.

    Parameters
    ----------
    arrival_rate_rps
        Arrivals per second at the front door, >= 0.
    isl, osl
        Input and output sequence lengths; None only where nothing arrives, so that there is nothing to measure.
    arrival_scv
        Squared coefficient of variation of the inter-arrival times (1: Poisson).
    prefix_hit_ratio
        Share of the input tokens that the prefix cache serves, in [0, 1).
    """

    arrival_rate_rps: float
    isl: LengthStats | None
    osl: LengthStats | None
    arrival_scv: float = 1.0
    prefix_hit_ratio: float = 0.0


class NoDataReason(StrEnum):
    """Why a quantity is unknown; also the reasons of the condition MetricsAvailable=False."""

    NO_DATA = "NoData"
    STALE_DATA = "StaleData"
    NON_FINITE = "NonFinite"
    PARTIAL_RESPONSE = "PartialResponse"
    PROMETHEUS_UNREACHABLE = "PrometheusUnreachable"
    QUERY_FAILED = "QueryFailed"
    AUTH_FAILED = "AuthFailed"


@dataclass(frozen=True, slots=True)
class NoData:
    """A quantity that is unknown, and why. Unknown is never zero.

    Parameters
    ----------
    reason
        Stable word for conditions and metrics.
    message
        One line for people: which query or object failed, the label values that matched nothing, what is there instead.
    age_s
        Age of the newest sample, seconds; None where there is none.
    """

    reason: NoDataReason
    message: str
    age_s: float | None = None


class ArrivalSource(StrEnum):
    """Where the arrival rate was read."""

    FRONT_DOOR = "FrontDoor"
    PREFILL_COMPLETIONS = "PrefillCompletions"


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """What the engines of one pool report, summed over its replicas; None where the metric is absent."""

    waiting_requests: float | None = None
    running_requests: float | None = None
    kv_usage_ratio: float | None = None
    """Mean share of the KV memory in use over the replicas, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One consistent reading of a PDDeployment's metrics.

    Parameters
    ----------
    workload
        Arrivals and lengths over the window.
    arrival_source
        Where the arrivals were counted.
    ttft_mean_s, tpot_mean_s
        Observed means over the window (sum over count), seconds; None where nothing finished.
    ttft_bucket_s, tpot_bucket_s
        Interval (lower, upper) of histogram buckets that holds the statistic of the target; None where unknown, or
        where the statistic is the mean.
    prefill, decode
        What the engines report.
    alternatives
        Which metric name answered each logical query, such as ``{"arrivals": "llm_d_epp_request_total"}``.
    window_s
        Length of the rate window, seconds.
    observed_at_s
        Time of the newest sample used, seconds since the epoch.
    scrape_interval_s
        Time between the samples of the arrivals, seconds; None where unknown.
    ttft_surely_s, tpot_surely_s
        What the statistic of the target is above beyond chance, seconds (:func:`pdscaler.core.histogram.surely_above`);
        None where so few requests say nothing, or where the statistic is the mean.
    """

    workload: WorkloadStats
    arrival_source: ArrivalSource
    ttft_mean_s: float | None
    tpot_mean_s: float | None
    ttft_bucket_s: tuple[float, float] | None
    tpot_bucket_s: tuple[float, float] | None
    prefill: PoolLoad
    decode: PoolLoad
    alternatives: tuple[tuple[str, str], ...]
    window_s: float
    observed_at_s: float
    scrape_interval_s: float | None = None
    ttft_surely_s: float | None = None
    tpot_surely_s: float | None = None
