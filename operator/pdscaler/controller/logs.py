"""Logging: one line per record, JSON or text, whatever is in it. Imports no library.

Names and messages come from users and from other systems, so nothing in them may break a line or colour a terminal.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from pdscaler.controller.times import rfc3339
from pdscaler.printable import json_safe, printable

LIBRARIES = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3", "prometheus_api_client", "py.warnings")
FIELDS = "pdscaler_fields"
"""Attribute of a record that carries its structured fields."""


def configure(log_format: str, stream: TextIO | None = None) -> None:
    """Send every logger to one stream in one format; libraries from WARNING on.

    Parameters
    ----------
    log_format
        ``json`` or ``text``.
    stream
        Where to; standard error where None.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pdscaler").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    # It repeats every warning of a retried request; what matters is in the conditions.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what kopf logs of each task on an error's way up: what ends the operator is said once, at the end."""
    return not (record.name.startswith("kopf.") and record.exc_info and " has failed: " in record.getMessage())


def event(logger: logging.Logger, level: int, name: str, fields: Mapping[str, Any]) -> None:
    """Log one structured line.

    Parameters
    ----------
    logger, level
        As in :mod:`logging`.
    name
        What happened, such as ``evaluated``.
    fields
        What to say of it, in this order; values as JSON has them.
    """
    logger.log(level, name, extra={FIELDS: dict(fields)})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "ts": rfc3339(record.created, milliseconds=True),
        "level": record.levelname.lower(),
        "event": record.getMessage(),
    }
    extra = getattr(record, FIELDS, None)
    if extra is None:
        fields = {**fields, "event": "log", "logger": record.name, "message": record.getMessage()}
        reference = getattr(record, "k8s_ref", None)
        if isinstance(reference, Mapping):
            fields.update({name: reference[name] for name in ("namespace", "name") if name in reference})
    else:
        fields.update(extra)
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object per line; control characters are escaped as JSON does."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return json_safe(json.dumps(_fields(record), ensure_ascii=False, default=str, separators=(",", ":")))


class TextFormatter(logging.Formatter):
    """``time LEVEL event key=value …`` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        fields = _fields(record)
        parts = [str(fields.pop("ts")), str(fields.pop("level")).upper().ljust(7), printable(str(fields.pop("event")))]
        parts += [f"{name}={_plain(value)}" for name, value in fields.items()]
        return " ".join(parts)


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return (
        json.dumps(printable(text), ensure_ascii=False) if isinstance(value, str) and " " in text else printable(text)
    )
