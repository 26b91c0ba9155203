"""Plans are verified in a process of its own, which ends with the one that asks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from localplane.processes import alive
from localplane.waiting import wait_for
from pdscaler.controller.verification_process import Settled, VerificationError, VerificationProcess
from pdscaler.core.pools import PerPool
from pdscaler.core.verify import verify
from pdscaler.core.workload import WorkloadStats
from support.core_cases import paper_spec, paper_workload

SPEC, WORKLOAD = paper_spec(), paper_workload(12.5)
"""With the published formulas there is nothing to simulate, so these tests need no compiler."""
NOTHING = WorkloadStats(12.5, None, None)


@pytest.fixture
def process() -> Iterator[VerificationProcess]:
    verifying = VerificationProcess()
    yield verifying
    verifying.rest()


def test_it_answers_as_the_core_does(process: VerificationProcess) -> None:
    assert process.pid is None, "it starts when it is asked"
    expected = verify(SPEC, WORKLOAD, PerPool(2, 3))
    assert expected.verification is not None
    assert process(SPEC, WORKLOAD, PerPool(2, 3)) == Settled(expected.label, expected.verification)
    pid = process.pid
    process(SPEC, replace(WORKLOAD, arrival_rate_rps=5.0), None)
    assert process.pid == pid, "one process answers all"


def test_what_breaks_inside_is_told_and_the_next_is_answered(process: VerificationProcess) -> None:
    with pytest.raises(VerificationError, match=r"(?s)Traceback.*verify"):
        process(SPEC, NOTHING, None)
    pid = process.pid
    assert process(SPEC, WORKLOAD, None).label == verify(SPEC, WORKLOAD).label
    assert process.pid == pid


def test_one_that_was_killed_is_replaced(process: VerificationProcess) -> None:
    process(SPEC, WORKLOAD, None)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(VerificationError, match="ended"):
        process(SPEC, WORKLOAD, None)
    assert process(SPEC, WORKLOAD, None).label == verify(SPEC, WORKLOAD).label
    assert process.pid != pid


def test_it_ends_when_it_rests(process: VerificationProcess) -> None:
    process(SPEC, WORKLOAD, None)
    pid = process.pid
    assert pid is not None
    process.rest()
    assert process.pid is None
    assert not alive(pid)
    process.rest()


_OPERATOR = """
import time
from pdscaler.controller.verification_process import VerificationProcess
from support.core_cases import paper_spec, paper_workload
process = VerificationProcess()
process(paper_spec(), paper_workload(12.5), None)
print(process.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_an_operator_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", _OPERATOR], stdout=subprocess.PIPE, env=environment) as operator:
        try:
            assert operator.stdout is not None
            pid = int(operator.stdout.readline())
            assert alive(pid)
        finally:
            operator.kill()
    wait_for("the end of the process that verifies", lambda: not alive(pid))
