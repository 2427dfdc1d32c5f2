"""Selection rates, scoring rates and impact ratios as New York City's Local Law 144 wants them (6 RCNY 5-300 ff.).

*Selection rate*: share of a category that was selected. *Scoring rate*: share of a category whose score lies strictly
above the median of the full sample. *Impact ratio*: a category's rate over that of the highest category; range [0, 1],
1 = parity. The law's tables are for sex, for race/ethnicity, and for sex × race/ethnicity; it knows no weights. A
category of under 2 % of the data may be left out of the impact ratio, with a justification, but its count and rate
stay. Intervals and tests are additions: the law asks for none, and without them a ratio of a few people says nothing.

Every row is accounted for: input = reported + excluded (no outcome) + unknown (no category).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import check_among, check_lengths, numbers
from rlhf_fair.stats.exact_tests import fisher_p_values, two_sd
from rlhf_fair.stats.risk_ratio import risk_ratio
from rlhf_fair.stats.sample import UNKNOWN, encode

SMALL_CATEGORY = 0.02
"""Categories below this share of the data may be left out of the impact ratio (6 RCNY 5-301(d))."""

Measure = Literal["selection", "scoring"]


@dataclass(frozen=True)
class ImpactRatioOptions:
    """How to table. ``leave_out_below``: categories with a smaller share of the rows whose category is known are left
    out of the ratio; range [0, 0.02]; needs a ``justification``, which the law wants published. ``clusters``: (n,)
    arrays as in `contrast_estimate`; they widen the intervals of the ratios and give the table ``pair_p_values``; the
    columns of the two tests take rows as independent.
    """

    leave_out_below: float = 0.0
    justification: str = ""
    clusters: Sequence[ArrayLike] = ()
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.leave_out_below <= SMALL_CATEGORY:
            raise SettingsError(f"leave_out_below = {self.leave_out_below:g}; allowed: 0 to {SMALL_CATEGORY:g}")
        if self.leave_out_below and not self.justification.strip():
            raise SettingsError("leave_out_below needs a justification: the law wants it published")


@dataclass(frozen=True)
class ImpactRatioTable:
    """One of the law's tables.

    ``by_category``, one row for each category that occurs (a combination has an index level for each part): ``n`` (with
    an outcome), ``selected`` (or scored above the median), ``rate``, ``share`` (of the rows whose category is known),
    ``in_ratio`` (False: left out as too small), ``impact_ratio``, ``highest``, ``ci_low`` and ``ci_high``, and, each
    against the highest category, ``standard_deviations`` and ``fisher_p``; ``reason`` where a number is missing. Where
    categories tie for the highest rate, the comparisons are with the largest of them.
    ``ratios``: the impact ratios as estimates, by category. ``median``: of the full sample, for scoring rates.
    ``pair_p_values``: with clusters, of equal rates, from the risk ratio of each pair of categories that are in the
    ratio and have outcomes; (categories, categories), symmetric, NaN where there is no test. None without clusters.
    """

    attribute: str
    measure: Measure
    by_category: pd.DataFrame
    ratios: dict[Hashable, Estimate]
    reference: Hashable | None
    n_input: int
    n_reported: int
    n_excluded: int
    n_unknown: int
    median: float = NAN
    justification: str = ""
    pair_p_values: NDArray[np.float64] | None = None

    def to_csv(self, path: Path | None = None) -> str | None:
        """``by_category`` with an added row for those of unknown category, who have a count and no rate."""
        table = self.by_category.reset_index()
        unknown = pd.DataFrame({table.columns[0]: ["unknown"], "n": [self.n_unknown]})
        text = pd.concat([table.astype(object), unknown.astype(object)], ignore_index=True).to_csv(index=False)
        if path is None:
            return str(text)
        path.write_text(text, encoding="utf-8")
        return None


def selection_rates(
    selected: ArrayLike, categories: Any, *, attribute: str = "category", options: ImpactRatioOptions | None = None
) -> ImpactRatioTable:
    """Selection rates and impact ratios of one attribute.

    ``selected``: (n,) of 0 and 1 or booleans, NaN where there is no outcome. ``categories``: (n,) labels, or a table
    whose rows' combinations are the categories; None and NaN are unknown. A `RowError` names a value that is neither.
    """
    x = numbers("selected", selected)
    check_among("selected", x, (0, 1))
    return _table(x, categories, attribute, "selection", options or ImpactRatioOptions())


def scoring_rates(
    scores: ArrayLike, categories: Any, *, attribute: str = "category", options: ImpactRatioOptions | None = None
) -> ImpactRatioTable:
    """Scoring rates and impact ratios of one attribute; parameters as in `selection_rates`, but numbers for 0 and 1.

    ``scores``: (n,), NaN where there is none.
    The median is that of all rows with a score, those of unknown category among them. A score equal to the median is
    not above it: of [1, 2, 2, 2, 3] a fifth is.
    """
    x = numbers("scores", scores)
    scored = np.isfinite(x)
    median = float(np.median(x[scored])) if scored.any() else NAN
    above = np.where(scored, x > median, np.nan)
    return _table(above, categories, attribute, "scoring", options or ImpactRatioOptions(), median)


def _table(
    x: NDArray[np.float64],
    categories: Any,
    attribute: str,
    measure: Measure,
    options: ImpactRatioOptions,
    median: float = NAN,
) -> ImpactRatioTable:
    categories = pd.DataFrame(categories) if isinstance(categories, dict) else categories
    check_lengths({"categories": categories}, len(x), "outcomes")
    codes, labels = encode(categories)
    measured = np.isfinite(x)
    used = measured & (codes != UNKNOWN)
    table = _count(x[used], codes[used], len(labels))
    table["in_ratio"] = table["share"] >= options.leave_out_below
    reference = _highest(table)
    ratios = _ratios(x, codes, table, reference, options)
    pairs = _pair_p_values(x, codes, table, options) if len(options.clusters) else None
    table = _compared(table, ratios, reference)
    table.index = _index(labels, categories, attribute)
    return ImpactRatioTable(
        attribute=attribute,
        measure=measure,
        by_category=table,
        ratios=dict(zip(labels, ratios, strict=True)),
        reference=None if reference is None else labels[reference],
        n_input=len(x),
        n_reported=int(used.sum()),
        n_excluded=int((~measured).sum()),
        n_unknown=int((measured & (codes == UNKNOWN)).sum()),
        median=median,
        justification=options.justification if not table["in_ratio"].all() else "",
        pair_p_values=pairs,
    )


def _count(x: NDArray[np.float64], codes: NDArray[np.intp], size: int) -> pd.DataFrame:
    n = np.bincount(codes, minlength=size)
    selected = np.bincount(codes, x, size).astype(int)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = selected / n
    return pd.DataFrame({"n": n, "selected": selected, "rate": rate, "share": n / max(len(x), 1)})


def _highest(table: pd.DataFrame) -> int | None:
    """Position of the category all others are compared with: the highest rate, among those the most rows."""
    rate, n = table["rate"].to_numpy(), table["n"].to_numpy()
    eligible = np.flatnonzero(table["in_ratio"].to_numpy() & (n > 0))
    if not len(eligible) or rate[eligible].max() == 0:
        return None
    return int(eligible[np.lexsort((-n[eligible], -rate[eligible]))[0]])


def _ratios(
    x: NDArray[np.float64],
    codes: NDArray[np.intp],
    table: pd.DataFrame,
    reference: int | None,
    options: ImpactRatioOptions,
) -> list[Estimate]:
    estimates = []
    columns = zip(table["n"].tolist(), table["in_ratio"].tolist(), table["share"].tolist(), strict=True)
    for code, (n, in_ratio, share) in enumerate(columns):
        if n == 0:
            e = Estimate.not_estimable("no outcome in this category")
        elif not in_ratio:
            reason = f"left out of the ratio: {share:.2%} of the rows with a known category"
            e = Estimate.not_estimable(reason, n=n)
        elif reference is None:
            e = Estimate.not_estimable("no category has a rate above 0", n=n)
        elif code == reference:
            e = Estimate(estimate=1.0, reason="the highest category itself", n=n)
        else:
            e = _ratio_of_pair(x, codes, code, reference, options)
        estimates.append(e)
    return estimates


def _ratio_of_pair(
    x: NDArray[np.float64], codes: NDArray[np.intp], code: int, reference: int, options: ImpactRatioOptions
) -> Estimate:
    both = (codes == code) | (codes == reference)
    ways = [np.asarray(way)[both] for way in options.clusters]
    return risk_ratio(x[both], codes[both], group=code, reference=reference, clusters=ways, alpha=options.alpha)


def _pair_p_values(
    x: NDArray[np.float64], codes: NDArray[np.intp], table: pd.DataFrame, options: ImpactRatioOptions
) -> NDArray[np.float64]:
    rate = table["rate"].to_numpy()
    eligible = np.flatnonzero(table["in_ratio"].to_numpy() & (table["n"].to_numpy() > 0))
    p_values = np.full((len(table), len(table)), np.nan)
    for one, other in combinations(eligible.tolist(), 2):
        # the higher rate is the reference, so that a rate of 0 is a ratio of 0 and not of anything to 0
        lower, higher = (one, other) if rate[one] <= rate[other] else (other, one)
        p = 1.0 if rate[lower] == rate[higher] else _ratio_of_pair(x, codes, lower, higher, options).p_value
        p_values[one, other] = p_values[other, one] = p
    return p_values


def _compared(table: pd.DataFrame, ratios: list[Estimate], reference: int | None) -> pd.DataFrame:
    counts = table[["selected", "n"]].to_numpy().T
    others = (table["in_ratio"] & (table["n"] > 0)).to_numpy() & (table.index != reference)
    sd, p = np.full(len(table), np.nan), np.full(len(table), np.nan)
    if reference is not None:
        sd[others] = two_sd(*counts[:, others], *counts[:, reference])
        p[others] = fisher_p_values(*counts[:, others], *counts[:, reference])
    return table.assign(
        impact_ratio=[e.estimate for e in ratios],
        highest=[e.estimate == 1 for e in ratios],
        ci_low=[e.ci_low for e in ratios],
        ci_high=[e.ci_high for e in ratios],
        standard_deviations=sd,
        fisher_p=p,
        reason=[e.reason for e in ratios],
    )


def _index(labels: tuple[Hashable, ...], categories: Any, attribute: str) -> pd.Index:
    parts = [label for label in labels if isinstance(label, tuple)]
    if parts:
        return pd.MultiIndex.from_tuples(parts, names=list(pd.DataFrame(categories).columns))
    return pd.Index(list(labels), name=attribute, dtype=object)
