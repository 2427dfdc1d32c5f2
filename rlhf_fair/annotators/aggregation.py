"""Many judgements of an item become one: by count, by weight, by group or by majority; and whom that choice moves.

Weighting enters as one number for each judgement (`judgement_weights`), so every rule is the same weighted mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import require_columns

Rule = Literal["mean", "median", "majority"]

LARGEST = 1e100
"""Ratings and weights are no larger than this, so that their sums and squares stay numbers."""

CHOICE_VALUES = {"a": 1.0, "tie": 0.5, "b": 0.0}


@dataclass(frozen=True)
class Flips:
    """Items where two rules differ on which response is preferred.

    ``items`` has item_id, first, second (p_a under each rule) and flipped; ``share`` = flipped / items both decide,
    0 = the rules agree; range [0, 1], NaN if no item is decided by both. ``tied`` items are undecided (p_a = 1/2) under
    a rule, ``unmatched`` ones lack a value under one.
    """

    items: pd.DataFrame
    flipped: int
    tied: int
    unmatched: int
    share: float


def aggregate_pairs(
    feedback: pd.DataFrame,
    weights: pd.Series | None = None,
    *,
    groups: pd.Series | None = None,
    rule: Literal["mean", "majority"] = "mean",
) -> pd.DataFrame:
    """Share of judgements that prefer response a, by item.

    Parameters
    ----------
    feedback
        item_id, annotator_id, choice in {a, b, tie}; rows of another ``kind`` are ignored. A tie counts half.
    weights, groups
        See `judgement_weights`.
    rule
        ``mean``; ``majority`` rounds the mean to 1, 0 or, where it is exactly 1/2, leaves it.

    Returns
    -------
    DataFrame
        item_id (in order of appearance), p_a in [0, 1] (NaN where all weight is 0), n (judgements), weight (their sum).
    """
    require_columns(feedback, ["item_id", "annotator_id", "choice"], "feedback")
    rows = feedback[feedback["kind"] == "pair"] if "kind" in feedback else feedback
    values = rows["choice"].map(CHOICE_VALUES).astype(float)
    if values.isna().any():
        raise RowError(f"feedback holds choice {rows['choice'][values.isna()].iloc[0]!r}; allowed: a, b, tie")
    table = _means(rows, values, judgement_weights(rows, weights, groups=groups), "p_a")
    return table.assign(p_a=(np.sign(table["p_a"].round(12) - 0.5) + 1) / 2) if rule == "majority" else table


def aggregate_ratings(
    feedback: pd.DataFrame,
    weights: pd.Series | None = None,
    *,
    groups: pd.Series | None = None,
    rule: Rule = "mean",
) -> pd.DataFrame:
    """One rating for each item.

    Parameters
    ----------
    feedback
        item_id, annotator_id, value; rows of another ``kind`` are ignored.
    weights, groups
        See `judgement_weights`.
    rule
        ``mean``; ``median`` (the lowest value with at least half the weight at or below it); ``majority`` (the value
        with most weight, NaN where several tie).

    Returns
    -------
    DataFrame
        item_id (in order of appearance), value, n, weight.
    """
    require_columns(feedback, ["item_id", "annotator_id", "value"], "feedback")
    rows = feedback[feedback["kind"] == "rating"] if "kind" in feedback else feedback
    values = rows["value"].astype(float)
    if values.isna().any():
        raise RowError(f"feedback holds {int(values.isna().sum())} ratings without a value")
    require_finite_sums(values)
    weight = judgement_weights(rows, weights, groups=groups)
    table = _means(rows, values, weight, "value")
    if rule == "mean":
        return table
    of_value = weight.groupby([rows["item_id"], values.rename("value")]).sum().reset_index(name="weight")
    if rule == "majority":
        picked = _majority(of_value)
    elif rule == "median":
        picked = _median(of_value)
    else:
        raise SettingsError(f"rule = {rule!r}; allowed: mean, median, majority")
    return table.assign(value=table["item_id"].map(picked).astype(float))


def require_finite_sums(values: pd.Series) -> None:
    """Raise `RowError` where a value is so large that sums or squares would overflow."""
    numbers = values.to_numpy(float)
    if len(numbers) and not np.abs(numbers).max() <= LARGEST:
        largest = float(numbers[np.abs(numbers).argmax()])
        raise RowError(f"feedback holds value {largest:g}; allowed: -{LARGEST:g} to {LARGEST:g}")


def judgement_weights(
    feedback: pd.DataFrame, weights: pd.Series | None = None, *, groups: pd.Series | None = None
) -> pd.Series:
    """Weight of each row of ``feedback``.

    Parameters
    ----------
    weights
        By annotator_id, >= 0 (`weights.PanelWeights.weights`); all 1 when absent.
    groups
        By annotator_id: every group present on an item gets the same total weight there. A rater without a group
        counts as one person does in the plain mean: where they have the part u of the item's weight, the weighted mean
        is (1 - u) times the mean of the group means plus u times their own mean.
    """
    weight = pd.Series(1.0, index=feedback.index)
    if weights is not None:
        weight = _look_up(feedback, weights, "weights").astype(float)
        if not (weight >= 0).all():
            raise SettingsError("annotator weights must be numbers >= 0")
        if (weight > LARGEST).any():
            raise SettingsError(f"annotator weight {weight.max():g}; allowed: 0 to {LARGEST:g}")
    if groups is None:
        return weight
    group = _look_up(feedback, groups.astype("object"), "groups")
    item, known = feedback["item_id"], group.notna()
    total = weight.groupby([item, group]).transform("sum")
    balanced = (weight / total.where(total > 0)).fillna(0.0)
    in_groups = weight.where(known, 0.0).groupby(item).transform("sum")
    number = balanced.groupby(item).transform("sum")  # of groups with some weight
    alone = weight * (number / in_groups.where(in_groups > 0)).fillna(1.0)
    return balanced.where(known, alone)


def flips(rule_a: pd.DataFrame, rule_b: pd.DataFrame) -> Flips:
    """Compare two results of `aggregate_pairs` on the items both hold."""
    for name, table in (("first rule", rule_a), ("second rule", rule_b)):
        require_columns(table, ["item_id", "p_a"], name)
    items = rule_a[["item_id", "p_a"]].merge(rule_b[["item_id", "p_a"]], on="item_id", suffixes=("_1", "_2"))
    items = items.set_axis(["item_id", "first", "second"], axis=1).dropna()
    side = np.sign(items[["first", "second"]].round(12) - 0.5)
    decided = (side != 0).all(axis=1)
    items["flipped"] = decided & (side["first"] != side["second"])
    number, matched = int(items["flipped"].sum()), len(items)
    union = len(set(rule_a["item_id"]) | set(rule_b["item_id"]))
    share = number / int(decided.sum()) if decided.any() else float("nan")
    return Flips(items, number, int((~decided).sum()), union - matched, share)


def converged(table: pd.DataFrame) -> bool | None:
    """Whether the fit behind a rule's table came to rest; None for rules that take no rounds."""
    return bool(table["converged"].all()) if "converged" in table else None


def _look_up(feedback: pd.DataFrame, by_annotator: pd.Series, name: str) -> pd.Series:
    known = feedback["annotator_id"].isin(by_annotator.index)
    if not known.all():
        unknown = feedback["annotator_id"][~known].iloc[0]
        raise RowError(f"{name} lack annotator {unknown!r}; they cover {len(by_annotator)} annotators")
    return feedback["annotator_id"].map(by_annotator)


def _means(rows: pd.DataFrame, values: pd.Series, weight: pd.Series, name: str) -> pd.DataFrame:
    parts = pd.DataFrame({"item_id": rows["item_id"], name: values * weight, "n": 1, "weight": weight})
    table = parts.groupby("item_id", sort=False).sum().reset_index()
    table[name] = table[name] / table["weight"].where(table["weight"] > 0)
    return table


def _majority(of_value: pd.DataFrame) -> pd.Series:
    """Value with most weight, by item; NaN where several tie."""
    most = of_value.groupby("item_id")["weight"].transform("max")
    top = of_value[(of_value["weight"] >= most * (1 - 1e-12)) & (most > 0)]
    count = top.groupby("item_id")["value"].transform("size")
    return top[count == 1].set_index("item_id")["value"]


def _median(of_value: pd.DataFrame) -> pd.Series:
    """Lowest value with at least half of the item's weight at or below it."""
    ordered = of_value.sort_values(["item_id", "value"])
    below = ordered.groupby("item_id")["weight"].cumsum()
    total = ordered.groupby("item_id")["weight"].transform("sum")
    return ordered[(below >= total / 2 * (1 - 1e-12)) & (total > 0)].groupby("item_id")["value"].first()
