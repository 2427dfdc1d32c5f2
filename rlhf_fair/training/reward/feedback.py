"""Read choices of people as preference pairs: what each person chose stays known, and who they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rlhf_fair.annotators.aggregation import CHOICE_VALUES
from rlhf_fair.errors import RowError
from rlhf_fair.tables import (
    ANNOTATORS,
    FEEDBACK,
    ITEMS,
    REJECT_COLUMNS,
    attribute_columns,
    read_validated,
    simulated_note,
    simulated_rows,
)
from rlhf_fair.training.reward.config import FeedbackSource
from rlhf_fair.training.reward.sources import PAIR_COLUMNS, Source, listed, text_key


def read_feedback(source: FeedbackSource, data_dir: Path) -> Source:
    """One item for each pair that somebody judged: ``p_a`` is the weighted share of judgements for a, ties half.

    Judgements of other kinds than ``pair`` are passed over; those of unknown items or annotators are rejected.
    """
    read = read_validated(data_dir / source.path, FEEDBACK)
    items = read_validated(data_dir / source.items, ITEMS)
    people = None if source.annotators is None else read_validated(data_dir / source.annotators, ANNOTATORS)
    pairs = read.table[read.table["kind"] == "pair"]
    if pairs.empty:
        raise _nothing_usable(source, [read.rejects])
    judgements = pd.DataFrame(
        {"item_id": pairs["item_id"], "rater_id": pairs["annotator_id"], "value": pairs["choice"].map(CHOICE_VALUES)}
    )
    known = judgements["item_id"].isin(items.table["item_id"])
    rejects = [read.rejects, items.rejects, _unknown(judgements[~known], "item_id", source)]
    judgements = judgements[known].assign(weight=1.0)
    if people is not None:
        joined = judgements["rater_id"].isin(people.table["annotator_id"])
        rejects += [people.rejects, _unknown(judgements[~joined], "rater_id", source)]
        judgements = _with_attributes(judgements[joined], people.table)
    if judgements.empty:
        raise _nothing_usable(source, rejects[::-1])
    table = _items(judgements, items.table, source)
    note = simulated_note(pairs)
    return Source(
        source.name,
        table,
        listed(rejects, source.name),
        len(read.table) + len(read.rejects),
        judgements.reset_index(drop=True),
        {"simulated_rows": simulated_rows(pairs), "note": note} if note else {},
    )


def _nothing_usable(source: FeedbackSource, rejects: Sequence[pd.DataFrame]) -> RowError:
    where = f"source {source.name!r}: "
    faults = [str(part["message"].iloc[0]).removeprefix(where) for part in rejects if len(part)]
    why = f"; the first fault: {faults[0]}" if faults else ""
    return RowError(f"{where}no usable choice in {source.path}{why}")


def _with_attributes(judgements: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    columns = attribute_columns(people)
    own = people.set_index("annotator_id")
    found = judgements.join(own[columns], on="rater_id")
    return found.assign(weight=judgements["rater_id"].map(own["weight"])) if "weight" in own else found


def _items(judgements: pd.DataFrame, items: pd.DataFrame, source: FeedbackSource) -> pd.DataFrame:
    weighted = judgements.assign(product=judgements["value"] * judgements["weight"], n=1.0)
    sums = weighted.groupby("item_id", sort=False)[["product", "weight", "value", "n"]].sum()
    p_a = (sums["product"] / sums["weight"]).where(sums["weight"] > 0, sums["value"] / sums["n"])
    table = items.set_index("item_id").loc[sums.index].reset_index()
    for side in ("a", "b"):
        table[f"text_{side}"] = table["prompt"] + source.separator + table[f"response_{side}"]
    table = table.assign(source=source.name, virtue=source.virtue, p_a=p_a.to_numpy(), weight=source.weight)
    table["key"], table["margin"] = table["prompt"].map(text_key), 0.0
    return table[list(PAIR_COLUMNS)]


def _unknown(rows: pd.DataFrame, column: str, source: FeedbackSource) -> pd.DataFrame:
    """Rejects for judgements of an item or by a person that the other table lacks; their row is no longer known: 0."""
    where = source.items if column == "item_id" else str(source.annotators)
    message = [f"source {source.name!r}: {id!r} is not in {where}" for id in rows[column]]
    content = {"row": 0, "column": column, "value": rows[column], "code": "unknown_id", "message": message}
    return pd.DataFrame(content, columns=list(REJECT_COLUMNS))
