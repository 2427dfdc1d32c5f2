"""What a person sees of a running training: a live panel in a terminal, a line now and then elsewhere.

Step and time left, reward, KL divergence, the gap beside its noise floor, kappa, and which groups moved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rlhf_fair.report import numbers as num

LINE_SECONDS = 30.0
"""Where nobody looks at a terminal, a line at most so often; the first and the last step have one too."""
MOST_GROUPS = 6
Row = Mapping[str, Any]


class Display(Protocol):
    """Hears of all work of a training."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Work that is not a step, such as answering held-out prompts."""

    def step(self, row: Row, steps: int) -> None:
        """One row of the curve, of so many steps in all."""

    def note(self, text: str) -> None:
        """What to think of before the first step."""


@contextmanager
def training_display(*, hidden: bool) -> Iterator[Display]:
    """A display on stderr; ``hidden``: none."""
    from rich.console import Console

    if hidden:
        yield _Nothing()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    panel = _Panel(console)
    try:
        yield panel
    finally:
        panel.stop()


def told(row: Row) -> list[tuple[str, str]]:
    """What a row of the curve says, as (label, text); only what was measured.

    >>> told({"step": 3.0, "reward": 0.5, "kl": 0.25, "gap": 0.21, "noise_floor": 0.05, "kappa": 0.4})
    [('reward', '0.5'), ('KL', '0.25 nats'), ('gap', '0.21 (noise floor 0.05)'), ('kappa', '0.4')]
    """

    def known(name: str) -> bool:
        value = row.get(name)
        return isinstance(value, int | float) and math.isfinite(value)

    found = [("reward", num.significant(row["reward"]))] if known("reward") else []
    if known("kl"):
        found.append(("KL", f"{num.significant(row['kl'])} nats"))
    if known("gap"):
        noise = f" (noise floor {num.significant(row['noise_floor'])})" if known("noise_floor") else ""
        found.append(("gap", num.significant(row["gap"]) + noise))
        found += [("kappa", num.significant(row["kappa"]))] if known("kappa") else []
    found += [("loss", num.significant(row["loss"]))] if known("loss") else []
    found += [("refusals", num.share(row["refusals"]))] if known("refusals") and row["refusals"] > 0 else []
    return found + ([("moved", moved)] if (moved := _moved(row)) else [])


def _moved(row: Row) -> str:
    """The groups whose score changed most since the start, with standard errors."""
    changes = {
        name.removeprefix("moved:"): value
        for name, value in row.items()
        if name.startswith("moved:") and isinstance(value, int | float) and math.isfinite(value)
    }
    largest = sorted(changes, key=lambda group: -abs(changes[group]))[:MOST_GROUPS]
    parts = []
    for group in largest:
        error = row.get(f"moved_se:{group}")
        spread = f" ± {num.significant(error, 2)}" if error is not None and math.isfinite(error) else ""
        parts.append(f"{group} {num.shown(changes[group], 2, sign=True)}{spread}")
    rest = len(changes) - len(largest)
    return ", ".join(parts) + (f" and {rest} more" if rest else "")


class _Nothing:
    def progress(self, what: str, done: int, total: int) -> None:
        """Silence."""

    def step(self, row: Row, steps: int) -> None:
        """Silence."""

    def note(self, text: str) -> None:
        """Silence."""


class _Clock:
    """Time left, from the steps of this process alone: a resumed run did the others elsewhere."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, step: float, steps: int) -> str:
        """``1:05:00 left``; nothing until a step has been timed."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            return ""
        begun, started = self._first
        seconds = round((now - started) / max(step - begun, 1) * (steps - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"


class _Lines:
    """A plain line from time to time, as a log wants it."""

    def __init__(self, console: Any) -> None:
        self._console, self._clock, self._last = console, _Clock(), -math.inf
        self._heard: set[str] = set()

    def progress(self, what: str, done: int, total: int) -> None:
        """Once for each kind of work, when it is done."""
        if done >= total and what not in self._heard:
            self._heard.add(what)
            self._print(f"{what}: {num.count(total)}")

    def step(self, row: Row, steps: int) -> None:
        """The first, the last, and one every so often between."""
        step, left = row["step"], self._clock.left(row["step"], steps)
        if time.monotonic() - self._last < LINE_SECONDS and step < steps:
            return
        self._last = time.monotonic()
        parts = [f"step {step:g}/{steps}", *(f"{label} {text}" for label, text in told(row)), *filter(None, [left])]
        self._print(" · ".join(parts))

    def note(self, text: str) -> None:
        """A line."""
        self._print(f"note: {text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Panel:
    """A live panel: a bar for each kind of work, and under it what the last step says."""

    def __init__(self, console: Any) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console)
        self._tasks: dict[str, Any] = {}
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._told: list[tuple[str, str]] = []

    def progress(self, what: str, done: int, total: int) -> None:
        """Move one bar."""
        if what not in self._tasks:
            self._live.start()
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
        self._live.update(self._shown())

    def step(self, row: Row, steps: int) -> None:
        """Move the bar of training and show the row."""
        self._told = told(row)
        self.progress("training", int(row["step"]), steps)

    def note(self, text: str) -> None:
        """A line above the panel."""
        self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._tasks:
            self._live.stop()

    def _shown(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for label, text in self._told:
            table.add_row(Text(label, style="dim"), Text(text))
        return Group(self._bar, table)
