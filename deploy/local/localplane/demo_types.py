"""What a demo run is about, as values. Imports core and the operator's phases only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec
from pdscaler.simulator.workload import Phase


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played, on what.

    Parameters
    ----------
    title
        Few words for the header.
    resource
        File with the PDDeployment.
    targets
        File with the two Deployments and their namespace.
    load
        Arguments for ``pdscaler emulate`` that name the load.
    phases
        The phases, where they are known beforehand; empty for a trace.
    day
        The same phases as they are played, for the days before; likewise.
    model
        Name of the model, for the metrics of the days before.
    duration_s
        Length of the load, seconds.
    spec
        The PDDeployment as the core reads it.
    namespace, name
        Identity of the PDDeployment.
    target_names
        Names of the two Deployments.
    """

    title: str
    resource: Path
    targets: Path
    load: tuple[str, ...]
    phases: tuple["PhasePlan", ...]
    duration_s: float
    spec: ScalingSpec
    namespace: str
    name: str
    target_names: PerPool[str]
    day: tuple[Phase, ...] = ()
    model: str = ""

    @property
    def looks_ahead_from_s(self) -> float | None:
        """When the first phase begins that shall be foreseen, seconds since the load began; None: there is none."""
        return next((phase.begin_s for phase in self.phases if phase.foreseen), None)


@dataclass(frozen=True, slots=True)
class Step:
    """From when on a rising load needs one replica more.

    Parameters
    ----------
    pool, replicas
        The pool, and the count that it needs then.
    needed_s
        When the nominal load goes beyond what one replica less serves, seconds since the load began.
    """

    pool: Pool
    replicas: int
    needed_s: float


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase (or a slice of a trace) and what the model plans for it.

    Parameters
    ----------
    begin_s, end_s
        Seconds since the load began.
    arrival_rate_rps, input_tokens, output_tokens
        The phase's nominal load; for a slice of a trace, what really arrived.
    planned
        Replicas that the model plans for that load; where it rises, for that of its end.
    arrival_rate_end_rps
        Where the rate goes to in a straight line; None: it stays.
    steps
        When a rising load needs which replica, in order of time.
    foreseen
        A forecast must have the replicas ready before the load needs them.
    ahead
        What the model plans for the phase after it, which a forecast sees coming; None: nothing else.
    """

    name: str
    begin_s: float
    end_s: float
    arrival_rate_rps: float
    input_tokens: float
    output_tokens: float
    planned: PerPool[int]
    arrival_rate_end_rps: float | None = None
    steps: tuple[Step, ...] = ()
    foreseen: bool = False
    ahead: PerPool[int] | None = None

    @property
    def most(self) -> PerPool[int]:
        """What the model plans for this phase or, where that is more, for the one after it."""
        ahead = self.planned if self.ahead is None else self.ahead
        return PerPool(*(max(self.planned[pool], ahead[pool]) for pool in Pool))


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the running demo.

    Parameters
    ----------
    at_s
        Seconds since the load began.
    ordered, ready
        Replicas that ``/scale`` asks for, and ready ones.
    recommended
        What the operator's status recommends; None before it has.
    arrival_rate_rps, ttft_s, tpot_s
        Of the last 15 seconds; None where nothing was seen.
    forecast_rps
        What the operator sizes for, by its own metrics; None where it does not forecast.
    """

    at_s: float
    ordered: PerPool[int]
    ready: PerPool[int]
    recommended: PerPool[int | None]
    arrival_rate_rps: float | None
    ttft_s: float | None
    tpot_s: float | None
    forecast_rps: float | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """One finished request, from the emulator's records."""

    arrival_s: float
    input_tokens: float
    output_tokens: float
    ttft_s: float
    tpot_s: float | None
    e2e_s: float
    met_ttft: bool
    met_tpot: bool


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of requests that met their targets, in [0, 1]."""

    ttft: float
    tpot: float
    joint: float


@dataclass(frozen=True, slots=True)
class StepResult:
    """When a step was ordered and ready, seconds since the load began; None: not before the phase ended."""

    step: Step
    ordered_s: float | None
    ready_s: float | None


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """How a phase went.

    Parameters
    ----------
    observed
        Replicas at its end.
    settled_s
        Seconds after its begin from which on it counts as settled; None where it never did.
    ttft_s, tpot_s
        The statistic of each target over the requests that arrived after settling; None of nothing.
    attainment
        Shares over the same requests; None of nothing.
    problems
        Why it is not as it should be; empty where it is.
    judged
        It settled for long enough to judge the objectives.
    notes
        What else is to be said of it.
    steps
        How far ahead of a rising load each step was.
    """

    plan: PhasePlan
    observed: PerPool[int]
    settled_s: float | None
    ttft_s: float | None
    tpot_s: float | None
    attainment: Shares | None
    problems: tuple[str, ...]
    judged: bool = True
    notes: tuple[str, ...] = ()
    steps: tuple[StepResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What a run left to be judged.

    Parameters
    ----------
    late_s
        How much later than on the days before its load began, seconds; None where there are none.
    forecast
        What the operator said of its last forecast; empty where it had none.
    """

    observations: Sequence[Observation]
    served: Sequence[Served]
    writes: PerPool[int]
    writes_source: str
    foreign_writes: int
    late_s: float | None = None
    forecast: str = ""
