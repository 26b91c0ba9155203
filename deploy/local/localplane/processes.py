"""Processes by recorded pid, each in its own process group, none left behind. Imports the standard library only.

Three nets, one below the other: the ``with`` block ends what it started; ``atexit`` ends what a forgotten block left;
and a keeper (:mod:`localplane.keeper`) ends everything when the launcher itself is killed.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from localplane import keeper
from localplane.errors import LocalPlaneError, tail


class Process:
    """One started program.

    Parameters
    ----------
    name
        What people call it; also the name of its log.
    popen
        The running process, leader of its own process group.
    log
        File with both of its output streams.
    """

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def check(self) -> None:
        """Raise the error that says what the log says, if the process has ended."""
        if not self.running:
            raise LocalPlaneError(
                f"{self.name} ended with status {self._popen.returncode}; the end of {self.log}:\n{tail(self.log)}"
            )

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group, if it is still there."""
        if self.running:
            keeper.send(self.pid, number)

    def stop(self, grace_s: float = 10.0) -> int:
        """Ask it to end, insist after ``grace_s`` seconds, and return its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL), and return its exit status."""
        self.signal(signal.SIGKILL)
        return self._popen.wait()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self._popen.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LocalPlaneError(f"{self.name} did not end within {timeout_s:g} seconds (log: {self.log})") from error


class Processes:
    """The processes of one run directory; a context manager that ends them in reverse order.

    Parameters
    ----------
    run_dir
        Folder for ``logs``, for temporary files, and for ``pids`` (a line ``PID name`` for each process started).
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._logs = run_dir / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._temporary = run_dir / "tmp"
        self._temporary.mkdir(mode=0o700, exist_ok=True)
        self._started: list[Process] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        _LIVE.add(self)

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Process:
        """Start a program with its output in ``logs/NAME.log`` (appended: a restart keeps what came before)."""
        log = self._logs / f"{name}.log"
        with self._lock, log.open("ab") as output:
            pipe = self._keeper_pipe()
            try:
                popen = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Clients write keys into temporary files: they go when the run directory goes.
                    env={**(os.environ if env is None else env), "TMPDIR": str(self._temporary)},
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise LocalPlaneError(f"{name} cannot be started: {error}") from error
            pipe.write(f"+{popen.pid}\n".encode())
            pipe.flush()
            process = Process(name, popen, log)
            self._started.append(process)
            with (self._run_dir / "pids").open("a", encoding="utf-8") as pids:
                pids.write(f"{popen.pid} {name}\n")
        return process

    def forget(self, process: Process) -> None:
        """Take an ended process off the list, so that its number is never signalled again."""
        with self._lock:
            if process in self._started and not process.running:
                self._started.remove(process)
                self._tell(f"-{process.pid}\n")

    def check(self) -> None:
        """Raise if any process that was started, and not stopped on purpose, has ended."""
        for process in list(self._started):
            process.check()

    def close(self, grace_s: float = 3.0) -> None:
        """End every process, the last started first: SIGTERM to all, SIGKILL after the grace."""
        with self._lock, _signals_held():
            running = [process for process in reversed(self._started) if process.running]
            for process in running:
                process.signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            for process in running:
                with contextlib.suppress(LocalPlaneError):
                    process.wait(max(0.0, deadline - time.monotonic()))
            for process in running:
                process.kill()
            self._started.clear()
            if self._keeper is not None:
                assert self._keeper.stdin is not None
                with contextlib.suppress(OSError):
                    self._keeper.stdin.close()
                self._keeper.wait()
                self._keeper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.write(line.encode())
                self._keeper.stdin.flush()

    def _keeper_pipe(self) -> IO[bytes]:
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._keeper.stdin is not None
        return self._keeper.stdin


_LIVE: "weakref.WeakSet[Processes]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for processes in list(_LIVE):
        processes.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let a second Ctrl-C not tear the clean-up apart: it is delivered when the clean-up is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def terminate_as_interrupt() -> None:
    """Make SIGTERM and SIGHUP end this program the way Ctrl-C does, so that clean-up runs."""

    def interrupt(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)


def alive(pid: int) -> bool:
    """Whether a process of this number exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True
