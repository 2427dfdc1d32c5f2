"""Files of tables: CSV, JSON, JSONL and Parquet in and out, nothing lost on the way.

Ids and attributes are text (``007`` stays ``007``; the numbers 7 and 7.0 of a format with types are both ``7``) and
only an empty cell is missing: ``None`` may well be somebody's religion, so words that mean "missing" in a file are an
argument. A JSONL line that cannot be read is set aside with its reason; any other format is read whole or not at all.
"""

from __future__ import annotations

import gzip
import io
import json
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from rlhf_fair.artifacts import atomic_path
from rlhf_fair.errors import MissingFileError, RowError, SettingsError

ATTRIBUTE_PREFIX = "attr."
FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz", ".parquet")
REJECT_COLUMNS = ("row", "column", "value", "code", "message")


@dataclass(frozen=True)
class Quarantined:
    """Accepted rows and rejected ones, one reject per input row: ``len(table) + len(rejects)`` is the input's length.

    ``rejects`` has the columns row (1-based; the line of a JSONL file), column, value, code, message.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame


def read_table(path: Path, *, missing_values: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table, its format told by the file's extension (see `FORMATS`).

    Parameters
    ----------
    missing_values
        Cell texts that mean "missing" besides the empty cell, such as ``("NA", "prefer not to say")``.

    Raises
    ------
    MissingFileError, SettingsError, RowError
        There is no such file; its extension is unknown; it is empty, not readable as what it claims to be, or has a
        malformed row (the message names the row).
    """
    read = read_with_rejects(path, missing_values)
    if len(read.rejects):
        first = read.rejects.iloc[0]
        raise RowError(f"{path} row {first['row']}: {first['message']}")
    return read.table.reset_index(drop=True)


def read_jsonl_with_rejects(path: Path, *, missing_values: Sequence[str] = ()) -> Quarantined:
    """Read a JSONL file, setting malformed lines aside; the accepted table is indexed by line number (``row``)."""
    if _format(path).removesuffix(".gz") != ".jsonl":
        raise SettingsError(f"{path} is not a JSONL file; allowed: .jsonl, .jsonl.gz")
    return read_with_rejects(path, missing_values)


def read_with_rejects(path: Path, missing_values: Sequence[str]) -> Quarantined:
    """Rows as they stand in the file, and malformed lines; a JSONL file's table is indexed by line number (``row``)."""
    extension = _format(path)
    if not _is_file(path):
        raise MissingFileError(path, "table")
    rejects = reject_rows([], "", [], "", [])
    try:
        match extension.removesuffix(".gz"):
            case ".parquet":
                table = _read_parquet(path)
            case ".csv":
                table = _read_delimited(path, ",", missing_values)
            case ".tsv":
                table = _read_delimited(path, "\t", missing_values)
            case kind:
                table, rejects = _read_json(path, lines=kind == ".jsonl")
    except UnicodeDecodeError as error:
        raise RowError(f"{path} is not UTF-8 text") from error
    except (
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
        ValueError,
        RecursionError,
        EOFError,
        zlib.error,
        OSError,
        ArrowException,
    ) as error:
        raise RowError(f"{path} cannot be read as {extension}: {error}") from error
    if not table.columns.is_unique:
        repeated = sorted(map(str, table.columns[table.columns.duplicated()].unique()))
        raise RowError(f"{path} cannot be read as {extension}: repeated column names {repeated}")
    if len(table) + len(rejects) == 0:
        raise RowError(f"{path} has no rows")
    if missing_values:
        table = table.mask(table.isin(list(missing_values)))
    for column in table.columns:
        if _is_text(column):
            table[column] = text_cells(table[column])
    return Quarantined(table, rejects)


def write_rejects(path: Path, rejects: pd.DataFrame) -> None:
    """Write rejects for people to look at: an apostrophe keeps spreadsheets from running a text (OWASP, CSV injection).

    Other tables hold texts as they are, for they are read again.
    """
    shown = rejects.copy()
    for name in [name for name in shown if pd.api.types.is_string_dtype(shown[name])]:
        texts = shown[name].astype("str")
        runs = texts.str.match(r"\s*[=+\-@\t\r\n']").fillna(False).astype(bool)
        harmless = pd.to_numeric(texts, errors="coerce").notna()
        shown[name] = texts.mask(runs & ~harmless, "'" + texts)
    write_table(path, shown)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` (without its index) atomically, its format told by the extension; equal tables, equal bytes."""
    extension = _format(path)
    with atomic_path(path) as temporary:
        kind = extension.removesuffix(".gz")
        if kind == ".parquet":
            table.to_parquet(temporary, index=False)
            return
        with _text_for_writing(temporary, zipped=extension.endswith(".gz")) as stream:
            if kind in (".csv", ".tsv"):
                table.to_csv(stream, index=False, sep="," if kind == ".csv" else "\t", lineterminator="\n")
            else:
                lines = kind == ".jsonl"
                table.to_json(stream, orient="records", lines=lines, force_ascii=False, double_precision=15)


@contextmanager
def _text_for_writing(path: Path, *, zipped: bool) -> Iterator[IO[str]]:
    """A stream of UTF-8. A gzip header names neither the file, which is a temporary one, nor the time."""
    if not zipped:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        yield text


def reject_rows(
    rows: Iterable[int], column: str, values: Sequence[str], code: str, messages: Sequence[str]
) -> pd.DataFrame:
    """A table of rejects, the columns `REJECT_COLUMNS`: one for each of ``rows``, all for one reason."""
    at = np.asarray(list(rows), dtype=np.int64)
    texts = {"column": [column] * len(at), "value": values, "code": [code] * len(at), "message": messages}
    return pd.DataFrame({"row": at} | {name: pd.array(list(cells), dtype="str") for name, cells in texts.items()})


def _format(path: Path) -> str:
    for extension in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(extension):
            return extension
    raise SettingsError(f"{path} has an unknown extension; allowed: {', '.join(FORMATS)}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _read_delimited(path: Path, separator: str, missing_values: Sequence[str]) -> pd.DataFrame:
    options: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig", "keep_default_na": False, "index_col": False}
    header = pd.read_csv(path, header=None, nrows=1, dtype="str", **options).iloc[0].tolist()
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ValueError(f"repeated column names {repeated}")
    types = {name: "str" for name in header if _is_text(name)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        try:
            table: pd.DataFrame = pd.read_csv(
                path, dtype=types, na_values=["", *missing_values], low_memory=False, **options
            )
        except pd.errors.ParserWarning as warning:
            raise ValueError(f"rows with more cells than the {len(header)} columns of the header") from warning
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    """Every cell a scalar; Arrow takes any bytes for text until somebody reads them, so that is asked at once."""
    table = pd.read_parquet(path)
    for _, column in table.items():
        if isinstance(column.array, pd.arrays.ArrowStringArray):
            column.array.__arrow_array__().validate(full=True)
    return flatten(table)


def _read_json(path: Path, *, lines: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows as objects; ``lines``: one per line, malformed ones set aside with their line number."""
    rows, records, bad = [], [], []
    with _open_text(path) as stream:
        source = enumerate(stream, start=1) if lines else enumerate(_json_array(stream), start=1)
        for number, entry in source:
            if lines and not entry.strip():
                continue
            try:
                record = json.loads(entry) if lines else entry
                if lines and "\\ud" in entry.lower():
                    json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
            except RecursionError:
                bad.append((number, entry.strip()[:200], "is nested too deeply"))
                continue
            except UnicodeEncodeError:
                bad.append((number, entry.strip()[:200], "holds an unpaired surrogate, which is not text"))
                continue
            except json.JSONDecodeError as error:
                bad.append((number, entry.strip()[:200], f"is not JSON: {error.msg} at character {error.pos + 1}"))
                continue
            except ValueError:  # Python refuses to read whole numbers of thousands of digits
                bad.append((number, entry.strip()[:200], "holds a number that is too long to be read"))
                continue
            if isinstance(record, dict):
                rows.append(number)
                records.append(record)
            else:
                bad.append((number, str(entry).strip()[:200], "is not a JSON object"))
    columns = list(dict.fromkeys(name for record in records for name in record))
    cells = {name: [_flat(record.get(name)) for record in records] for name in columns}
    table = pd.DataFrame({name: _json_column(name, column) for name, column in cells.items()})
    table.index = pd.Index(rows, name="row")
    return table, reject_rows([b[0] for b in bad], "", [b[1] for b in bad], "malformed", [b[2] for b in bad])


def _json_column(name: str, cells: list[object]) -> pd.Series:
    try:
        return pd.Series(cells, dtype=object if _is_text(name) else None)
    except OverflowError:  # a whole number larger than any float, beside floats; not in newer pandas
        return pd.Series(cells, dtype=object)


def _json_array(stream: IO[str]) -> list[Any]:
    text = stream.read()
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError("its top level is not an array of objects")
    if "\\ud" in text.lower():
        _refuse_half_characters(content)
    return content


def _refuse_half_characters(content: object) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds an unpaired surrogate, which is not text") from error


def _open_text(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def flatten(table: pd.DataFrame) -> pd.DataFrame:
    """A copy in which every cell is a scalar."""
    table = table.copy()
    for column in table.columns[[isinstance(dtype, np.dtype) and dtype.kind == "O" for dtype in table.dtypes]]:
        table[column] = table[column].map(_flat)
    return table


def _flat(cell: object) -> object:
    """A cell that holds a list or an object becomes its JSON text, so that every cell is a scalar."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    return json.dumps(cell, ensure_ascii=False, default=_plain) if isinstance(cell, list | dict) else cell


def _plain(inner: object) -> object:
    """What Parquet holds inside a list or an object: arrays and numbers of numpy, dates, bytes."""
    return inner.tolist() if isinstance(inner, np.ndarray | np.generic) else str(inner)


def _is_text(column: object) -> bool:
    name = str(column)
    return name == "text" or name.endswith("_id") or name.startswith(ATTRIBUTE_PREFIX)


def as_text(value: object) -> str:
    """One cell as text. A whole number is the same text however a format with types spells it: 7 and 7.0 are ``"7"``.

    Texts stay as they are: ``"7.0"``, ``"007"`` and ``"7"`` are three different ids.
    """
    if isinstance(value, float | np.floating) and (number := float(value)).is_integer() and abs(number) < 2**53:
        return str(int(number))
    return str(value)


def text_cells(cells: pd.Series) -> pd.Series:
    """Cells as text (`as_text`), missing ones kept."""
    if pd.api.types.is_string_dtype(cells.dtype) and cells.dtype != object:
        return cells
    return pd.Series(
        [None if pd.isna(v) else as_text(v) for v in cells], index=cells.index, name=cells.name, dtype="str"
    )
