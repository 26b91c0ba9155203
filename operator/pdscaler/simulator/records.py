"""One line of CSV for each finished request. May import core and the standard library.

Columns: request_id, phase, arrival_s (since the start), arrival_unix_s, input_tokens, output_tokens, ttft_s, tpot_s,
e2e_s, prefill_pod, decode_pod, met_ttft, met_tpot. Times are seconds; tpot_s and decode_pod are empty for an answer of
one token; the last two are 1 or 0.
"""

import csv
from pathlib import Path
from types import TracebackType
from typing import Self

from pdscaler.core.emulation import Completion
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.statistics import Met

COLUMNS = (
    "request_id", "phase", "arrival_s", "arrival_unix_s", "input_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s",
    "prefill_pod", "decode_pod", "met_ttft", "met_tpot",
)  # fmt: skip


class RecordsWriter:
    """Writes the records of finished requests; the header stands there from the start.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise InvalidInputError("--records", f"cannot be written: {error.strerror or error}", str(path)) from error
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, completion: Completion, phase: str, start_unix_s: float, outcome: Met) -> None:
        """Add one finished request."""
        request = completion.request
        self._rows.writerow(
            (
                request.request_id,
                phase,
                f"{request.arrival_s:.6f}",
                f"{start_unix_s + request.arrival_s:.6f}",
                request.input_tokens,
                request.output_tokens,
                f"{completion.ttft_s:.6f}",
                "" if completion.tpot_s is None else f"{completion.tpot_s:.8f}",
                f"{completion.e2e_s:.6f}",
                completion.prefill.replica,
                completion.decode_replica or "",
                int(outcome.ttft),
                int(outcome.tpot),
            )
        )

    def flush(self) -> None:
        """Let readers see what was written."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
