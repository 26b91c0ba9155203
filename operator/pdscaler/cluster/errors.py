"""Errors of talking to the Kubernetes API. Imports ``pdscaler.errors`` only."""

from pdscaler.errors import PdscalerError

UNREACHABLE = "Unreachable"
"""Reason of a request that got no answer: refused, timed out, TLS failed, broke off."""
FORBIDDEN = "Forbidden"
"""Reason of an answer 403."""
NOT_FOUND = "NotFound"
"""Reason of an answer 404."""
CONFLICT = "Conflict"
"""Reason of an answer 409 to a write that stated a resourceVersion."""
EXPIRED = "Expired"
"""Reason of an answer 410: the resourceVersion or continue token is too old."""
SERVER_ERROR = "ServerError"
"""Reason of an answer 5xx that names no reason of its own."""

MAX_MESSAGE = 500
"""Longest message that is kept of what others said, characters."""


class ClusterError(PdscalerError):
    """A request to the Kubernetes API that did not succeed.

    Parameters
    ----------
    reason
        Stable word: the API server's own (``Forbidden``, ``NotFound``, ``Invalid``, …), or ``Unreachable``.
    message
        One line for people, as the API server put it.
    status
        HTTP status; 0 where no answer came.
    """

    def __init__(self, reason: str, message: str, status: int = 0) -> None:
        self.reason = reason
        self.message = message
        self.status = status
        super().__init__(reason, message, status)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def transient(self) -> bool:
        """Whether it says something about the API server's health, and nothing about the object."""
        return self.reason == UNREACHABLE or self.status == 429 or self.status >= 500


class ConflictError(ClusterError):
    """The object changed between the read and the write (409): read again, decide again."""

    def __init__(self, message: str) -> None:
        super().__init__(CONFLICT, message, 409)


def one_line(text: str) -> str:
    """Make one printable line of at most 500 characters of what others said."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"
