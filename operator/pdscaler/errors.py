"""Errors of the project. Imports only what makes text printable.

Every error a user can cause is a :class:`PdscalerError`: the command line prints its one line and exits with
:attr:`PdscalerError.exit_status`; the controller turns it into a condition.
"""

from pdscaler.printable import printable


class PdscalerError(Exception):
    """Base of the errors that a user can cause or must be told of; ``str()`` is one clear line."""

    exit_status = 2


class InvalidInputError(PdscalerError):
    """Input that cannot be used.

    Parameters
    ----------
    field
        Path of the field, as the user wrote it (``spec.slo.ttft.target``); empty where there is none.
    problem
        What is wrong and how to mend it: ``"fast" is not a duration (write 2s, 350ms or 6500us)``.
    source
        File or object that holds the field (``pdd.yaml``, ``trace.csv line 4182``); empty where unknown.
    """

    def __init__(self, field: str, problem: str, source: str = "") -> None:
        self.field = field
        self.problem = problem
        self.source = source
        super().__init__(field, problem, source)

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.source, self.field, self.problem) if part))

    def with_source(self, source: str) -> "InvalidInputError":
        """Return the same error, naming the file or object that holds the field."""
        return type(self)(self.field, self.problem, source)


class NotSupportedYetError(InvalidInputError):
    """A value that the contract knows and this release does not implement."""
