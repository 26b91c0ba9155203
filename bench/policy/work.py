"""All runs of all cases: what is there is taken up, the rest is done in worker processes. Imports rich."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import lines
from bench.policy.cases import Case
from bench.policy.compare import Compared
from bench.policy.runs import DEFAULT, TUNED, Job, Reference, Run, answer, document, of, print_of, warm_up
from bench.policy.sources import version
from bench.progress import worked
from rich.console import Console

from pdscaler.simulator.policies import POLICIES

Results = dict[Case, Compared]


def results_of(
    cases: Sequence[Case],
    policies: Sequence[str],
    path: Path,
    console: Console,
    *,
    workers: int,
    tune: Callable[[Case], bool],
    fresh: bool,
) -> Results:
    """Run every policy on every case.

    Parameters
    ----------
    cases, policies
        What is run.
    path
        The file of JSON lines: runs that are there are not done again, unless the code that they rest on has changed.
    console
        Where progress is shown.
    workers
        Processes.
    tune
        Which cases are run with tuned policies beside their defaults.
    fresh
        Whether what is there is forgotten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = [] if fresh else [found for found in _known(path) if found.source == version(_code(found))]
    lines.write(path, (document(found) for found in known))
    prints = {case: print_of(case) for case in cases}
    references = {found.fingerprint: found for found in known if isinstance(found, Reference)}
    left = [Job(case) for case in cases if prints[case] not in references]
    total = len(cases)
    for found in worked(console, "schedules", answer, left, workers=workers, total=total, initializer=warm_up):
        assert isinstance(found, Reference)
        references[found.fingerprint] = found
        lines.append(path, document(found))
    runs = {(found.fingerprint, found.policy, found.variant): found for found in known if isinstance(found, Run)}
    jobs = [job for case in cases for job in _jobs(case, references[prints[case]], policies, tune=tune(case))]
    left = [job for job in jobs if (prints[job.case], job.policy, job.variant) not in runs]
    for found in worked(console, "runs", answer, left, workers=workers, total=len(jobs), initializer=warm_up):
        assert isinstance(found, Run)
        runs[found.fingerprint, found.policy, found.variant] = found
        lines.append(path, document(found))
    return {
        case: Compared(
            references[prints[case]],
            tuple(runs[prints[case], job.policy or "", job.variant] for job in jobs if job.case == case),
        )
        for case in cases
    }


def _code(found: Reference | Run) -> str:
    return "reference" if isinstance(found, Reference) else found.policy


def _known(path: Path) -> Iterable[Reference | Run]:
    for line in lines.read(path):
        try:
            yield of(line)
        except (KeyError, TypeError):
            continue


def _jobs(case: Case, reference: Reference, policies: Sequence[str], *, tune: bool) -> list[Job]:
    """Return the runs of a case; the static peak begins with what it needs, the others with the first plan."""
    jobs = []
    for name in policies:
        initial = reference.static if name == "static" else reference.initial
        jobs.append(Job(case, name, DEFAULT, initial))
        if tune and POLICIES[name].knob is not None:
            jobs.append(Job(case, name, TUNED, initial))
    return jobs
