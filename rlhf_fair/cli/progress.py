"""One progress display for all commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each ``what`` of callbacks (what, done, total); without a terminal, a line at each end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, disable=hidden)
    finished: set[str] = set()

    def show(what: str, done: int, total: int) -> None:
        if not console.is_terminal:
            if done >= total and what not in finished and not hidden:
                finished.add(what)
                console.print(f"{what}: {done} of {total}", markup=False, highlight=False, soft_wrap=True)
            return
        if what not in tasks:
            bar.start()  # on the first step of work, so that an early error stands alone
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        if tasks:
            bar.stop()  # which would print an empty line of a bar that never started
