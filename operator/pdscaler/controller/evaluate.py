"""One evaluation, decided and, in mode Auto only, applied. No kopf.

What may not write is never handed a writer: :class:`Advisor` has none, and :class:`Autoscaler` is an advisor with one.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from pdscaler.controller.apply import Actuator, Applied
from pdscaler.controller.evaluation import TargetConflict
from pdscaler.controller.expectation import PRESENT, Expectation
from pdscaler.controller.memory import settle
from pdscaler.controller.prepare import Prepared
from pdscaler.controller.verifier import VerifiesPlans
from pdscaler.core.decision import Decision, PlanInputs, PlanState
from pdscaler.core.plan import plan


@dataclass(frozen=True, slots=True)
class Case:
    """All that one evaluation goes by.

    Parameters
    ----------
    prepared
        The resource.
    inputs
        What was read of metrics and targets.
    state
        What the last evaluation handed over.
    now_s
        The time, seconds since the epoch.
    conflict
        Somebody else who holds one of the targets; None where nobody does.
    expectation
        What load to size for.
    """

    prepared: Prepared
    inputs: PlanInputs
    state: PlanState
    now_s: float
    conflict: TargetConflict | None
    expectation: Expectation = PRESENT


class Evaluates(Protocol):
    """Decides a case, and does what it may."""

    async def evaluate(self, case: Case) -> Applied:
        """Evaluate a case."""


class Advisor:
    """Decides and never writes: it holds nothing that could.

    Parameters
    ----------
    verifier
        Knows what simulation found, and has changes verified; None: the analytic answers count.
    """

    def __init__(self, verifier: VerifiesPlans | None = None) -> None:
        self._verifier = verifier

    def decide(self, case: Case, inputs: PlanInputs, state: PlanState) -> Decision:
        """Plan a case, with newer inputs where something was read since; fewer replicas may wait to be verified."""
        spec, forecaster = case.prepared.spec, case.expectation.forecaster
        inputs = replace(inputs, unforeseen=case.expectation.unforeseen)
        if self._verifier is None:
            return plan(spec, inputs, state, case.now_s, forecaster)
        decision = plan(spec, inputs, state, case.now_s, forecaster, corrector=self._verifier.correction)
        if self._verifier.hold(case.prepared.key, spec.sizing, decision):
            inputs = replace(inputs, verifying=True)
            decision = plan(spec, inputs, state, case.now_s, forecaster, corrector=self._verifier.correction)
        return decision

    async def evaluate(self, case: Case) -> Applied:
        """Decide a case."""
        decision = self.decide(case, case.inputs, case.state)
        return Applied(decision, case.inputs, (), settle(case.state, decision.state, frozenset()))


class Autoscaler:
    """Decides, and orders what was decided.

    Parameters
    ----------
    advisor
        Decides.
    actuator
        Writes ``/scale``.
    """

    def __init__(self, advisor: Advisor, actuator: Actuator) -> None:
        self._advisor = advisor
        self._actuator = actuator

    async def evaluate(self, case: Case) -> Applied:
        """Decide a case and order the decision, unless somebody else holds a target."""
        if case.conflict is not None:
            return await self._advisor.evaluate(case)
        decision = self._advisor.decide(case, case.inputs, case.state)
        return await self._actuator.apply(
            case.prepared,
            case.inputs,
            case.state,
            decision,
            lambda inputs, state: self._advisor.decide(case, inputs, state),
        )
