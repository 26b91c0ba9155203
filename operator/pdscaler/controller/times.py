"""Times as status and logs write them: RFC 3339 in UTC. Imports the standard library only."""

from datetime import UTC, datetime


def rfc3339(at_s: float, milliseconds: bool = False) -> str:
    """Write seconds since the epoch as an RFC 3339 time in UTC.

    Examples
    --------
    >>> rfc3339(0.0), rfc3339(1.5, milliseconds=True)
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:01.500Z')
    """
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds" if milliseconds else "seconds")
    return text.replace("+00:00", "Z")


def parse_rfc3339(text: str | None) -> float | None:
    """Read an RFC 3339 time as seconds since the epoch; None where it is missing or no such time.

    Examples
    --------
    >>> parse_rfc3339("1970-01-01T00:00:01.500Z"), parse_rfc3339("yesterday")
    (1.5, None)
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
