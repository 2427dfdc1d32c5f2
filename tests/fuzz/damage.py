"""Damaged files: what editors, spreadsheets, half a download or a hand in a hurry make of a sound one.

Three kinds: bytes (flips, cuts, encodings, line ends), content (a parsed file with cells, columns, rows or keys changed
and written again in its own format, so that it still is CSV, JSON or TOML), and content that is made up from the names
of the sound file alone.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

HOSTILE_TEXTS = (
    *("", " ", "\t", "nan", "NaN", "NA", "None", "null", "inf", "-inf", "true", "1e999", "0x10", "+5", "-0", "1_000"),
    *("٣٤", "½", "1,5", "007", "7.0", "a" * 3000, "\x00", "a\x00b", "\u202eevil", "é", "e\u0301", "\ufeff", "\u2028"),
    *("=1+1", "../../nowhere", "/", ".", "..", "~", "\n", "\r\n", "\r", '"', "'", ",", ";", "|", "\\", "\\x", "%s"),
    *("{", "}", "{}", "{x}", "{noun}", "[M]", "BLANK", "[", "]", "(", "(((", ".*", "*", "?", "[[]]", "[1, 2", "[]"),
    *(
        "http://",
        "file:///nowhere",
        "a*b",
        "a=b",
        "=",
        "2026-11-21",
        "9999-99-99",
        "0000-00-00",
        "😀",
        "ſ",
        "İ",
        "a" * 65,
    ),
    *('{"a": NaN}', '["a", 1]', '{"text": 5}', "[null]", "1", "0", "-1", "0.5", "2", "99999999999999999999"),
)
HOSTILE = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 2**31, 2**63, -(2**63), 2**64, 10**25, 1e308, -1e308, 5e-324),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        [],
        {},
        [[]],
        [None],
        {"": None},
        ["a", "a"],
        [1, "a"],
        {"a": {"a": 1}},
    ),
    *([0.5, 0.5], [1, 0], [float("nan")], {"a": 1}, {"a": "b"}, {"a": ["b"]}, [{}], [[1, 2], [3]], 10**400),
    *HOSTILE_TEXTS,
)
"""Values that a cell or a key may hold; the last number is larger than any float."""

INSERTED = (
    *(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u202e\u200b".encode(), "\u2028".encode()),
    *(b"\n", b"\r", b"\r\n", b"\n\n\n", b'"', b"'", b",", b"\t", b"{", b"}", b"[", b"]", b":", b"\\", b"\x1a", b"\x0c"),
    *(b"\\ud800", b"\\u0000", b"NaN", b"1e999", b"-", b"#", b"=", b" ", b"9" * 500, b"x" * 20_000, b"\x1f\x8b"),
)
WHOLE = (
    *(
        b"",
        b" ",
        b"\n",
        b"\n\n\n",
        b"null",
        b"true",
        b"0",
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b'"a"',
        b"\x00" * 64,
        b"<html>",
    ),
    *(
        b"\xff\xfe\x00\x00",
        b"\xef\xbb\xbf",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
        b"PAR1",
        b"PAR1PAR1",
        b"\x80\x04K\x01.",
    ),
    *(
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"a=" + b"[" * 5_000,
        b"[" * 20_000 + b"]" * 20_000,
        b"[a]\n" * 3,
        b"a = 1\n",
    ),
    *(b"a,b\n", b"a,b\n1,2\n", b"a\tb\n1\t2\n", b'{"a": 1}\n', b'{"a": 1}', b"[1]", b"1" * 5_000, b"a.b.c = {}\n"),
)
BYTE_DAMAGE = (
    *(
        "flip",
        "cut",
        "cut out",
        "double",
        "insert",
        "replace whole",
        "utf-16",
        "latin-1",
        "bom",
        "crlf",
        "cr",
        "mixed ends",
    ),
    *("no last end", "upper case", "gzip", "reverse lines", "blank lines"),
)


@dataclass(frozen=True)
class Blow:
    """One piece of damage; ``at`` and ``to`` are places from 0 to 1, ``value`` is what is put there."""

    kind: str
    at: float
    to: float
    value: Any


_PLACE = st.integers(0, 4095).map(lambda n: n / 4096)
_BYTE_BLOWS = st.one_of(
    st.builds(Blow, st.sampled_from(BYTE_DAMAGE[:4]), _PLACE, _PLACE, st.integers(0, 7)),
    st.builds(Blow, st.just("insert"), _PLACE, _PLACE, st.sampled_from(INSERTED)),
    st.builds(Blow, st.just("replace whole"), _PLACE, _PLACE, st.sampled_from(WHOLE)),
    st.builds(Blow, st.sampled_from(BYTE_DAMAGE[6:]), _PLACE, _PLACE, st.none()),
)
_CHANGES = ("set", "delete", "rename", "double", "wrap", "swap", "set column", "drop column", "rename column", "add")
_CONTENT_BLOWS = st.builds(Blow, st.sampled_from(_CHANGES), _PLACE, _PLACE, st.sampled_from(HOSTILE))


def damaged(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    """What may become of the file ``name`` that holds ``content``: one to three blows, or other content altogether."""
    kind, tree = parsed(name, content)
    ways = [st.lists(_BYTE_BLOWS, min_size=1, max_size=2).map(lambda blows: _struck(content, blows))]
    if kind != "bytes":
        changed = st.lists(_CONTENT_BLOWS, min_size=1, max_size=3)
        ways += [changed.map(lambda blows: written(name, _changed(tree, blows)))] * 2
        ways += [_made_up(kind, tree).map(lambda made: written(name, made))]
    if name.endswith(".gz"):
        inner = gzip.decompress(content)
        ways += [damaged(name.removesuffix(".gz"), inner).map(lambda data: gzip.compress(data, 1))]
    return st.one_of(ways)


# -- bytes ------------------------------------------------------------------------------------------------------------


def _struck(data: bytes, blows: list[Blow]) -> bytes:
    for blow in blows:
        data = _strike(data, blow)
    return data


def _strike(data: bytes, blow: Blow) -> bytes:
    first, last = sorted((int(blow.at * len(data)), int(blow.to * len(data))))
    match blow.kind:
        case "flip":
            return data[:first] + bytes([data[first] ^ (1 << blow.value)]) + data[first + 1 :] if data else data
        case "cut":
            return data[:first]
        case "cut out":
            return data[:first] + data[last:]
        case "double":
            return data[:last] + data[first:]
        case "insert":
            return data[:first] + blow.value + data[first:]
        case "replace whole":
            return bytes(blow.value)
        case "bom":
            return codecs.BOM_UTF8 + data
        case "gzip":
            return gzip.compress(data, 1)
        case "crlf":
            return data.replace(b"\n", b"\r\n")
        case "cr":
            return data.replace(b"\n", b"\r")
        case "mixed ends":
            return data[:first].replace(b"\n", b"\r\n") + data[first:last] + data[last:].replace(b"\n", b"\r")
        case "no last end":
            return data.rstrip(b"\n")
        case "upper case":
            return data.upper()
        case "reverse lines":
            return b"\n".join(reversed(data.split(b"\n")))
        case "blank lines":
            return data.replace(b"\n", b"\n\n")
        case encoding:
            return data.decode("utf-8", "replace").encode(encoding, "replace")


# -- content ----------------------------------------------------------------------------------------------------------


def parsed(name: str, content: bytes) -> tuple[str, Any]:
    """The format's name and the content as Python values; ``bytes`` and None for what is no table or tree."""
    try:
        if name.endswith((".csv", ".tsv")):
            return "rows", list(csv.reader(io.StringIO(content.decode()), delimiter=_separator(name)))
        if name.endswith(".jsonl"):
            return "lines", [json.loads(line) for line in content.decode().splitlines() if line.strip()]
        if name.endswith(".json"):
            return "tree", json.loads(content)
        if name.endswith(".toml"):
            return "tree", tomllib.loads(content.decode())
        if name.endswith(".parquet"):
            return "table", pq.read_table(io.BytesIO(content)).to_pydict()
    except ValueError:
        pass
    return "bytes", None


def written(name: str, tree: Any) -> bytes:
    """The file with that content, as its format has it."""
    if name.endswith((".csv", ".tsv")):
        stream = io.StringIO()
        rows = csv.writer(stream, delimiter=_separator(name), lineterminator="\n")
        rows.writerows([[_cell(c) for c in row] if isinstance(row, list) else [_cell(row)] for row in _list(tree)])
        return stream.getvalue().encode("utf-8", "replace")
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in _list(tree)).encode()
    if name.endswith(".json"):
        return json.dumps(tree).encode()
    if name.endswith(".parquet"):
        return _as_parquet(tree)
    lines = (f"{json.dumps(str(key))} = {_toml(value)}" for key, value in tree.items() if value is not None)
    return "\n".join(lines).encode() if isinstance(tree, dict) else _toml(tree).encode()


def _separator(name: str) -> str:
    return "\t" if name.endswith(".tsv") else ","


def _list(tree: Any) -> list[Any]:
    return tree if isinstance(tree, list) else [tree]


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _toml(value: Any) -> str:
    """TOML on one line; what TOML has no word for (null) becomes an empty text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, float):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}.get(repr(value), repr(value))
    return '""' if value is None else json.dumps(value).replace("\\u007f", "\x7f")


def _as_parquet(tree: Any) -> bytes:
    """Columns of one type each where Arrow finds one, else texts; the longest gives the number of rows."""
    columns = (
        {str(name): _list(cells) for name, cells in tree.items()} if isinstance(tree, dict) else {"0": _list(tree)}
    )
    rows = max(map(len, columns.values()), default=0)
    arrays = {}
    for name, cells in columns.items():
        padded = [*cells, *[None] * (rows - len(cells))]
        try:
            arrays[name] = pa.array(padded)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, pa.ArrowNotImplementedError):
            arrays[name] = pa.array([None if cell is None else str(cell) for cell in padded])
    stream = io.BytesIO()
    try:
        pq.write_table(pa.table(arrays), stream)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # a struct without fields
        texts = {name: pa.array([None if c is None else str(c) for c in a.to_pylist()]) for name, a in arrays.items()}
        stream = io.BytesIO()
        pq.write_table(pa.table(texts), stream)
    return stream.getvalue()


def _changed(tree: Any, blows: list[Blow]) -> Any:
    tree = _copy(tree)
    for blow in blows:
        nodes = list(_nodes(tree))
        if nodes:
            _change(nodes, blow)
    return tree


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree


def _nodes(tree: Any) -> Any:
    """(holder, key) of every value below ``tree``; of long lists the first 50 entries."""
    entries = (
        list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree[:50])) if isinstance(tree, list) else []
    )
    for key, value in entries:
        yield tree, key
        yield from _nodes(value)


def _change(nodes: list[tuple[Any, Any]], blow: Blow) -> None:
    holder, key = nodes[int(blow.at * len(nodes))]
    value, siblings = _copy(blow.value), [other for other, k in nodes if k == key and type(other) is type(holder)]
    match blow.kind:
        case "set":
            holder[key] = value
        case "delete":
            del holder[key]
        case "wrap":
            holder[key] = [holder[key]] if blow.to < 0.5 else {"a": holder[key]}
        case "swap":
            other, place = nodes[int(blow.to * len(nodes))]
            holder[key], other[place] = _copy(other[place]), _copy(holder[key])
        case "double" if isinstance(holder, list):
            holder.insert(int(blow.to * len(holder)), _copy(holder[key]))
        case "double" | "rename":
            name = (f"{key} ", f" {key}", str(key).upper(), str(key).replace("a", "а"), str(value), "")[
                int(blow.to * 6)
            ]
            if isinstance(holder, dict):
                holder[name] = holder[key] if blow.kind == "double" else holder.pop(key)
            else:
                holder[key] = name
        case "set column" | "drop column" | "rename column":
            for other in siblings:
                if key not in (other if isinstance(other, dict) else range(len(other))):
                    continue  # an earlier blow has taken it away
                if blow.kind == "drop column":
                    other.pop(key)
                elif blow.kind == "rename column" and isinstance(other, dict):
                    other[str(value)] = other.pop(key)
                else:
                    other[key] = _copy(value)
        case "add":
            holder.append(value) if isinstance(holder, list) else holder.update({str(value): value})


# -- made up ----------------------------------------------------------------------------------------------------------


def _made_up(kind: str, tree: Any) -> st.SearchStrategy[Any]:
    """Content out of the names and words of a sound file, in an order that nobody meant."""
    words = sorted({word for word in _words(tree) if len(word) < 60})[:80] or ["a"]
    names, values = st.sampled_from(words), st.one_of(st.sampled_from(HOSTILE), st.sampled_from(words))
    if kind == "rows":
        return st.lists(st.lists(values, max_size=6), max_size=6)
    rows = st.dictionaries(names, values, max_size=6)
    if kind == "lines":
        return st.lists(st.one_of(rows, values), max_size=6)
    if kind == "table":
        return st.dictionaries(names, st.lists(values, max_size=4), max_size=6)
    nested = st.recursive(
        values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=8
    )
    return st.dictionaries(names, nested, max_size=6)


def _words(tree: Any) -> Any:
    for holder, key in _nodes(tree):
        yield str(key)
        if isinstance(holder[key], str):
            yield holder[key]
