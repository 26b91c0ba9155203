"""``make demo`` on the real parts: interrupted it leaves nothing behind, and a failing part is named."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localplane.processes import alive
from localplane.toolset import Tools
from localplane.waiting import wait_for

SOURCES = Path(__file__).resolve().parents[3]
PARTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl-proxy"}
PARTS |= {"prometheus", "operator", "emulator"}


class Demo:
    """A demo in a process of its own, with its own folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "demo.log"
        (folder / "tmp").mkdir()
        self._temporary = folder / "tmp"
        environ = {**os.environ, "PYTHONPATH": f"{SOURCES / 'deploy/local'}:{SOURCES / 'operator'}"}
        environ |= {"TMPDIR": str(self._temporary), "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "localplane", "demo", "--out", str(folder / "out")],
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, words: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return words in self.log.read_text()

    def pids(self) -> dict[str, int]:
        """Return the recorded processes by name."""
        (record,) = self._temporary.glob("*/plane/pids")
        return {name: int(pid) for pid, name in (line.split() for line in record.read_text().splitlines())}

    @property
    def left(self) -> list[Path]:
        """Return what is left of its temporary files."""
        return list(self._temporary.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_no_process(tools: Tools, tmp_path: Path, way: signal.Signals) -> None:
    demo = Demo(tmp_path)
    try:
        wait_for("the load", lambda: demo.said("prefill 3 ready"))
        pids = demo.pids()
        assert set(pids) == PARTS
        assert all(map(alive, pids.values()))
        demo.process.send_signal(way)
        status = demo.process.wait(60)
    finally:
        demo.process.kill()
        demo.process.wait()
    wait_for("every process to end", lambda: not any(map(alive, pids.values())))
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[way]
    said = demo.log.read_text()
    assert "Traceback" not in said
    if way is signal.SIGINT:
        assert said.endswith("interrupted; nothing is left running\n")
    if way is not signal.SIGKILL:
        assert demo.left == []


@pytest.mark.long
def test_a_part_that_fails_ends_the_demo_with_its_log(tools: Tools, tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        wait_for("the load", lambda: demo.said("prefill 3 ready"))
        pids = demo.pids()
        os.kill(pids["emulator"], signal.SIGKILL)
        status = demo.process.wait(60)
    finally:
        demo.process.kill()
        demo.process.wait()
    assert status == 2
    said = demo.log.read_text()
    assert "error: emulator ended with status -9; the end of " in said
    assert (tmp_path / "out" / "logs" / "operator.log").exists()
    assert not any(map(alive, pids.values()))
    assert demo.left == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cluster", "prod"], 'error: CLUSTER="prod" is not allowed'),
        (["--trace", "t.csv"], "error: TRACE and PROFILE go together"),
        (["--rate-scale", "20"], "error: DURATION and RATE_SCALE go with TRACE and PROFILE"),
        (["--trace", "absent.csv", "--profile", "absent.json"], "error: absent"),
        (["--forecast", "Tarot"], 'error: FORECAST="Tarot" is none of Auto, LastValue, '),
        (["--trace", "t.csv", "--profile", "p.json", "--forecast", "Auto"], "error: FORECAST goes with the phases"),
    ],
)
def test_wrong_arguments_are_told_at_once(tmp_path: Path, args: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localplane", "demo", "--out", str(tmp_path / "out"), *args],
        env={**os.environ, "PYTHONPATH": f"{SOURCES / 'deploy/local'}:{SOURCES / 'operator'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
