"""Feedback out and in, by the name of a format."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from rlhf_fair.annotators.exchange import argilla, label_studio, tabular
from rlhf_fair.annotators.exchange.losses import Carried, Imported, Loss, Lost
from rlhf_fair.artifacts import atomic_path, read_json
from rlhf_fair.errors import RowError, SettingsError

Format = Literal["jsonl", "csv", "parquet", "label-studio", "argilla"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIX: dict[Format, str] = {
    "jsonl": ".jsonl",
    "csv": ".csv",
    "parquet": ".parquet",
    "label-studio": ".json",
    "argilla": ".json",
}

ITEMS_AT_ONCE = 2000


@dataclass(frozen=True)
class _Tool:
    losses: tuple[Loss, ...]
    carried: Callable[[pd.DataFrame], Carried]
    entries: Callable[[pd.DataFrame, pd.DataFrame | None, int], list[dict[str, Any]]]


_TOOLS: dict[str, _Tool] = {
    "label-studio": _Tool(label_studio.LOSSES, label_studio.carried, label_studio.tasks),
    "argilla": _Tool(argilla.LOSSES, argilla.carried, argilla.records),
}


def declared_losses(name: Format) -> tuple[Loss, ...]:
    """Everything that the format may do to a feedback table on the way out and back."""
    return _TOOLS[name].losses if name in _TOOLS else tabular.LOSSES[name]


def carried(table: pd.DataFrame, name: Format) -> Carried:
    """What of a validated feedback table the format carries, and what is lost."""
    return _TOOLS[name].carried(table) if name in _TOOLS else tabular.carried(table, name)


def export_feedback(
    table: pd.DataFrame, path: Path, name: Format, *, items: pd.DataFrame | None = None
) -> tuple[Lost, ...]:
    """Write a validated feedback table; returns what the format could not carry of it.

    ``items`` (item_id, prompt, response_a, response_b) puts the texts beside the answers in Label Studio and Argilla.
    """
    _require_suffix(path, name)
    kept = carried(table, name)
    if kept.table.empty:
        raise RowError(f"no feedback row is left that {name} can carry")
    if name in _TOOLS:
        write_entries(path, _entries(_TOOLS[name], kept.table, items))
    else:
        tabular.write(kept.table, path)
    return kept.lost


def import_feedback(
    path: Path, name: Format, *, choice_question: str = "choice", rating_question: str = "rating"
) -> Imported:
    """Read feedback; every entry that is none is among the rejects. The questions' names matter to Argilla alone."""
    _require_suffix(path, name)
    if name not in _TOOLS:
        return tabular.read(path)
    content = read_json(path, "feedback file")
    if not isinstance(content, list):
        raise RowError(f"{path} is no {name} export: its top level is not a list")
    try:
        if name == "label-studio":
            return label_studio.read_tasks(content)
        return argilla.read_records(content, choice_question=choice_question, rating_question=rating_question)
    except RecursionError as error:  # shallow enough to be parsed, too deep to be shown among the rejects
        raise RowError(f"{path} is nested too deeply") from error


def write_entries(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """A JSON list, one entry a line, written as the entries come."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("[\n")
        for number, entry in enumerate(entries):
            stream.write((",\n" if number else "") + json.dumps(entry, ensure_ascii=False, allow_nan=False))
        stream.write("\n]\n")


def _entries(tool: _Tool, table: pd.DataFrame, items: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    """A tool's entries, made for `ITEMS_AT_ONCE` items at a time: as objects, a large table would fill the memory."""
    number, _ = pd.factorize(table["item_id"])
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(0, number.max() + ITEMS_AT_ONCE, ITEMS_AT_ONCE))
    first = 1
    for start, end in itertools.pairwise([*ends.tolist(), len(order)]):
        part = table.iloc[order[start:end]]
        known = None if items is None else items[items["item_id"].isin(part["item_id"])]
        found = tool.entries(part, known, first)
        first += len(found)
        yield from found


def _require_suffix(path: Path, name: Format) -> None:
    plain = path.name.lower() if name in _TOOLS else path.name.lower().removesuffix(".gz")  # theirs are never packed
    if not plain.endswith(SUFFIX[name]):
        raise SettingsError(f"{path}: the format {name} is kept in a file that ends with {SUFFIX[name]}")
