"""The prompts of a run: read and checked, put into the form the policy is asked in, split, and dealt into steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.chat_template import ChatTemplate
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
from rlhf_fair.training.group_source import group_source
from rlhf_fair.training.ppo.job.config import HeldOut, PromptSource
from rlhf_fair.training.ppo.job.linked_rows import linked_rows
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.reward.evaluation import split_by_key

ASKED = "asked"
"""Column with the prompt as the policy reads it."""
TAKEN = (ASKED, "prompts", "completions")
"""Names that a table may not use for columns of its own: a reward gets them as arguments."""


@dataclass(frozen=True)
class Window:
    """How prompts become tokens: ``tokens`` (None: no limit) is the most that prompt and answer may have together."""

    tokenizer: Any
    template: ChatTemplate | None
    max_new_tokens: int
    tokens: int | None


@dataclass(frozen=True)
class PromptTable:
    """Prompts to train on and prompts held out: prompt_id, prompt, `ASKED`, and every other column of the table.

    ``n_rows`` were read; ``rejects`` says which were not used and why; ``leaked`` rows of training were left out since
    they are linked to a held-out row by text or cluster (`linked_rows`).
    n_rows = len(train) + len(held_out) + len(rejects) + leaked.
    """

    train: pd.DataFrame
    held_out: pd.DataFrame
    rejects: pd.DataFrame
    n_rows: int
    leaked: int


def read_prompt_table(
    source: PromptSource, held_out: HeldOut, folders: Folders, window: Window, *, strata: Sequence[str] = (), seed: int
) -> PromptTable:
    """Read, check and split the prompts; ``strata``: columns that must be there besides those of the source.

    Raises
    ------
    MissingFileError, ColumnError, RowError
        A file or a column does not exist; no prompt is left for one of the sides.
    """
    reader = _Reader(source, folders, window, tuple(strata))
    first = reader.read(source.path)
    table, rejects, n_rows = first.table, first.rejects, len(first.table) + len(first.rejects)
    leaks = pd.Series(False, index=table.index)
    if held_out.path:
        other = reader.read(held_out.path)
        rejects = pd.concat([rejects, other.rejects], ignore_index=True)
        n_rows += len(other.table) + len(other.rejects)
        tested, units = other.table, _units(source, pd.concat([table, other.table], ignore_index=True))
        leaks = units[: len(table)].isin(units[len(table) :])
        train = table[~leaks].reset_index(drop=True)
    else:
        units = _units(source, table)
        side = split_by_key(units, validation=0.0, test=held_out.share, seed=seed)
        tested, train = (table[side == name].reset_index(drop=True) for name in ("test", "train"))
    for what, rows in (("train on", train), ("hold out", tested)):
        if not len(rows):
            raise RowError(f"{source.path}: no prompt is left to {what}; {_account(rejects, n_rows)}{_tied(units)}")
    return PromptTable(train, tested, rejects, n_rows, int(leaks.sum()))


def _units(source: PromptSource, table: pd.DataFrame) -> pd.Series:
    """What stays on one side of the split: rows linked by their first cluster or by their text."""
    return linked_rows([*(table[name] for name in source.clusters[:1]), table["prompt"]])


def _tied(units: pd.Series) -> str:
    """How many rows hang together in how few units, where that is what leaves a side without a prompt."""
    n = units.nunique()
    return f"; {len(units)} rows hang together by text or cluster as {n} unit{'s' * (n != 1)}" if len(units) > n else ""


class PromptStream:
    """The prompts of any step, from its number alone: ``stream(step)``, counted from 0.

    Every epoch shuffles anew. Rows with the same ``cluster`` stay together, so that twins are compared within a batch.
    ``latest`` is the step last asked for.
    """

    def __init__(self, table: pd.DataFrame, batch_size: int, seed: int, cluster: str | None = None) -> None:
        self.table, self.batch_size, self.seed, self.latest = table, batch_size, seed, 0
        labels = table[cluster] if cluster else pd.RangeIndex(len(table))
        self._cluster = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)

    def __call__(self, step: int) -> PromptBatch:
        """Row numbers run on from epoch to epoch, so that every step has a full batch."""
        self.latest = step
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, len(self.table))
        orders = {epoch: self._order(epoch) for epoch in np.unique(epochs).tolist()}
        return prompt_batch(self.table.iloc[[orders[e][i] for e, i in zip(epochs.tolist(), within, strict=True)]])

    def _order(self, epoch: int) -> NDArray[np.intp]:
        """A random order of the clusters, and of the rows within each."""
        rng = np.random.default_rng([self.seed, epoch])
        rank = rng.permutation(self._cluster.max() + 1)[self._cluster]
        return np.lexsort((rng.random(len(rank)), rank))


def prompt_batch(rows: pd.DataFrame) -> PromptBatch:
    """Rows as the trainer takes them; empty cells are None."""
    columns = {str(name): plain(rows[name]) for name in rows.columns if name != ASKED}
    return PromptBatch(rows[ASKED].tolist(), columns)


def plain(cells: pd.Series) -> list[Any]:
    """Python's own values, None for a missing one."""
    return [None if missing else cell for cell, missing in zip(cells.tolist(), cells.isna().tolist(), strict=True)]


class _Reader:
    """Reads the tables of one config."""

    def __init__(self, source: PromptSource, folders: Folders, window: Window, strata: tuple[str, ...]) -> None:
        self.source, self.folders, self.window, self.strata = source, folders, window, strata

    def read(self, name: str) -> Quarantined:
        """The usable rows, and the others with reasons: malformed, missing, duplicate, too_long."""
        source, path = self.source, self.folders.find(name)
        read = _rows(source, path)
        table = read.table
        needed = dict.fromkeys([source.prompt, *source.groups, *self.strata, *source.clusters])
        require_columns(table, [column for column in needed if column not in source.derive], path.name)
        if source.id not in table:
            table[source.id] = [f"row-{row}" for row in table.index]
        blank = table[source.prompt].astype("str").str.strip() == ""
        table[source.prompt] = table[source.prompt].mask(blank)
        for column, labels in self._derived(table).items():
            table[column] = labels
        optional = {*source.groups, *self.strata} if source.unknown == "keep" else set()
        columns = {column: Column(nullable=column in optional) for column in [source.id, *needed]}
        checked = validate(table, Contract(path.name, columns, key=(source.id,)))
        rows = [row for row in table.index if row not in set(checked.rejects["row"])]
        found = _named(checked.table.set_axis(pd.Index(rows, name="row")), source, path)
        wrap = self.window.template.wrap if self.window.template else str
        found[ASKED] = [wrap(prompt) for prompt in found["prompt"]]
        kept, too_long = self._fitting(found, path)
        parts = [part for part in (read.rejects, checked.rejects, too_long) if len(part)]
        rejects = pd.concat(parts).sort_values("row", ignore_index=True) if parts else checked.rejects
        return Quarantined(kept.reset_index(drop=True), rejects.assign(file=path.name))

    def _derived(self, table: pd.DataFrame) -> dict[str, pd.Series]:
        """The columns that are made from prompts: a label, or missing where the prompt does not tell."""
        prompts = table[self.source.prompt].astype("str").fillna("").tolist()
        columns = {str(name): plain(table[name]) for name in table.columns}
        return {
            column: pd.Series(group_source([made], self.folders.data)(prompts, columns), index=table.index, dtype="str")
            for column, made in self.source.derive.items()
        }

    def _fitting(self, table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The prompts that leave room for an answer, and rejects for the others."""
        window, column = self.window, self.source.prompt
        ids = window.tokenizer(table[ASKED].tolist())["input_ids"] if len(table) else []
        lengths = np.array([len(row) for row in ids], dtype=int)
        fits = lengths + window.max_new_tokens <= (window.tokens or np.inf)
        long = table.index[~fits]
        messages = [
            f"{path.name} row {row}, column {column!r}: {n} tokens and {window.max_new_tokens} new ones exceed the "
            f"model's window of {window.tokens}"
            for row, n in zip(long, lengths[~fits], strict=True)
        ]
        rejects = {"row": long, "column": column, "value": lengths[~fits].astype(str), "code": "too_long"}
        return table[fits], pd.DataFrame(rejects | {"message": messages}, columns=list(REJECT_COLUMNS))


def _rows(source: PromptSource, path: Path) -> Quarantined:
    """The file's rows by number; of JSONL files malformed lines are set aside."""
    if path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl_with_rejects(path, missing_values=source.missing)
    table = read_table(path, missing_values=source.missing)
    return Quarantined(
        table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row")), pd.DataFrame(columns=list(REJECT_COLUMNS))
    )


def _named(table: pd.DataFrame, source: PromptSource, path: Path) -> pd.DataFrame:
    """Prompt and id under the names that all code uses."""
    taken = [name for name in TAKEN if name in table.columns]
    for column, name in ((source.prompt, "prompt"), (source.id, "prompt_id")):
        taken += [name] if column != name and name in table.columns else []
    if taken:
        raise SettingsError(f"{path} has a column {taken[0]!r}, a name that rewards get for something else; rename it")
    return table.rename(columns={source.prompt: "prompt", source.id: "prompt_id"})


def _account(rejects: pd.DataFrame, n_rows: int) -> str:
    """``12 rows: 10 missing, 2 too_long``."""
    counts: Sequence[str] = [f"{n} {code}" for code, n in rejects["code"].value_counts().items()]
    return f"{n_rows} rows: {', '.join(counts) or 'none rejected'}"
