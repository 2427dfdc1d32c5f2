"""The tables users bring (annotators, items, assignments, feedback): read, validate, quarantine, write.

Nothing is lost on the way in: every input row is either accepted or listed among the rejects with a reason.
Ids and attributes are text (``007`` stays ``007``; the numbers 7 and 7.0 of a format with types are both ``7``) and
only an empty cell is missing: ``None`` may well be somebody's religion, so words that mean "missing" in a file are an
argument.
"""

from __future__ import annotations

import gzip
import json
import warnings
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from rlhf_fair.artifacts import atomic_path
from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError, about_file

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


@dataclass(frozen=True)
class Column:
    """What one column may hold. ``required``: it must exist; ``nullable``: single cells may be empty.

    A flag is true or false, in whatever way the file's format spells it.
    """

    kind: Literal["text", "number", "flag"] = "text"
    required: bool = True
    nullable: bool = False
    allowed: tuple[str, ...] = ()
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Rule:
    """A condition over several columns: ``broken`` returns True for the rows that violate it."""

    column: str
    broken: Callable[[pd.DataFrame], pd.Series]
    message: str


@dataclass(frozen=True)
class Contract:
    """A table's columns, the columns whose combination is unique, and rules over several columns."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = field(default=())


_ID = Column()
_OPTIONAL_TEXT = Column(required=False, nullable=True)

ANNOTATORS = Contract(
    "annotators",
    {
        "annotator_id": _ID,
        "cost": Column("number", required=False, low=0),
        "capacity": Column("number", required=False, low=0),
        "languages": _OPTIONAL_TEXT,
        "skills": _OPTIONAL_TEXT,
        "consent": _OPTIONAL_TEXT,
    },
    key=("annotator_id",),
)
ITEMS = Contract(
    "items", {"item_id": _ID, "prompt": Column(), "response_a": Column(), "response_b": Column()}, key=("item_id",)
)
ASSIGNMENTS = Contract(
    "assignments",
    {
        "item_id": _ID,
        "annotator_id": _ID,
        "slot": Column("number", low=0),
        "order": Column(required=False, allowed=("ab", "ba")),
    },
    key=("item_id", "annotator_id"),
)
TEXT_KINDS = ("edit", "revised_instruction")
"""An answer made better, and an instruction made clearer: collected, since texts have no mean."""
FEEDBACK_KINDS = ("pair", "rating", "scalar", *TEXT_KINDS)
"""pair: a choice. rating: a value on a scale. scalar: a reward or punishment, any number with its sign."""
FEEDBACK = Contract(
    "feedback",
    {
        "item_id": _ID,
        "annotator_id": _ID,
        "kind": Column(allowed=FEEDBACK_KINDS),
        "choice": Column(required=False, nullable=True, allowed=("a", "b", "tie")),
        "value": Column("number", required=False, nullable=True),
        "text": Column(required=False, nullable=True),
        "seconds": Column("number", required=False, nullable=True, low=0),
        "simulated": Column("flag", required=False, nullable=True),
    },
    key=("item_id", "annotator_id", "kind"),
    rules=(
        Rule("choice", lambda t: (t["kind"] == "pair") & _absent(t, "choice"), "a pair needs a choice: a, b or tie"),
        Rule("value", lambda t: (t["kind"] == "rating") & _absent(t, "value"), "a rating needs a value"),
        Rule("value", lambda t: (t["kind"] == "scalar") & _absent(t, "value"), "a scalar reward needs a value"),
        Rule("text", lambda t: t["kind"].isin(TEXT_KINDS) & _absent(t, "text"), "an edit or revision needs a text"),
    ),
)


def require_columns(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise `ColumnError` naming the first column that ``table`` lacks."""
    for column in columns:
        if column not in table.columns:
            raise ColumnError(name, column, table.columns)


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Names of the ``attr.*`` columns, in table order."""
    return [column for column in table.columns if str(column).startswith(ATTRIBUTE_PREFIX)]


def is_simulated(feedback: pd.DataFrame) -> pd.Series:
    """True for the rows of a validated feedback table marked as drawn from a model; an unmarked row is a person's."""
    if "simulated" not in feedback:
        return pd.Series(False, index=feedback.index)
    return feedback["simulated"].eq(True).fillna(False).astype(bool)


def simulated_rows(feedback: pd.DataFrame) -> int:
    """How many rows `is_simulated` finds."""
    return int(is_simulated(feedback).sum())


def simulated_note(feedback: pd.DataFrame) -> str:
    """A sentence that says how much of the feedback no person gave; empty where all of it is people's."""
    simulated, n = simulated_rows(feedback), len(feedback)
    if not simulated:
        return ""
    if simulated == n:
        return f"simulated: {n} of {n} rows were drawn from a model; no person gave any of them"
    return (
        f"warning: {simulated} of {n} rows are simulated (drawn from a model) and stand beside {n - simulated} "
        "of people; results mix the two"
    )


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
    read = _read(path, missing_values)
    if len(read.rejects):
        first = read.rejects.iloc[0]
        raise RowError(f"{path} row {first['row']}: {first['message']}")
    return read.table.reset_index(drop=True)


def read_jsonl_with_rejects(path: Path, *, missing_values: Sequence[str] = ()) -> Quarantined:
    """Read a JSONL file, setting malformed lines aside; the accepted table is indexed by line number (``row``)."""
    if _format(path).removesuffix(".gz") != ".jsonl":
        raise SettingsError(f"{path} is not a JSONL file; allowed: .jsonl, .jsonl.gz")
    return _read(path, missing_values)


def read_validated(
    path: Path,
    contract: Contract,
    *,
    known: Mapping[str, Collection[str]] | None = None,
    missing_values: Sequence[str] = (),
) -> Quarantined:
    """`read_table` and `validate` in one, with malformed JSONL lines among the rejects."""
    read = _read(path, missing_values)
    with about_file(path):
        checked = validate(read.table, contract, known=known)
    rejects = pd.concat([read.rejects, checked.rejects]) if len(read.rejects) else checked.rejects
    return Quarantined(checked.table, rejects.sort_values("row", ignore_index=True))


def validate(
    table: pd.DataFrame, contract: Contract, *, known: Mapping[str, Collection[str]] | None = None
) -> Quarantined:
    """Check every row against ``contract``; a row with a fault is rejected under its first one.

    Codes: ``missing``, ``not_a_number``, ``out_of_range``, ``not_allowed``, ``unknown_id`` (not among
    ``known[column]``), ``inconsistent`` (a rule over several columns) and ``duplicate`` (the first sound row is kept).

    Raises
    ------
    ColumnError
        A required column does not exist.
    """
    require_columns(table, (name for name, column in contract.columns.items() if column.required), contract.name)
    known = known or {}
    require_columns(table, known, contract.name)
    rows = table.index if table.index.name == "row" else pd.RangeIndex(1, len(table) + 1)
    table = _flatten(table.set_axis(pd.Index(rows, name="row"), axis=0))
    faults = _Faults(contract.name, table)
    for name, column in contract.columns.items():
        if name in table.columns:
            table[name] = _check_column(table[name], column, faults)
    for name, ids in known.items():
        faults.add(~table[name].isin(list(ids)), name, "unknown_id", "is unknown here")
    for rule in contract.rules:
        faults.add(rule.broken(table), rule.column, "inconsistent", f"does not fit: {rule.message}")
    key = list(contract.key)
    duplicate = pd.Series(False, index=table.index)
    duplicate[faults.sound] = table[faults.sound].duplicated(key)
    faults.add(duplicate, key[0], "duplicate", f"repeats an earlier row with the same {', '.join(key)}")
    return Quarantined(table[faults.sound].reset_index(drop=True), faults.rejects())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` (without its index) atomically, its format told by the extension; equal tables, equal bytes."""
    extension = _format(path)
    compression: Any = {"method": "gzip", "mtime": 0} if extension.endswith(".gz") else None
    with atomic_path(path) as temporary:
        match extension.removesuffix(".gz"):
            case ".parquet":
                table.to_parquet(temporary, index=False)
            case ".csv" | ".tsv" as kind:
                separator = "," if kind == ".csv" else "\t"
                table.to_csv(temporary, index=False, sep=separator, lineterminator="\n", compression=compression)
            case kind:
                table.to_json(
                    temporary,
                    orient="records",
                    lines=kind == ".jsonl",
                    force_ascii=False,
                    double_precision=15,
                    compression=compression,
                )


class _Faults:
    """Collects, for each row, the first fault found."""

    def __init__(self, name: str, table: pd.DataFrame) -> None:
        self.name, self.original = name, table.copy()
        self.sound = pd.Series(True, index=table.index)
        self._parts: list[pd.DataFrame] = []

    def add(self, bad: pd.Series, column: str, code: str, message: str) -> None:
        new = bad.astype(bool) & self.sound
        if not new.any():
            return
        self.sound &= ~new
        values = self.original.loc[new, column] if column in self.original else pd.Series(None, index=new.index[new])
        texts = ["" if pd.isna(value) else str(value) for value in values.astype(object)]
        messages = [
            f"{self.name} row {row}, column {column!r}: {_shortened(text)!r} {message}"
            for row, text in zip(values.index, texts, strict=True)
        ]
        self._parts.append(_rejects(values.index, column, texts, code, messages))

    def rejects(self) -> pd.DataFrame:
        parts = [part for part in self._parts if len(part)]
        return pd.concat(parts).sort_values("row", ignore_index=True) if parts else _rejects([], "", [], "", [])


def _shortened(text: str, longest: int = 200) -> str:
    """A cell as messages quote it; the whole of it stands in the column ``value``."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _rejects(
    rows: Iterable[int], column: str, values: Sequence[str], code: str, messages: Sequence[str]
) -> pd.DataFrame:
    table = pd.DataFrame({"row": np.asarray(list(rows), dtype=np.int64), "column": column, "value": values})
    table["code"], table["message"] = code, messages
    return table.astype(dict.fromkeys(REJECT_COLUMNS[1:], "str"))


def _check_column(cells: pd.Series, column: Column, faults: _Faults) -> pd.Series:
    """Record the column's faults; returns it with its type."""
    name = str(cells.name)
    empty = cells.isna() | (cells.astype(object) == "")
    if not column.nullable:
        faults.add(empty, name, "missing", "is missing")
    if column.kind == "number":
        numbers = _as_numbers(cells.where(~empty))
        faults.add(numbers.isna() & ~empty, name, "not_a_number", "is not a number")
        outside = ~empty & ((numbers < column.low) | (numbers > column.high) | np.isinf(numbers))
        faults.add(outside, name, "out_of_range", f"is out of range; allowed: {column.low:g} to {column.high:g}")
        return numbers
    if column.kind == "flag":
        flags = as_flags(cells)
        faults.add(flags.isna() & ~empty, name, "not_allowed", "is not allowed; allowed: true, false")
        return flags if flags.isna().any() else flags.astype(bool)
    texts = _as_text(cells.where(~empty))
    if column.allowed:
        allowed = f"is not allowed; allowed: {', '.join(column.allowed)}"
        faults.add(~empty & ~texts.isin(column.allowed), name, "not_allowed", allowed)
    return texts


def _as_numbers(cells: pd.Series) -> pd.Series:
    """Cells as floats, NaN for what is no number; True and False are none."""
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "Ob":
        wrong = cells.map(
            lambda cell: isinstance(cell, bool | np.bool_) or (isinstance(cell, int) and abs(cell) > 1e300)
        )
        cells = cells.where(~wrong.astype(bool))
    return pd.to_numeric(cells, errors="coerce")


def as_flags(cells: pd.Series) -> pd.Series:
    """Cells as true or false, missing for what is neither; files without types spell them as words or as 1 and 0."""
    if pd.api.types.is_bool_dtype(cells.dtype):
        return cells.astype("boolean")
    spelled = cells.astype(object).map(lambda cell: str(cell).strip().casefold())
    return spelled.map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}).astype(
        "boolean"
    )


def _absent(table: pd.DataFrame, column: str) -> pd.Series:
    return table[column].isna() if column in table else pd.Series(True, index=table.index)


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


def _read(path: Path, missing_values: Sequence[str]) -> Quarantined:
    extension = _format(path)
    if not _is_file(path):
        raise MissingFileError(path, "table")
    rejects = _rejects([], "", [], "", [])
    try:
        match extension.removesuffix(".gz"):
            case ".parquet":
                table = _flatten(pd.read_parquet(path))
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
            table[column] = _as_text(table[column])
    return Quarantined(table, rejects)


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
    table = pd.DataFrame({name: pd.Series(c, dtype=object if _is_text(name) else None) for name, c in cells.items()})
    table.index = pd.Index(rows, name="row")
    return table, _rejects([b[0] for b in bad], "", [b[1] for b in bad], "malformed", [b[2] for b in bad])


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


def _flatten(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    for column in table.columns[[isinstance(dtype, np.dtype) and dtype.kind == "O" for dtype in table.dtypes]]:
        table[column] = table[column].map(_flat)
    return table


def _flat(cell: object) -> object:
    """A cell that holds a list or an object becomes its JSON text, so that every cell is a scalar."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, list | dict) else cell


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


def _as_text(cells: pd.Series) -> pd.Series:
    """Cells as text (`as_text`), missing ones kept."""
    if pd.api.types.is_string_dtype(cells.dtype) and cells.dtype != object:
        return cells
    return pd.Series(
        [None if pd.isna(v) else as_text(v) for v in cells], index=cells.index, name=cells.name, dtype="str"
    )
