"""Tables around a selection: who is a candidate, what the labels so far say, and the batch as a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import aggregate_pairs
from rlhf_fair.annotators.selection import Selection
from rlhf_fair.annotators.selection_coverage import UNKNOWN, Coverage
from rlhf_fair.annotators.selection_strategies import EVERYBODY, View
from rlhf_fair.tables import require_columns

TEXTS = ("prompt", "response_a", "response_b")


@dataclass(frozen=True)
class Candidates:
    """``table``: items that may be chosen, sorted by item_id. Of the others, ``labelled`` have labels already and
    ``copies`` repeat the texts of a labelled item or of a candidate, the two responses in either order."""

    table: pd.DataFrame
    labelled: int
    copies: int

    def left_out(self) -> str:
        """The items that are no candidates, with the reasons; "" if there are none."""
        parts = {
            "have labels already": self.labelled,
            "repeat the prompt and both responses of another item and were merged with it": self.copies,
        }
        return ", ".join(f"{number} items {text}" for text, number in parts.items() if number)


def candidates(items: pd.DataFrame, labelled: Collection[str]) -> Candidates:
    """Split ``items`` (item_id, and `TEXTS` or not); of several copies the one of lowest item_id stays.

    A second judgement of the same texts is a matter of ratings for each item and not of another item.
    """
    known = items["item_id"].isin(list(labelled))
    ordered = items.assign(_known=known).sort_values(["_known", "item_id"], ascending=[False, True])
    if all(name in items for name in TEXTS):
        first, second = ordered["response_a"], ordered["response_b"]
        swapped = first > second
        texts = {"prompt": ordered["prompt"], "a": first.where(~swapped, second), "b": second.where(~swapped, first)}
        copy = pd.DataFrame(texts).duplicated() & ~ordered["_known"]
    else:
        copy = pd.Series(False, index=ordered.index)
    table = ordered[~copy & ~ordered["_known"]].drop(columns="_known").reset_index(drop=True)
    return Candidates(table, int(known.sum()), int(copy.sum()))


def item_groups(items: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns as text, an empty cell as `UNKNOWN`."""
    require_columns(items, columns, "items")
    return pd.DataFrame({name: items[name].map(_group, na_action=None) for name in columns}, index=items.index)


def label_shares(feedback: pd.DataFrame, groups: pd.Series | None = None) -> dict[str, pd.Series]:
    """Share of judgements that prefer a, by item_id: of everybody, and of each group of raters.

    ``feedback``: item_id, annotator_id, choice. ``groups``: group by annotator_id. A group none of whose members judged
    has an empty series; raters whose group is not known count among everybody alone.
    """
    require_columns(feedback, ["item_id", "annotator_id", "choice"], "feedback")
    found = {EVERYBODY: _shares(feedback)}
    if groups is not None:
        group = feedback["annotator_id"].map(groups)
        found |= {str(name): _shares(feedback[group == name]) for name in sorted(groups.dropna().unique())}
    return found


def selection_table(
    found: Selection, pool: pd.DataFrame, groups: pd.DataFrame, strategy: str, views: dict[str, View]
) -> pd.DataFrame:
    """One row for each pick, in order.

    item_id, rank, score (information in nats the label adds to those above it; missing where drawn), strategy, reason,
    probability, weight (`Selection.weight`), then p_a and disagreement where a model says (by rater group where heads
    differ), and the groups.
    """
    table = pd.DataFrame(
        {
            "item_id": pool["item_id"].to_numpy()[found.rows],
            "rank": np.arange(1, len(found.rows) + 1),
            "score": found.gain,
            "strategy": strategy,
            "reason": found.reason,
            "probability": found.probability,
            "weight": found.weight(len(pool)),
        }
    )
    if len(views) > 1:
        table["chosen_for"] = found.known_least
    for name, view in views.items():
        ending = f" {name}" if len(views) > 1 else ""
        table[f"p_a{ending}"] = view.p_a[found.rows]
        if not np.isnan(view.disagreement).all():
            table[f"disagreement{ending}"] = view.disagreement[found.rows]
    for name in groups.columns:
        table[str(name)] = groups[name].to_numpy()[found.rows]
    return table


def coverage_table(found: Selection, groups: pd.DataFrame, wanted: Coverage) -> pd.DataFrame:
    """One row for each group: column, group, available, at_least, chosen, brought_in (chosen to reach a minimum)."""
    least = dict(zip(wanted.names, wanted.wanted.tolist(), strict=True))
    reason = pd.Series(found.reason)
    rows = []
    for column in groups:
        chosen = groups[column].to_numpy()[found.rows]
        for group, available in groups[column].value_counts().sort_index().items():
            name = f"{column}={group}"
            inside = chosen == group
            forced = inside & reason.str.startswith("coverage").to_numpy()
            rows.append((column, group, available, least.get(name, 0), int(inside.sum()), int(forced.sum())))
    return pd.DataFrame(rows, columns=["column", "group", "available", "at_least", "chosen", "brought_in"])


def _shares(feedback: pd.DataFrame) -> pd.Series:
    return aggregate_pairs(feedback).set_index("item_id")["p_a"]


def _group(cell: object) -> str:
    return UNKNOWN if pd.isna(cell) or not str(cell).strip() else str(cell)  # type: ignore[call-overload]
