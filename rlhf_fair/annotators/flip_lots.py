"""What a group's gap would be if groups were dealt to the raters by lot.

A small group is contradicted more often than a large one even if all raters are alike: its majority rests on fewer
raters and they weigh less in the aggregate. So a gap is compared with the gaps of groups of the same sizes dealt at
random. That says something for rules that do not look at the groups themselves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.records import NAN
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.group_agreement import permutation_p

FloatArray = NDArray[np.float64]

COLUMNS = ("rule", "group", "gap_by_chance", "gap_p_value", "gap_p_adjusted")


def gaps_by_lot(
    rows: pd.DataFrame, sides: pd.DataFrame, *, minimum_raters: int, permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    """By rule and group: the mean gap of groups dealt by lot, and the p-value of the gap seen among them.

    Parameters
    ----------
    rows
        item_id, annotator_id, group and side of each judgement.
    sides
        By item, one column for each rule that does not look at the groups.
    permutations
        How often groups are dealt; with 0, or with fewer than two groups, no row comes back.

    Returns
    -------
    DataFrame
        `COLUMNS`; gap_p_value two-sided, gap_p_adjusted by Holm over the table.
    """
    rater, first = np.unique(rows["annotator_id"].to_numpy(), return_index=True)
    label, names = pd.factorize(rows["group"].to_numpy()[first], sort=True)
    if not permutations or not len(sides.columns) or len(names) < 2:
        return pd.DataFrame({name: [] for name in COLUMNS}).astype({"rule": "str", "group": "str"})
    places = sides.index.get_indexer(pd.Index(rows["item_id"])), np.searchsorted(rater, rows["annotator_id"].to_numpy())
    side, decided = rows["side"].to_numpy(float), sides.to_numpy(float).T

    def gaps(labels: NDArray[np.intp]) -> FloatArray:
        return _gaps(places[0], labels[places[1]], side, decided, (len(names), minimum_raters))

    seen = gaps(label)
    dealt = np.array([gaps(rng.permutation(label)) for _ in range(permutations)])
    pairs = zip(seen.reshape(-1), dealt.reshape(len(dealt), -1).T, strict=True)
    chance, p = zip(*((_mean_or_nan(draws), permutation_p(float(value), draws)) for value, draws in pairs), strict=True)
    cells = [(rule, name) for rule in sides.columns for name in names]
    table = pd.DataFrame(cells, columns=list(COLUMNS[:2])).assign(gap_by_chance=chance, gap_p_value=p)
    return table.assign(gap_p_adjusted=_holm(table["gap_p_value"]))


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


def _mean_or_nan(draws: FloatArray) -> float:
    known = draws[np.isfinite(draws)]
    return float(known.mean()) if len(known) else NAN


def _holm(p_values: pd.Series) -> pd.Series:
    known = p_values.notna()
    adjusted = pd.Series(NAN, index=p_values.index)
    adjusted[known] = holm(p_values[known].to_numpy(float))
    return adjusted
