"""The exception tree: every fault a user can cause is one of these, with one clear sentence.

Each class carries the process exit code the command line uses for it, so that a fault reads the same from Python
and from a shell: 2 is bad usage or bad input, 4 is a failed integrity check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_NAMES, LONGEST_NAME = 60, 80
"""So much of a table's columns is told, so many characters of each: a message is there to be read."""
LONGEST_TEXT = 4_000
"""Characters of a message; a name or a value of a file may be of any length, and is then told by both its ends."""


class RlhfFairError(Exception):
    """Base of all errors raised on purpose; its text is meant for the person at the keyboard."""

    exit_code = 2

    def __init__(self, text: str = "") -> None:
        if (more := len(text) - LONGEST_TEXT) > 0:
            half = LONGEST_TEXT // 2
            text = f"{text[:half]} […{more} characters…] {text[-half:]}"
        super().__init__(text)


class MissingFileError(RlhfFairError):
    """A file or folder that was named does not exist or cannot be read."""

    def __init__(self, path: str | Path, what: str, hint: str = "") -> None:
        super().__init__(f"{what} not found: {path}" + (f" ({hint})" if hint else ""))


class SettingsError(RlhfFairError):
    """A plan or config holds an unknown key, a wrong type or a value out of range."""


class ColumnError(RlhfFairError):
    """A table lacks a column it needs."""

    def __init__(self, table: str, missing: str, present: Iterable[object]) -> None:
        names = [_short(str(name)) for name in sorted(map(str, present))]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        super().__init__(f"{table} lacks column {_short(missing)!r}; has {names[:MOST_NAMES]}{more}")


class RowError(RlhfFairError):
    """A table holds rows that cannot be used and the caller asked not to go on without them."""


class ModelLoadError(RlhfFairError):
    """A model directory is incomplete, of the wrong kind, or asks for something that is refused."""


class EndpointError(RlhfFairError):
    """A model server cannot be used as asked: it refuses the key or the request, or cannot do what a probe needs."""


class OutputError(RlhfFairError):
    """A result cannot be written where it was asked for."""

    def __init__(self, path: str | Path, why: object) -> None:
        super().__init__(f"cannot write to {path}: {why}")
        self.path, self.why = Path(path), why


class InfeasibleError(RlhfFairError):
    """Targets that no selection from the pool can meet; the message names the shortest targets."""


class InterruptedRunError(RlhfFairError):
    """The run was stopped from outside; finished stages are kept and a second call resumes after them."""


class IntegrityError(RlhfFairError):
    """A recorded hash or a recomputed number does not match."""

    exit_code = 4


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


@contextmanager
def about_file(path: str | Path) -> Iterator[None]:
    """Our errors from inside the block begin with ``path`` where they do not name the file; their kind stays.

    >>> with about_file("ratings.csv"):
    ...     raise RowError("no rating is left")
    Traceback (most recent call last):
    ...
    rlhf_fair.errors.RowError: ratings.csv: no rating is left
    """
    try:
        yield
    except RlhfFairError as error:
        if Path(path).name not in str(error):
            error.args = (f"{path}: {error}",)
        raise
