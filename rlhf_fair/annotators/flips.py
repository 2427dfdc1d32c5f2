"""Which items change with the rule that makes one judgement of many, and which group of raters loses by it.

A rule contradicts a group on an item where it prefers the response that most of the group's raters there rejected.
That share of items, by group and by rule, is what an aggregate costs a group; its difference from a baseline rule's is
what the choice of rule costs or gives back.

Items share raters and raters share items, so intervals are clustered by both (Cameron, Gelbach & Miller 2011). Every
item counts once: its rows are the raters (of the group) on it, with weights that add up to 1. A group's majority of
few raters is a poor guide to the group: see ``minimum_raters``.

A small group is contradicted more often than a large one even if all raters are alike: its majority rests on fewer
raters and they weigh less in the aggregate. So a gap is compared with the one that groups dealt to the raters by lot
would have, at the same sizes. That can be done for rules that do not look at the groups themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.aggregation import CHOICE_VALUES, judgement_weights
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.group_agreement import permutation_p
from rlhf_fair.tables import require_columns

FloatArray = NDArray[np.float64]

UNKNOWN = "(unknown)"
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
        rule and the baseline decide, those that flip, 0 = same decisions, with interval.
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
    rows, cut = _judgements(feedback, groups, s.cut)
    names = list(results)
    sides = pd.DataFrame({name: _sides(table, cut) for name, table in results.items()})
    sides = sides.reindex(pd.unique(rows["item_id"]))
    majorities = _majorities(rows, s.minimum_raters)
    rules, parts = [], []
    for name in names:
        rules.append(_rule_row(rows, sides, name, s))
        parts += [_group_row(majorities, rows, sides, name, group, s) for group in sorted(rows["group"].unique())]
    blind = [name for name in names if name not in group_aware]
    table = pd.DataFrame(parts).merge(_by_chance(rows, sides[blind], s, rng), on=["rule", "group"], how="left")
    table["gap_p_adjusted"] = _holm(table["gap_p_value"])
    return FlipReport(_items(results, sides, s.baseline), pd.DataFrame(rules), table, s.baseline, cut)


def _judgements(feedback: pd.DataFrame, groups: pd.Series, cut: float) -> tuple[pd.DataFrame, float]:
    """item_id, annotator_id, group and side of each judgement; the cut used (1/2 for pairs)."""
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    if feedback["kind"].nunique() != 1:
        raise SettingsError(f"feedback of kinds {sorted(feedback['kind'].unique())}; allowed: one kind at a time")
    if feedback["kind"].iloc[0] == "pair":
        values, cut = feedback["choice"].map(CHOICE_VALUES).astype(float), 0.5
    else:
        values = feedback["value"].astype(float)
        cut = float(values.min() + values.max()) / 2 if np.isnan(cut) else cut
    judgement_weights(feedback, groups=groups)  # raises where an annotator is not covered
    group = feedback["annotator_id"].map(groups).astype("object").fillna(UNKNOWN).astype("str")
    rows = feedback[["item_id", "annotator_id"]].assign(group=group, side=np.sign((values - cut).round(12)))
    return rows.reset_index(drop=True), cut


def _sides(table: pd.DataFrame, cut: float) -> pd.Series:
    """By item: 1, -1, 0 for a value at the cut, NaN where the rule has none."""
    column = "p_a" if "p_a" in table else "value"
    require_columns(table, ["item_id", column], "rule's table")
    return pd.Series(np.sign((table[column] - cut).round(12)).to_numpy(float), index=table["item_id"].to_numpy())


def _majorities(rows: pd.DataFrame, minimum_raters: int) -> pd.DataFrame:
    """The rows of groups with a majority on the item: ``majority`` (±1) and ``weight``, 1 in all for a group there."""
    cells = rows.groupby(["item_id", "group"], sort=False)["side"]
    majority, raters = np.sign(cells.transform("sum")), cells.transform("size")
    used = (majority != 0) & (raters >= minimum_raters)
    return pd.DataFrame(rows.assign(majority=majority, weight=1.0 / raters).loc[used])


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


def _group_row(
    majorities: pd.DataFrame, rows: pd.DataFrame, sides: pd.DataFrame, name: str, group: str, s: FlipSettings
) -> dict[str, Any]:
    against = _against(majorities, sides[name], "majority")
    before = _against(majorities, sides[s.baseline], "majority")
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
        **_columns("overruled", _mean(_against(single, sides[name], "side"), single, None, s, rates=True)),
        **{name: value for name, value in _columns("gap", gap).items() if name != "gap_p_value"},
        **_columns("change", _mean(against[mine] - before[mine], own, own["weight"], s, rates=False)),
    }


def _by_chance(rows: pd.DataFrame, sides: pd.DataFrame, s: FlipSettings, rng: np.random.Generator) -> pd.DataFrame:
    """rule, group, gap_by_chance, gap_p_value: the gaps of groups dealt to the raters by lot, sizes kept."""
    columns = ["rule", "group", "gap_by_chance", "gap_p_value"]
    rater, first = np.unique(rows["annotator_id"].to_numpy(), return_index=True)
    label, names = pd.factorize(rows["group"].to_numpy()[first], sort=True)
    if not s.permutations or not len(sides.columns) or len(names) < 2:
        return pd.DataFrame({name: [] for name in columns}).astype({"rule": "str", "group": "str"})
    places = sides.index.get_indexer(pd.Index(rows["item_id"])), np.searchsorted(rater, rows["annotator_id"].to_numpy())
    side, decided = rows["side"].to_numpy(float), sides.to_numpy(float).T

    def gaps(labels: NDArray[np.intp]) -> FloatArray:
        return _gaps(places[0], labels[places[1]], side, decided, (len(names), s.minimum_raters))

    seen = gaps(label)
    dealt = np.array([gaps(rng.permutation(label)) for _ in range(s.permutations)])
    pairs = zip(seen.reshape(-1), dealt.reshape(len(dealt), -1).T, strict=True)
    chance, p = zip(*((_mean_or_nan(draws), permutation_p(float(value), draws)) for value, draws in pairs), strict=True)
    cells = [(rule, name) for rule in sides.columns for name in names]
    table = pd.DataFrame(cells, columns=columns[:2])
    return table.assign(gap_by_chance=chance, gap_p_value=p)


def _gaps(
    item: NDArray[np.intp],
    label: NDArray[np.intp],
    side: FloatArray,
    decided: FloatArray,
    size: tuple[int, int],
) -> FloatArray:
    """(rules, groups) contradicted minus that of the others; ``decided``: (rules, items), ``size``: groups, minimum."""
    n_groups, minimum = size
    n_items = decided.shape[1]
    cell = item * n_groups + label
    total = np.bincount(cell, side, n_items * n_groups).reshape(n_items, n_groups)
    raters = np.bincount(cell, minlength=n_items * n_groups).reshape(n_items, n_groups)
    majority = np.where(raters >= minimum, np.sign(total), 0.0)
    known = (~np.isnan(decided)).astype(float)
    against = (np.nan_to_num(decided) < 0).astype(float) @ (majority > 0)
    against += (np.nan_to_num(decided) > 0).astype(float) @ (majority < 0)
    items = known @ (majority != 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (against.sum(axis=1, keepdims=True) - against) / (items.sum(axis=1, keepdims=True) - items)
        return np.asarray(against / items - others)


def _against(rows: pd.DataFrame, side: pd.Series, view: str) -> FloatArray:
    """(n,) 1 where the rule decides against the row's view, 0 where not (undecided included), NaN without a value."""
    decided = rows["item_id"].map(side).to_numpy(float)
    return np.where(np.isnan(decided), np.nan, (decided * rows[view].to_numpy(float) < 0).astype(float))


def _mean(values: Any, rows: pd.DataFrame, weights: Any, s: FlipSettings, *, rates: bool) -> Estimate:
    if not len(rows):
        return Estimate.not_estimable("the group has a majority on no item")
    ways = [rows["item_id"].to_numpy(), rows["annotator_id"].to_numpy()]
    return mean_estimate(np.asarray(values, dtype=float), clusters=ways, weights=weights, rates=rates, alpha=s.alpha)


def _columns(name: str, e: Estimate) -> dict[str, Any]:
    cells = {f"{name}_{part}": getattr(e, part) for part in INTERVAL}
    return {name: cells.pop(f"{name}_estimate"), **cells}


def _mean_or_nan(draws: FloatArray) -> float:
    known = draws[np.isfinite(draws)]
    return float(known.mean()) if len(known) else NAN


def _holm(p_values: pd.Series) -> pd.Series:
    known = p_values.notna()
    adjusted = pd.Series(NAN, index=p_values.index)
    adjusted[known] = holm(p_values[known].to_numpy(float))
    return adjusted


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
