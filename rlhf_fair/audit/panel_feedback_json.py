"""Ratings that come as JSON objects: one object of items by name, and in each item an object of ratings by rater.

    {"17": {"lang": "en", "annotations": {"Ann3": "0", "Ann8": "1"}}}

Perspectivist collections are published so (Le-Wi-Di; Leonardelli et al. 2023): items, ratings and raters in one tree,
with what is known about the raters in a second object, by rater.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.errors import MissingFileError, RowError


def read_keyed(path: Path, key: str) -> pd.DataFrame:
    """The rows of a file that is one JSON object, name -> row, with the names in the column ``key``.

    Cells that hold lists or objects become their JSON text.

    Raises
    ------
    MissingFileError
        There is no such file.
    RowError
        It is not a JSON object of objects, it is empty, a name stands twice in one object (JSON readers silently keep
        the last of them), or a row has a column ``key`` of its own.
    """
    if not path.is_file():
        raise MissingFileError(path, "table")
    try:
        content = json.loads(_text(path), object_pairs_hook=_distinct)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UnicodeDecodeError as error:
        raise RowError(f"{path} is not UTF-8 text") from error
    except UnicodeEncodeError as error:
        raise RowError(f"{path} holds an unpaired surrogate, which is not text") from error
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
        raise RowError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise RowError(f"{path}: its top level is not an object, name -> row")
    if not content:
        raise RowError(f"{path} has no rows")
    for name, row in content.items():
        if not isinstance(row, dict):
            raise RowError(f"{path}: {name!r} is not an object")
        if key in row:
            raise RowError(f"{path}: {name!r} has a column {key!r}, which is to hold the names; choose another name")
    columns = list(dict.fromkeys(column for row in content.values() for column in row))
    cells = {column: [_flat(row.get(column)) for row in content.values()] for column in columns}
    return pd.DataFrame({key: list(content), **cells}, dtype=object)


def answer_lists(cells: pd.Series, annotator: str, value: str) -> pd.DataFrame:
    """Cells ``{"Ann3": "0", "Ann8": "1"}`` as two columns of aligned lists, raters and ratings, or None."""
    parsed = [_answers(cell) for cell in cells]
    lists = {
        annotator: [None if answers is None else list(answers) for answers in parsed],
        value: [None if answers is None else list(answers.values()) for answers in parsed],
    }
    return pd.DataFrame(lists, index=cells.index, dtype=object)


def _answers(cell: str | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    try:
        found = json.loads(cell, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} stands twice in one object")
    return found


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.name.lower().endswith(".gz") else content).decode("utf-8-sig")


def _flat(cell: object) -> object:
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, list | dict) else cell
