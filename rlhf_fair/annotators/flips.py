"""Which items change with the rule that makes one judgement of many, and which group of raters loses by it.

A rule contradicts a group on an item where it prefers the response that most of the group's raters there rejected.
That share of items, by group and by rule, is what an aggregate costs a group; its difference from a baseline rule's is
what the choice of rule costs or gives back.

Items share raters and raters share items, so intervals are clustered by both (Cameron, Gelbach & Miller 2011). Every
item counts once: its rows are the raters (of the group) on it, with weights that add up to 1. A group's majority of
few raters is a poor guide to the group: see ``minimum_raters``.

A small group is contradicted more often by arithmetic alone, so every gap stands beside that of groups dealt by lot
(`flip_lots`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import converged
from rlhf_fair.annotators.flip_lots import gaps_by_lot
from rlhf_fair.annotators.flip_reasons import why_no_value
from rlhf_fair.annotators.flip_sides import (
    decided_against,
    group_majorities,
    judgement_sides,
    rule_sides,
)
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate

OTHERS = "(others)"
INTERVAL = ("estimate", "ci_low", "ci_high", "p_value", "n", "n_clusters", "reason")


@dataclass(frozen=True)
class FlipSettings:
    """``baseline``: the rule the others are compared with. ``cut``: ratings above it are one side, below it the other.

    ``minimum_raters``: a group has a majority on items with at least so many of its raters, >= 1. ``permutations``: how
    often groups are dealt by lot; 0: never.
    """

    baseline: str = "majority"
    cut: float = NAN
    minimum_raters: int = 1
    permutations: int = 999
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if np.isinf(self.cut):
            raise SettingsError(f"cut {self.cut}; allowed: a finite number, for both sides to be possible")
        if self.minimum_raters < 1 or self.permutations < 0 or not 0 < self.alpha < 1:
            raise SettingsError(
                f"minimum_raters {self.minimum_raters}, permutations {self.permutations}, alpha {self.alpha}; "
                "allowed: >= 1, >= 0 and in (0, 1)"
            )


@dataclass(frozen=True)
class FlipReport:
    """Result of `flip_report`.

    Attributes
    ----------
    items
        One row for each item and rule: item_id, rule, value, side (1 for a or above the cut, -1, 0 undecided, missing
        where the rule says nothing), flipped (against the baseline; missing where one of the two decides nothing).
    rules
        One row for each rule: decided, undecided, unmeasured items, flipped, and ``share``: of the items that both the
        rule and the baseline decide, those that flip, 0 = same decisions, with interval; ``reason``: why items are
        unmeasured; ``converged``: whether the fit came to rest, missing for rules that take no rounds.
    groups
        One row for each rule and group: raters, items, and, each with interval, ``contradicted``: share of the items
        on which the group has a majority where the rule decides against it, range [0, 1]; ``overruled``: share of the
        group's single judgements decided against, range [0, 1]; ``gap``: contradicted minus that of all other groups;
        ``change``: contradicted minus that under the baseline, on the same items. ``gap_by_chance``: the mean gap of
        groups dealt by lot; ``gap_p_value`` of a gap as far out among them (two-sided), ``gap_p_adjusted`` by Holm
        over the report; all three NaN for rules that look at the groups.
    """

    items: pd.DataFrame
    rules: pd.DataFrame
    groups: pd.DataFrame
    baseline: str
    cut: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but the items; a number that could not be estimated is None."""
        return {
            "baseline": self.baseline,
            "cut": self.cut,
            "rules": json_rows(self.rules),
            "groups": json_rows(self.groups),
        }


def json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One plain object for each row, NaN and missing as None."""
    cells = table.astype("object").where(table.notna(), None).to_dict("records")
    return [{str(k): v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in cells]


def flip_report(
    feedback: pd.DataFrame,
    results: Mapping[str, pd.DataFrame],
    groups: pd.Series,
    settings: FlipSettings | None = None,
    *,
    group_aware: Collection[str] = (),
    rng: np.random.Generator,
) -> FlipReport:
    """Compare rules on the same judgements.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind (the same in all rows), choice or value: what was aggregated.
    results
        Rule -> its table, with item_id and p_a or value (`aggregation_rules.aggregate`); the baseline among them.
    groups
        By annotator_id; raters without a group form ``(unknown)``, which is reported like any other.
    group_aware
        The rules whose results were made with the groups, or with weights that stand for them.
    """
    s = settings or FlipSettings()
    if s.baseline not in results:
        raise SettingsError(f"baseline {s.baseline!r} is not among the rules {', '.join(results)}")
    rows, cut = judgement_sides(feedback, groups, s.cut)
    names = list(results)
    sides = pd.DataFrame({name: rule_sides(table, cut) for name, table in results.items()})
    sides = sides.reindex(pd.unique(rows["item_id"]))
    majorities = group_majorities(rows, s.minimum_raters)
    rules, parts = [], []
    for name in names:
        rules.append(_rule_row(rows, sides, name, s) | _remarks(results[name]))
        parts += [_group_row(majorities, rows, sides, name, group, s) for group in sorted(rows["group"].unique())]
    blind = [name for name in names if name not in group_aware]
    lots = gaps_by_lot(rows, sides[blind], minimum_raters=s.minimum_raters, permutations=s.permutations, rng=rng)
    table = pd.DataFrame(parts).merge(lots, on=["rule", "group"], how="left")
    compared = pd.DataFrame(rules).astype({"converged": "boolean"})
    return FlipReport(_items(results, sides, s.baseline), compared, table, s.baseline, cut)


def _rule_row(rows: pd.DataFrame, sides: pd.DataFrame, name: str, s: FlipSettings) -> dict[str, Any]:
    own, base = sides[name], sides[s.baseline]
    decided = (own.fillna(0) != 0) & (base.fillna(0) != 0)
    flipped = (own != base).where(decided)
    per_item = rows.groupby("item_id")["side"].transform("size")
    share = _mean(rows["item_id"].map(flipped.astype(float)), rows, 1.0 / per_item, s, rates=True)
    return {
        "rule": name,
        "decided": int((own.fillna(0) != 0).sum()),
        "undecided": int((own == 0).sum()),
        "unmeasured": int(own.isna().sum()),
        "flipped": int(flipped.sum()),
        **_columns("share", share),
    }


def _remarks(table: pd.DataFrame) -> dict[str, Any]:
    return {"reason": why_no_value(table), "converged": converged(table)}


def _group_row(
    majorities: pd.DataFrame, rows: pd.DataFrame, sides: pd.DataFrame, name: str, group: str, s: FlipSettings
) -> dict[str, Any]:
    against = decided_against(majorities, sides[name], "majority")
    before = decided_against(majorities, sides[s.baseline], "majority")
    mine = (majorities["group"] == group).to_numpy()
    own, single = majorities[mine], rows[(rows["group"] == group) & (rows["side"] != 0)]
    label = np.where(mine, group, OTHERS)
    gap = contrast_estimate(
        against,
        label,
        {group: 1.0, OTHERS: -1.0},
        clusters=[majorities["item_id"].to_numpy(), majorities["annotator_id"].to_numpy()],
        weights=majorities["weight"],
        alpha=s.alpha,
    )
    return {
        "rule": name,
        "group": group,
        "raters": int(rows["annotator_id"][rows["group"] == group].nunique()),
        "items": int(own["item_id"][np.isfinite(against[mine])].nunique()),
        **_columns("contradicted", _mean(against[mine], own, own["weight"], s, rates=True)),
        **_columns("overruled", _mean(decided_against(single, sides[name], "side"), single, None, s, rates=True)),
        **{name: value for name, value in _columns("gap", gap).items() if name != "gap_p_value"},
        **_columns("change", _mean(against[mine] - before[mine], own, own["weight"], s, rates=False)),
    }


def _mean(values: Any, rows: pd.DataFrame, weights: Any, s: FlipSettings, *, rates: bool) -> Estimate:
    if not len(rows):
        return Estimate.not_estimable("the group has a majority on no item")
    ways = [rows["item_id"].to_numpy(), rows["annotator_id"].to_numpy()]
    return mean_estimate(np.asarray(values, dtype=float), clusters=ways, weights=weights, rates=rates, alpha=s.alpha)


def _columns(name: str, e: Estimate) -> dict[str, Any]:
    cells = {f"{name}_{part}": getattr(e, part) for part in INTERVAL}
    return {name: cells.pop(f"{name}_estimate"), **cells}


def _items(results: Mapping[str, pd.DataFrame], sides: pd.DataFrame, baseline: str) -> pd.DataFrame:
    parts = []
    for name, table in results.items():
        value = table.set_index("item_id")["p_a" if "p_a" in table else "value"].reindex(sides.index)
        side, base = sides[name], sides[baseline]
        decided = (side.fillna(0) != 0) & (base.fillna(0) != 0)
        flipped = (side != base).astype("boolean").where(decided)
        part = {"item_id": sides.index, "rule": name, "value": value, "side": side.astype("Int64"), "flipped": flipped}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)
