"""Benchmark files under their upstream names, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import parse_json
from rlhf_fair.errors import MissingFileError, RowError


def upstream_file(folder: Path, name: str, what: str) -> Path:
    """``folder/name``, or ``folder/name.gz`` where only that exists; `MissingFileError` where neither does."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise MissingFileError(folder / name, what)


def read_text(path: Path) -> str:
    """The file's text, unpacked if its name ends in ``.gz``; a byte order mark is no part of it."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RowError(f"{path} cannot be read as UTF-8 text: {error}") from error


def read_lines(path: Path) -> list[str]:
    """The file's lines; a missing newline at its end makes no difference, empty lines at its end are none."""
    return read_text(path).rstrip("\r\n").splitlines()


def read_json_object(path: Path) -> dict[str, Any]:
    """A file that is one JSON object, whatever its extension promises."""
    content = parse_json(read_text(path), str(path), RowError)
    if not isinstance(content, dict):
        raise RowError(f"{path} holds a JSON {type(content).__name__}; allowed: one object")
    return content
