"""What has left so far: the columns of earlier releases of one panel, so that the next is judged together with them.

Two tables that are each k-anonymous need not be so together: one with gender and one with race, of the same answers by
the same people, join to gender x race. Pseudonyms of their own do not prevent that, since the answers themselves
match. So every release is written down before it leaves, and its columns count as quasi-identifiers of every later one,
whoever receives it. A line too many costs attributes that could have left; one too few would cost somebody's privacy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rlhf_fair.artifacts import canonical_json
from rlhf_fair.errors import IntegrityError, OutputError


def history_beside(key_file: Path) -> Path:
    """The history that goes with a key: one key, one panel."""
    return key_file.with_name(f"{key_file.name}.released.jsonl")


def earlier_columns(path: Path) -> tuple[str, ...]:
    """Every column that a release written down in ``path`` had, each once; none where there is no such file."""
    if not path.exists():
        return ()
    found: dict[str, None] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} cannot be read as a history of releases: {error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            columns = json.loads(line)["columns"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(f"{path} line {number} is no entry of a history of releases") from error
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise IntegrityError(f"{path} line {number} names no columns")
        found |= dict.fromkeys(columns)
    return tuple(found)


def record_release(path: Path, columns: Sequence[str], purpose: str) -> None:
    """Write down, safely on disk, that ``columns`` are about to leave; the file is its owner's alone."""
    line = canonical_json({"purpose": purpose, "columns": list(columns)}) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
