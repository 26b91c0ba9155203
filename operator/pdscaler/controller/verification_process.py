"""Verifies plans in a process of its own, which ends when it has nothing to do. No kopf.

Simulating needs a compiler, which takes more memory than all else that the operator does, and gives none of it back.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
from dataclasses import dataclass

from pdscaler.core.pools import PerPool
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verification import Verification
from pdscaler.core.verify import verify
from pdscaler.core.workload import WorkloadStats

_NICENESS = 10
"""Evaluations come first where processors are short."""
_COMMAND = "from pdscaler.controller.verification_process import main; main()"


class VerificationError(Exception):
    """A verification broke inside; the text says where."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan that was verified.

    Parameters
    ----------
    label
        The counts, ``3P4D``.
    verification
        How they were settled.
    """

    label: str
    verification: Verification


class VerificationProcess:
    """Asks a process of its own, which is started when it is needed and ends with this one, however this one ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Number of the process; None where there is none now."""
        return None if self._process is None else self._process.pid

    def __call__(self, spec: SizingSpec, workload: WorkloadStats, current: PerPool[int] | None) -> Settled:
        """Verify a plan; one at a time.

        Parameters
        ----------
        spec, workload, current
            As for :func:`pdscaler.core.verify.verify`.

        Raises
        ------
        VerificationError
            If it broke inside, or the process ended.
        """
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((spec, workload, current), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)  # noqa: S301 - our own process
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self.rest()
            raise VerificationError(f"the process that verifies plans ended ({process.returncode})") from None
        if not isinstance(answer, Settled):
            raise VerificationError(str(answer))
        return answer

    def rest(self) -> None:
        """End the process, if there is one: what it has compiled lies in the cache, and all else is answered."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def main() -> None:
    """Answer questions until there are no more: the pipe ends with the process that asks."""
    os.nice(_NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints must not stand among the answers
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)  # noqa: S301 - the process that started this one
        except EOFError:
            return
        try:
            result = verify(*question)
            assert result.verification is not None
            answer: Settled | str = Settled(result.label, result.verification)
        except Exception:  # noqa: BLE001 - the one who asks reports it
            answer = traceback.format_exc()
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            return


def _start() -> "subprocess.Popen[bytes]":
    # A session of its own: Ctrl-C at a terminal is for the operator, which ends this one.
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a command of ours
        [sys.executable, "-c", _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
