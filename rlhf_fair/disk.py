"""Writing to a disk that may be full, read-only, shared with another run, or cut off in the middle.

A file or a folder is there as a whole or not at all; whoever is killed leaves something hidden behind that nobody
trusts and the next writer removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlhf_fair.errors import OutputError

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
SAFETENSORS_FAULT = re.compile(r'I/O error: (?P<new>.*os error.*)|IoError\(Os .*message: "(?P<old>[^"]*)"')
"""How safetensors tells a fault of the disk, in later and in earlier versions."""
SQLITE_FAULTS = ("disk I/O error", "database or disk is full", "attempt to write a readonly", "unable to open")


def make_folder(path: Path) -> Path:
    """Create ``path`` and prove that it can be written to; raise `OutputError` else."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full or read-only disk, told by whatever library the block writes with, becomes one `OutputError`."""
    try:
        yield
    except OSError as error:  # pyarrow puts a whole story into ``strerror``
        raise OutputError(path, os.strerror(error.errno) if error.errno else error) from error
    except Exception as error:
        if (said := why_not_written(error)) is None:
            raise
        raise OutputError(path, said) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling that replaces ``path`` only if the block succeeds; works for files and for folders.

    The sibling is this process's own, so that of two which write one path at once the last wins, whole.
    """
    temporary = _beside(path.parent, path.name)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_left_behind(path.parent, path.name)
            yield temporary
            if path.is_dir():
                _remove(path)
            os.replace(temporary, path)
    except OutputError as error:
        raise _told_of(error, temporary, path) from error
    finally:
        _remove(temporary)


@contextmanager
def sole_writer(folder: Path) -> Iterator[Path]:
    """``folder``, made if need be, which no other process fills meanwhile; a second one is told so at once.

    The lock ends with the process, however that ends, and leaves no file; folders made for it go if nothing was put
    there. Of several processes that a launcher started for one run (``RANK``) the first holds it. Where the system or
    the file system knows no such locks there is none.

    Raises
    ------
    OutputError
        Another process is at work in the folder, or it cannot be written to.
    """
    if os.environ.get("RANK", "0") != "0":
        yield folder
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    make_folder(folder)
    try:
        with _locked(folder):
            yield folder
    finally:
        with suppress(OSError):  # not empty
            for place in made:
                place.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        descriptor = -1
    if descriptor < 0:
        yield
        return
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(folder, "another run is at work in this folder; wait for it, or name another") from error
        except OSError:  # a network file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replaced_files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """A temporary folder whose files become those of ``folder`` if the block succeeds.

    Of ``names``, all files that one command may write there, those that this run has not written go, so that what lies
    side by side is of one run. Files of other names stay.
    """
    make_folder(folder)
    temporary = _beside(folder, "")
    try:
        with writing(folder):
            _remove_left_behind(folder, "")
            temporary.mkdir()
            yield temporary
            written = {path.name for path in temporary.iterdir()}
            for name in set(names) - written:
                _remove(folder / name)
            for name in sorted(written):
                os.replace(temporary / name, folder / name)
    except OutputError as error:
        raise _told_of(error, temporary, folder) from error
    finally:
        _remove(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never half."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _beside(folder: Path, name: str) -> Path:
    """A hidden name for what this process has not finished writing; `_remove_left_behind` knows it again."""
    return folder / f".{name}.{_this_machine()}-{os.getpid()}-{secrets.token_hex(4)}.partial"


def _remove_left_behind(folder: Path, name: str) -> None:
    """Remove what a process of this machine that is no more left of ``name``; those of a live one are its own."""
    pattern = re.compile(rf"\.{re.escape(name)}\.{_this_machine()}-(\d+)-[0-9a-f]{{8}}\.partial")
    with os.scandir(folder) as entries:
        found = [(entry.name, pattern.fullmatch(entry.name)) for entry in entries if entry.name.endswith(".partial")]
    for left, match in found:
        if match and not _is_alive(int(match.group(1))):
            _remove(folder / left)


def _this_machine() -> str:
    """Six characters that tell machines which share a disk apart."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _told_of(error: OutputError, temporary: Path, path: Path) -> OutputError:
    """The error with the name that a person knows, where it is about something in ``temporary``."""
    if not error.path.is_relative_to(temporary):
        return error
    return OutputError(path / error.path.relative_to(temporary), error.why)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def why_not_written(error: Exception) -> str | None:
    """What a library's error says of a disk that takes no more or nothing at all; None where it is about other things.

    SQLite, safetensors and torch have errors of their own for that, which are no `OSError`.
    """
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in DISK_FAULTS else None
    text = str(error).strip()
    if isinstance(error, sqlite3.OperationalError):
        return text if text.startswith(SQLITE_FAULTS) else None
    if type(error).__name__ == "SafetensorError" and (told := SAFETENSORS_FAULT.search(text)):
        return f"I/O error: {told['new'] or told['old']}"
    if isinstance(error, RuntimeError) and ("inline_container" in text or "PytorchStream" in text):
        return (
            error.__context__.strerror if isinstance(error.__context__, OSError) else "not all of it could be written"
        )
    return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif os.path.lexists(path):  # unlink(missing_ok=True) still fails where a parent is a file
        path.unlink()
