"""Work done in several processes, and how far it is. Imports rich."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

EVERY_S = 30.0
"""Without a terminal, a line of progress is written this often."""


def worked(
    console: Console,
    noun: str,
    function: Callable[[Asked], Answered],
    asked: Sequence[Asked],
    *,
    workers: int,
    total: int | None = None,
    initializer: Callable[[], None] | None = None,
) -> Iterator[Answered]:
    """Answer in worker processes, and say how far it is and how long it will take.

    Parameters
    ----------
    console
        Where progress is shown.
    noun
        What is counted, plural.
    function, asked
        What is called with each; both can be pickled.
    workers
        Processes; with one, this process does the work.
    total
        All there is, with what was done before; the length of ``asked`` where it is left out.
    initializer
        Called once in each process that works.

    Yields
    ------
    Answered
        The answers, as they come.
    """
    if not asked:
        return
    columns = (TextColumn(noun), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    total = len(asked) if total is None else total
    before = total - len(asked)
    begin = last = time.monotonic()
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = progress.add_task(noun, total=total, completed=before)
        if workers == 1:
            if initializer is not None:
                initializer()
            answers: Iterator[Answered] = map(function, asked)
        else:
            # A fresh interpreter for each worker: a fork would copy the threads of the compiled kernel half-way.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context, initializer=initializer))
            answers = (future.result() for future in as_completed([pool.submit(function, each) for each in asked]))
        for done, found in enumerate(answers, start=1):
            yield found
            progress.advance(task)
            now = time.monotonic()
            if not console.is_terminal and (now - last > EVERY_S or done == len(asked)):
                last = now
                left_s = (now - begin) / done * (len(asked) - done)
                console.print(f"{before + done}/{total} {noun}, about {left_s / 60:.1f} minutes left")
