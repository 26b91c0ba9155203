"""The sessions of all endpoints that are asked, the ones not used for longest given up. Imports telemetry only."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.lane import SESSIONS, Asks, Lane
from pdscaler.telemetry.reader import ReadError
from pdscaler.telemetry.text import shown

_MOST = 64


class QueryError(Exception):
    """A query that failed.

    Parameters
    ----------
    asked
        What was asked for, in words.
    error
        Why there is no answer.
    """

    def __init__(self, asked: str, error: ReadError) -> None:
        self.asked = asked
        self.error = error
        super().__init__(str(error))


def problem_of(endpoint: Endpoint, error: ReadError, asked: str = "") -> str:
    """Return in one line which endpoint failed, at what, and how."""
    what = f", asked for {asked}," if asked else ""
    return f"endpoint {shown(endpoint.name, 128)}{what} {error.problem}"


class Lanes:
    """Keeps the sessions with each endpoint.

    Parameters
    ----------
    make_reader
        Makes a session with an endpoint.
    sessions
        Questions in flight per endpoint.
    """

    def __init__(self, make_reader: Callable[[Endpoint], Asks], sessions: int = SESSIONS) -> None:
        self._make_reader = make_reader
        self._sessions = sessions
        self._lanes: dict[Endpoint, Lane] = {}
        self._in_use: Counter[Endpoint] = Counter()
        self._asked_of_closed = 0

    def __len__(self) -> int:
        """Return of how many endpoints sessions are kept."""
        return len(self._lanes)

    @property
    def asked(self) -> int:
        """Questions asked since the start."""
        return self._asked_of_closed + sum(lane.asked for lane in self._lanes.values())

    @contextmanager
    def using(self, endpoints: Iterable[Endpoint]) -> Iterator[list[Lane]]:
        """Hand out the sessions of some endpoints, which make no room for others' meanwhile."""
        wanted = list(endpoints)
        self._in_use.update(wanted)
        try:
            yield [self._lane(endpoint) for endpoint in wanted]
        finally:
            self._in_use.subtract(wanted)
            self._make_room()

    def close(self) -> None:
        """Close all sessions."""
        for endpoint in list(self._lanes):
            self._drop(endpoint)

    def _lane(self, endpoint: Endpoint) -> Lane:
        lane = self._lanes.pop(endpoint, None) or Lane(endpoint, self._make_reader, self._sessions)
        self._lanes[endpoint] = lane
        return lane

    def _make_room(self) -> None:
        """Close the sessions that were not used for longest; never those that are being asked."""
        self._in_use += Counter()  # what has come down to 0 is left out
        spare = [endpoint for endpoint in self._lanes if endpoint not in self._in_use]
        for endpoint in spare[: max(0, len(self._lanes) - _MOST)]:
            self._drop(endpoint)

    def _drop(self, endpoint: Endpoint) -> None:
        lane = self._lanes.pop(endpoint)
        self._asked_of_closed += lane.asked
        lane.close()
