"""What a reader of a user's file promises, and the check that holds it to that.

Whatever the file holds, a reader returns, or it raises one of our own errors, which names the file; no other exception,
no warning, no hang. One that tells accepted rows from rejected ones accounts for every row of the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pyarrow.parquet as pq

from rlhf_fair.errors import RlhfFairError

SLOWEST_S = 20.0
"""CPU seconds for one file; sound ones take milliseconds."""
LONGEST = 12_000
"""Characters of a message that somebody still reads."""

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Reader:
    """One way in. ``files``: a sound input, by path in its folder; ``read`` takes the folder and reads it.

    ``damaged``: which of the files are damaged, all by default. ``rows``: the file every row of which is accounted for,
    and ``count`` says how many rows the result accounts for. ``called``: what an error may call the file instead of
    its name. ``mode``: of the files, where it matters.
    """

    name: str
    files: Callable[[], Files]
    read: Callable[[Path], object]
    damaged: tuple[str, ...] = ()
    rows: str = ""
    count: Callable[[object], int] = field(default=lambda result: accounted(result))  # noqa: PLW0108
    called: tuple[str, ...] = ()
    mode: int = 0o644
    slow: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        return self.damaged or tuple(self.files())


def accounted(result: object) -> int:
    """Accepted rows and rejected ones."""
    return len(result.table) + len(result.rejects)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Fault:
    """How a reader broke its promise."""

    reader: str
    file: str
    kind: str
    detail: str


class _TooSlow(BaseException):
    """Not an Exception, so that no reader can take it for bad input."""


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def put(folder: Path, files: Files, mode: int = 0o644) -> None:
    """Write the files below ``folder``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def fault_of(reader: Reader, folder: Path, file: str) -> Fault | None:
    """Read ``folder``, in which ``file`` was damaged; None where the promise is kept."""
    try:
        with warnings.catch_warnings(), _cpu_limit(SLOWEST_S):
            warnings.simplefilter("error")
            result = reader.read(folder)
    except RlhfFairError as error:
        return _fault_of_message(reader, folder, file, str(error))
    except _TooSlow:
        return Fault(reader.name, file, "hang", f"more than {SLOWEST_S:g} s")
    except Exception as error:
        return Fault(reader.name, file, type(error).__name__, f"{error}"[:300])
    if file == reader.rows:
        there, told = rows_in(folder / file), reader.count(result)
        if there is not None and there != told:
            return Fault(reader.name, file, "rows lost", f"{there} in the file, {told} accounted for")
    return None


def _fault_of_message(reader: Reader, folder: Path, file: str, message: str) -> Fault | None:
    path = Path(file)
    names = (path.name, folder.name, *reader.called)
    if not any(name in message for name in names):
        return Fault(reader.name, file, "file not named", message[:300])
    if len(message) > LONGEST:
        return Fault(reader.name, file, "endless message", f"{len(message)} characters: {message[:200]}")
    return None


def rows_in(path: Path) -> int | None:
    """How many rows a file has by another count than ours; None where that cannot be told."""
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if path.name.removesuffix(".gz").endswith(".parquet"):
        rows = int(pq.read_metadata(io.BytesIO(data)).num_rows)
        return rows if rows >= 0 else None
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()  # line ends of any kind
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return sum(1 for line in text.split("\n") if line.strip())
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        separator = "\t" if ".tsv" in path.name else ","
        stream = io.StringIO(data.decode("utf-8-sig"), newline="")
        try:
            found = [
                row
                for row in csv.reader(stream, delimiter=separator)
                if row and not (len(row) == 1 and row[0] and not row[0].strip(" \t"))  # a quoted nothing is a row
            ]
        except csv.Error:
            return None
        return max(len(found) - 1, 0)
    return None
