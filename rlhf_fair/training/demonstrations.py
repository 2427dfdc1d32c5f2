"""Demonstrations of ``train sft``: prompts with the answers to learn, from tables or chats, checked and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from jinja2 import TemplateError
from pydantic import Field, model_validator

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.json_cells import json_cell
from rlhf_fair.settings import Settings
from rlhf_fair.tables import (
    REJECT_COLUMNS,
    Column,
    Contract,
    Quarantined,
    read_jsonl_with_rejects,
    read_table,
    require_columns,
    validate,
)
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.reward.evaluation import split_by_key

ROLES = ("system", "user", "assistant")


class DemonstrationSource(Settings):
    """A table of demonstrations: CSV, TSV, JSONL or Parquet, one row for each.

    Either the columns ``prompt`` and ``answer``, or ``messages``: a list of {role, content} that ends with what the
    assistant is to say, its last turn alone being learnt. ``separator`` stands between prompt and answer where no chat
    template does. ``groups``: columns by which held-out perplexity is told apart. ``clusters``: columns of rows that
    belong together; the first also keeps them on one side of the split. ``missing``: texts that mean an empty cell.
    """

    path: str
    prompt: str = "prompt"
    answer: str = "answer"
    messages: str = ""
    separator: str = ""
    groups: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.messages and self.model_fields_set & {"prompt", "answer", "separator"}:
            raise ValueError("messages holds prompt and answer: name either messages, or prompt and answer")
        return self


class DemonstrationSplit(Settings):
    """Rows that training never sees: a ``share``, drawn by cluster or prompt, or a table of their own."""

    share: float = Field(0.1, gt=0, lt=1)
    path: str = ""
    alpha: float = Field(0.05, gt=0, lt=0.5)


@dataclass(frozen=True)
class Demonstrations:
    """Rows to learn and rows held out: `before` and `said`, the texts as the model reads them, groups and clusters.

    n_rows = len(train) + len(held_out) + len(rejects) + leaked.
    """

    train: pd.DataFrame
    held_out: pd.DataFrame
    rejects: pd.DataFrame
    n_rows: int
    leaked: int


@dataclass(frozen=True)
class Reading:
    """How texts become tokens. ``chat``: by the tokenizer's chat template. ``max_length``: most tokens of a row."""

    tokenizer: Any
    chat: bool
    max_length: int | None


def read_demonstrations(
    source: DemonstrationSource, split: DemonstrationSplit, folders: Folders, reading: Reading, *, seed: int
) -> Demonstrations:
    """Read, check and split.

    Raises
    ------
    MissingFileError, ColumnError, RowError, SettingsError
        A file or a column does not exist; nothing is left for one of the sides; messages without a chat template.
    """
    if source.messages and not reading.chat:
        raise SettingsError("data.messages needs a chat template; the model has none, or chat = 'no'")
    first = _read(source, folders.find(source.path), reading)
    table, rejects, n_rows = first.table, first.rejects, len(first.table) + len(first.rejects)
    leaks = pd.Series(False, index=table.index)
    if split.path:
        other = _read(source, folders.find(split.path), reading)
        rejects = pd.concat([rejects, other.rejects], ignore_index=True)
        n_rows += len(other.table) + len(other.rejects)
        held_out, leaks = other.table, table["before"].isin(other.table["before"])
        train = table[~leaks].reset_index(drop=True)
    else:
        keys = (
            table[source.clusters[0]]
            if source.clusters
            else table["before"] + table["said"].where(table["before"] == "", "")
        )
        side = split_by_key(keys, validation=0.0, test=split.share, seed=seed)
        held_out, train = (table[side == name].reset_index(drop=True) for name in ("test", "train"))
    for what, rows in (("train on", train), ("hold out", held_out)):
        if not len(rows):
            counts = ", ".join(f"{n} {code}" for code, n in rejects["code"].value_counts().items())
            raise RowError(f"{source.path}: no row is left to {what}; {n_rows} rows, {counts or 'none rejected'}")
    return Demonstrations(train, held_out, rejects, n_rows, int(leaks.sum()))


def _read(source: DemonstrationSource, path: Path, reading: Reading) -> Quarantined:
    """Usable rows, and the others with reasons: malformed, missing, not_a_chat, too_long."""
    if path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        read = read_jsonl_with_rejects(path, missing_values=source.missing)
    else:
        table = read_table(path, missing_values=source.missing)
        numbered = table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"))
        read = Quarantined(numbered, pd.DataFrame(columns=list(REJECT_COLUMNS)))
    table = read.table.assign(row_number=read.table.index.astype(str))
    needed = [source.messages] if source.messages else [source.answer]
    also = [*source.groups, *source.clusters]
    require_columns(table, [*needed, *also, *([] if source.messages else [source.prompt])], path.name)
    contract = Contract(path.name, dict.fromkeys([*needed, *also], Column()), key=("row_number",))
    checked = validate(table, contract)
    rows = checked.table.set_axis(pd.Index(checked.table["row_number"].astype(int), name="row"))
    texts, faults = _texts(rows, source, reading)
    kept = rows[[*also]].assign(before=[t[0] for t in texts], said=[t[1] for t in texts])
    long = _too_long(kept, faults, reading)
    faults |= long
    bad = [
        {"row": row, "column": needed[0], "value": "", "code": code, "message": f"{path.name} row {row}: {why}"}
        for row, (code, why) in sorted(faults.items())
    ]
    parts = [p for p in (read.rejects, checked.rejects, pd.DataFrame(bad, columns=list(REJECT_COLUMNS))) if len(p)]
    rejects = pd.concat(parts).sort_values("row", ignore_index=True) if parts else checked.rejects
    return Quarantined(kept[~kept.index.isin(list(faults))].reset_index(drop=True), rejects.assign(file=path.name))


def _texts(
    rows: pd.DataFrame, source: DemonstrationSource, reading: Reading
) -> tuple[list[tuple[str, str]], dict[int, tuple[str, str]]]:
    """(what stands before, what is to be said) of each row, and the rows that are no chat with the reason."""
    found: list[tuple[str, str]] = []
    faults: dict[int, tuple[str, str]] = {}
    for row, cells in zip(rows.index.tolist(), rows.to_dict("records"), strict=True):
        pair = ("", "")
        try:
            if source.messages:
                pair = chat_texts(reading.tokenizer, _messages(str(cells[source.messages])))
            else:
                prompt = "" if pd.isna(cells[source.prompt]) else str(cells[source.prompt])
                pair = _plain_texts(prompt, str(cells[source.answer]), source, reading)
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            faults[row] = ("not_a_chat", " ".join(str(error).split()) or type(error).__name__)
        found.append(pair)
    return found, faults


def _plain_texts(prompt: str, answer: str, source: DemonstrationSource, reading: Reading) -> tuple[str, str]:
    if reading.chat and prompt:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return chat_texts(reading.tokenizer, turns)
    return prompt + source.separator if prompt else "", answer


def chat_texts(tokenizer: Any, turns: Sequence[dict[str, str]]) -> tuple[str, str]:
    """A chat as (all up to where the assistant's last turn begins, that turn), by the tokenizer's template.

    The end-of-sequence token that a template puts behind the turn is left out, since training adds its own.
    """
    before = str(tokenizer.apply_chat_template(list(turns[:-1]), tokenize=False, add_generation_prompt=True))
    whole = str(tokenizer.apply_chat_template(list(turns), tokenize=False))
    if not whole.startswith(before):
        raise ValueError("the chat template writes a prompt otherwise once it is answered, so no answer can be cut out")
    said = whole.removeprefix(before).rstrip("\n")
    return before, said.removesuffix(tokenizer.eos_token or "")


def _messages(cell: str) -> list[dict[str, str]]:
    """The turns in a cell; what is wrong with them else."""
    turns = json_cell(cell)
    if not isinstance(turns, list) or not turns:
        raise ValueError("messages is not a list of {role, content}")
    for place, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str) or turn.get("role") not in ROLES:
            raise ValueError(f"message {place} is not {{role, content}} with a role of {', '.join(ROLES)}")
    if turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise ValueError("the last message is not an answer of the assistant")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _too_long(kept: pd.DataFrame, faults: dict[int, tuple[str, str]], reading: Reading) -> dict[int, tuple[str, str]]:
    """Rows of more tokens than fit, which are left out and not cut: half an answer teaches to stop halfway."""
    if reading.max_length is None or not len(kept):
        return {}
    tokenizer = reading.tokenizer
    befores = tokenizer(kept["before"].tolist(), add_special_tokens=not reading.chat)["input_ids"]
    saids = tokenizer(kept["said"].tolist(), add_special_tokens=False)["input_ids"]
    lengths = np.array([len(b) + len(s) + 1 for b, s in zip(befores, saids, strict=True)])
    return {
        row: ("too_long", f"{n} tokens exceed the limit of {reading.max_length}")
        for row, n in zip(kept.index.tolist(), lengths.tolist(), strict=True)
        if n > reading.max_length and row not in faults
    }
