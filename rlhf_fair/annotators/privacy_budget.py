"""The privacy budget of a panel: a ledger on disk that is only ever appended to, and that refuses to overspend.

Answers about the same people add up (basic composition, Dwork and others 2006): the sum of all epsilons spent bounds
what all answers together tell about any one person. So one file counts for one panel, whoever asks. Every line holds
the SHA-256 of the line before; a line changed or taken out of the middle is found when the file is next read.
Two processes that spend at once are served one after the other, and an answer is worked out only after its line is
safely on disk: a crash can waste budget, never leak it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError


class BudgetError(SettingsError):
    """An answer would cost more than what is left of the privacy budget."""


MOST_DIGITS = 100
"""Of a number that is given; as the fraction that the ledger keeps it may be a few times as long."""


@dataclass(frozen=True)
class Balance:
    """Epsilons, exact: ``total`` = ``spent`` + ``left``; ``entries`` counts what was paid for."""

    total: Fraction
    spent: Fraction
    entries: int

    @property
    def left(self) -> Fraction:
        return self.total - self.spent


def open_ledger(path: Path, total: str | float) -> None:
    """Start a ledger with a ``total`` epsilon; an existing ledger is never replaced or raised."""
    line = canonical_json({"budget": str(_epsilon(total)), "previous": ""}) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise OutputError(path, "there is a ledger already; a budget is set once") from error
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
    with os.fdopen(handle, "wb") as stream:
        _append(stream.fileno(), line)


def balance(path: Path) -> Balance:
    """What the ledger says, every line checked."""
    with _locked(path) as handle:
        return _balance(path, _lines(path, handle))


def spend(path: Path, epsilon: str | float, purpose: str) -> Balance:
    """Pay ``epsilon`` before an answer is worked out; returns the balance after it.

    Raises
    ------
    BudgetError
        Less than ``epsilon`` is left; nothing was spent.
    """
    cost = _epsilon(epsilon)
    with _locked(path) as handle:
        lines = _lines(path, handle)
        before = _balance(path, lines)
        if cost > before.left:
            raise BudgetError(
                f"{path}: an answer for epsilon {float(cost):g} exceeds what is left, {float(before.left):g} of "
                f"{float(before.total):g} after {before.entries} answers"
            )
        entry = {"epsilon": str(cost), "purpose": purpose, "previous": sha256_bytes(lines[-1])}
        _append(handle, canonical_json(entry) + b"\n")
    return Balance(before.total, before.spent + cost, before.entries + 1)


def _append(handle: int, line: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_END)
    while line:
        line = line[os.write(handle, line) :]
    os.fsync(handle)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open file, locked against other processes until the block ends (or the process dies)."""
    try:
        import fcntl
    except ImportError as error:
        raise SettingsError("a privacy budget needs file locks, which this operating system does not have") from error
    if not path.is_file():
        raise MissingFileError(path, "privacy budget")
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _lines(path: Path, handle: int) -> list[bytes]:
    """Whole lines without their ends. A torn last one was never paid with (no answer came of it) and is cut off."""
    size = os.fstat(handle).st_size
    os.lseek(handle, 0, os.SEEK_SET)
    content = b""
    while len(content) < size:
        content += os.read(handle, size - len(content))
    whole = content.rfind(b"\n") + 1
    if whole == 0:
        raise IntegrityError(f"{path} is no privacy budget: it has no whole line")
    if whole < size:
        os.ftruncate(handle, whole)
    return content[:whole].splitlines()


def _balance(path: Path, lines: Sequence[bytes]) -> Balance:
    previous, total, spent = "", Fraction(0), Fraction(0)
    for number, line in enumerate(lines, start=1):
        try:
            entry: dict[str, Any] = json.loads(line)
            amount = _fraction(str(entry["budget" if number == 1 else "epsilon"]), 10 * MOST_DIGITS)
            linked = entry["previous"] == previous
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
            raise IntegrityError(f"{path} line {number} is no entry of a privacy budget") from error
        if not linked or amount <= 0:
            raise IntegrityError(f"{path} line {number} does not follow from the line before: the ledger was changed")
        total, spent = (amount, spent) if number == 1 else (total, spent + amount)
        previous = sha256_bytes(line)
    return Balance(total, spent, len(lines) - 1)


def _fraction(text: str, longest: int) -> Fraction:
    """Exact; a number of very many digits, which an exponent makes out of a few letters, is a `ValueError`."""
    _, _, exponent = text.lower().partition("e")
    if len(text) > longest or (exponent and abs(int(exponent)) > longest):
        raise ValueError(text)
    return Fraction(text)


def _epsilon(value: str | float) -> Fraction:
    """Exact: 0.1 is a tenth, so ten of them are 1."""
    try:
        epsilon = _fraction(str(value), MOST_DIGITS)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"epsilon is {str(value)[:80]!r}; allowed: a number above 0") from error
    if epsilon <= 0:
        raise SettingsError(f"epsilon is {value}; allowed: a number above 0")
    return epsilon
