"""Ratings of single texts by raters of known groups, as items that a reward model scores.

A rating has item_id, annotator_id and value, attributes of the rater in ``attr.*`` columns, and a text: in its own row
or in a table of items, as ``text`` (read as it stands) or as ``prompt`` and ``response``. Texts of different sources or
of different prompts are never compared with each other: ``source`` and ``prompt`` make a rating's *stratum*.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.probes.reward_feedback import SUBJECT, FeedbackFile
from rlhf_fair.probes.reward_pairs import lay_out
from rlhf_fair.tables import (
    Column,
    Contract,
    Quarantined,
    attribute_columns,
    read_table,
    read_validated,
    require_columns,
)

PROBE = "feedback_ratings"
TOLD = "subject of the text"
HELD_OUT_NAME = "held_out.parquet"
UNKNOWN_ITEM = "rating of an item that the table of items does not hold"
SEEN = "rating of a text that the model was trained on or chosen by"
NO_SUBJECT = "none named"

_TEXTS = {name: Column(required=False, nullable=True) for name in ("text", "prompt", "response", "source", SUBJECT)}
RATINGS = Contract(
    "ratings",
    {"item_id": Column(), "annotator_id": Column(), "value": Column("number")} | _TEXTS,
    key=("item_id", "annotator_id"),
)
ITEMS = Contract("items", {"item_id": Column()} | _TEXTS, key=("item_id",))


def rating_items(
    feedback: FeedbackFile, items_file: Path | None, *, layout: str, better: Literal["high", "low"]
) -> tuple[Quarantined, dict[str, int]]:
    """Ratings with ``text``, ``stratum``, ``rating`` (the value turned to high is better), and reason -> rows left out.

    Raises
    ------
    RowError, ColumnError
        No rating can be used, one item has two texts, or there are no texts.
    """
    read = feedback.accepted("rating", RATINGS)
    table, left_out = read.table, {}
    if table.empty:
        raise RowError(f"{feedback.path}: no usable rating; the first fault: {read.rejects['message'].iloc[0]}")
    if items_file is not None:
        table, lost = _with_items(table, items_file)
        left_out = {UNKNOWN_ITEM: lost} if lost else {}
    table = table.assign(text=_texts(table, feedback.path.name, layout))
    silent = table["text"].isna()
    if silent.any():
        left_out["rating of an item without a text"] = int(silent.sum())
        table = table[~silent]
    if table.empty:
        raise RowError(f"{feedback.path}: none of {len(silent):,} ratings has a text; see columns text, response")
    if table["value"].nunique() < 2:
        raise RowError(f"{feedback.path}: every rating is {table['value'].iloc[0]:g}; needed: ratings that differ")
    _one_text_each(table, feedback.path)
    table = table.assign(
        stratum=strata(table),
        rating=table["value"] if better == "high" else -table["value"],
        feedback_item=table["item_id"],
        item_id="rating/" + table["item_id"] + "/" + table["annotator_id"],
        probe=PROBE,
    )
    kept = ["probe", "item_id", "feedback_item", "annotator_id", "stratum", "value", "rating", "text"]
    kept += [*attribute_columns(table), *([SUBJECT] if SUBJECT in table else [])]
    return Quarantined(table[kept].reset_index(drop=True), read.rejects), left_out


def held_out_only(table: pd.DataFrame, model: Path, source: str) -> tuple[pd.DataFrame, int, str]:
    """The ratings of items in the test split beside the model, how many others there were, and a sentence for limits.

    ``source``: the name of the ratings among the model's own sources; "" if they were none of them.
    """
    path = model / HELD_OUT_NAME
    if not source:
        return table, 0, "Whether the model was trained on some of the rated texts is not known here."
    if not path.is_file():
        return table, 0, f"No {HELD_OUT_NAME} lies beside the model: it may have been trained on the rated texts."
    held_out = read_table(path)
    require_columns(held_out, ["item_id", "source", "split"], str(path))
    mine = held_out[(held_out["source"] == source) & (held_out["split"] == "test")]
    known = table["feedback_item"].isin(set(mine["item_id"].astype(str)))
    if not known.any():
        sources = ", ".join(sorted(held_out["source"].unique()))
        raise RowError(f"{path}: no test item of held_out = {source!r} is among the rated ones; sources: {sources}")
    told = f"Ratings: of the {mine['item_id'].nunique():,} texts of {source} that the model was tested on, no others."
    return table[known].reset_index(drop=True), int((~known).sum()), told


def strata(table: pd.DataFrame) -> pd.Series:
    """(n,) source and prompt in one label; "" where neither is known."""
    parts: Sequence[pd.Series] = [table[name].fillna("") for name in ("source", "prompt") if name in table]
    label = pd.Series("", index=table.index, dtype="str")
    for part in parts:
        label = label + "\x1f" + part.astype("str")
    return label.str.strip("\x1f")


def _with_items(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    read = read_validated(path, ITEMS)
    if len(read.rejects):
        raise RowError(f"{path}: {read.rejects['message'].iloc[0]}")
    more = [name for name in _TEXTS if name in read.table]
    known = table["item_id"].isin(set(read.table["item_id"]))
    joined = table.drop(columns=[name for name in more if name in table])[known]
    return joined.merge(read.table[["item_id", *more]], on="item_id", how="left"), int((~known).sum())


def _texts(table: pd.DataFrame, name: str, layout: str) -> pd.Series:
    """(n,) what the model reads; missing where a row has no text."""
    if "response" in table:
        prompts = table["prompt"] if "prompt" in table else pd.Series(None, index=table.index, dtype="str")
        laid = [
            None if pd.isna(answer) else str(answer) if pd.isna(prompt) else lay_out(layout, str(prompt), str(answer))
            for prompt, answer in zip(prompts, table["response"], strict=True)
        ]
        texts = pd.Series(laid, index=table.index, dtype="str")
        return texts.fillna(table["text"]) if "text" in table else texts
    if "text" not in table:
        raise ColumnError(name, "text", table.columns)
    return table["text"]


def _one_text_each(table: pd.DataFrame, path: Path) -> None:
    counts = table.groupby("item_id")["text"].nunique()
    if (counts > 1).any():
        raise RowError(f"{path}: item_id {counts.index[counts > 1][0]!r} has {counts.max()} texts; allowed: one")
