"""Errors of the launcher: one clear line each. Imports ``pdscaler.errors`` only."""

from pathlib import Path

from pdscaler.errors import PdscalerError


class LocalPlaneError(PdscalerError):
    """The local control plane cannot be built or started; the text says why and what to do."""


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or a note that there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"(no log at {path})"
    return "\n".join(text.splitlines()[-lines:])
