"""Gaps of scored generations between groups, with the refusal and parse rates they have to be read with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.generation_scores import ScoreColumn, parse_rate, score_columns
from rlhf_fair.probes.generations import refusal_rate
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import REFUSALS_VARIANT, UNMEASURED, measured_rate, unmeasured_gap
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.no_change import Range, with_no_change_limits
from rlhf_fair.stats.rate_differences import rates_contrast

OTHERS = "mean of the other groups"
GOOD = ("sentiment", "regard", "regard_positive")
UNBOUNDED: Range = (-math.inf, math.inf)
REFUSALS = ScoreColumn("refused", "refusal", REFUSALS_VARIANT)


@dataclass(frozen=True)
class Comparison:
    """Which groups are compared: the labels in ``column`` of the records, named ``attribute`` in findings.

    ``reference``: one of the labels, or "" for the plain mean of all other groups; of two groups the first then is the
    reference, for the other gap would be the same one turned round. ``clusters``: columns that say which rows belong
    together.
    """

    attribute: str
    column: str
    clusters: tuple[str, ...]
    reference: str = ""

    def among(self, groups: Sequence[str]) -> Comparison:
        """The comparison with its reference settled, for two or more ``groups``."""
        if self.reference and self.reference not in groups:
            raise SettingsError(f"{self.attribute} has no group {self.reference!r}; has {list(groups)}")
        return replace(self, reference=groups[0]) if len(groups) == 2 and not self.reference else self

    def coefficients(self, groups: Sequence[str], group: str) -> dict[str, float]:
        """Of the contrast group less reference."""
        others = [self.reference] if self.reference else [other for other in groups if other != group]
        return {group: 1.0} | dict.fromkeys(others, -1.0 / len(others))


def score_gaps(
    records: pd.DataFrame,
    comparison: Comparison,
    *,
    shares: Collection[str] = (),
    ranges: Mapping[str, Range] | None = None,
    alpha: float = 0.05,
) -> list[Measured]:
    """For every score and group: mean of the group less that of the reference; unit of the score; 0 = parity.

    Metrics are named ``<quantity>_gap``; ``refusal_gap``, the difference in refusal rates, closes each group, and where
    answers have no score the gaps in those, ``unmeasured_gap``, follow. Rows whose group is unknown are counted in
    ``n_left_out``. With fewer than two groups no gap can be estimated.

    ``shares``: quantities whose scores have the range [0, 1]. Where all are 0, such as when nothing toxic was said at
    all, there is no variation to take an interval from; then it is that of rates, which rests on the clusters' number.
    ``ranges``: quantity -> lowest and highest score, for the same where groups are answered alike, whatever the scores:
    see `rlhf_fair.stats.no_change`.
    """
    ranges = ranges or {}
    groups = _groups(records, comparison)
    columns = [*score_columns(records), REFUSALS]
    if len(groups) < 2:
        return [_no_gap(records, comparison, column, groups) for column in columns]
    comparison = comparison.among(groups)
    compared = [group for group in groups if group != comparison.reference]
    gaps = [
        _gap(records, comparison, group, column, _Way(comparison.coefficients(groups, group), rates, scores, alpha))
        for group in compared
        for column in columns
        for rates in [_all_zero(records, column, shares)]
        for scores in [ranges.get(column.quantity, UNBOUNDED)]
    ]
    return gaps + [
        _unmeasured(records, comparison, group, column, comparison.coefficients(groups, group), alpha)
        for group in compared
        for column in score_columns(records)
        if records[column.column].isna().any()
    ]


def group_levels(
    records: pd.DataFrame,
    comparison: Comparison,
    *,
    good: Collection[str] = GOOD,
    shares: Collection[str] = (),
    alpha: float = 0.05,
) -> list[Measured]:
    """For every score and group its mean, ``mean_<quantity>``: what a gap is made of.

    Quantities in ``good`` are better high, all others better low. ``shares``: as in `score_gaps`.
    """
    measured = []
    for group in _groups(records, comparison):
        rows = records[records[comparison.column] == group]
        for score in score_columns(records):
            clusters = [rows[column] for column in comparison.clusters]
            rates = _all_zero(rows, score, shares)
            e = mean_estimate(rows[score.column], clusters=clusters, rates=rates, alpha=alpha)
            measured.append(
                Measured(
                    f"mean_{score.quantity}",
                    e,
                    comparison.attribute,
                    group,
                    variant=score.variant,
                    better="high" if score.quantity in good else "low",
                    parse_rate=parse_rate(rows, score.column),
                    refusal_rate=refusal_rate(rows),
                    measured_rate=measured_rate(rows[score.column].notna()),
                )
            )
    return measured


@dataclass(frozen=True)
class _Way:
    """How one gap is estimated: as one of rates or not, and between which lowest and highest scores."""

    coefficients: dict[str, float]
    rates: bool
    scores: Range
    alpha: float


def _gap(records: pd.DataFrame, comparison: Comparison, group: str, score: ScoreColumn, way: _Way) -> Measured:
    known = records[comparison.column].isin(list(way.coefficients))
    rows = records[known | records[comparison.column].isna()]
    values, refusals = rows[score.column], score is REFUSALS
    if refusals:
        values = values.astype(float).where(rows["answered"].astype(bool))
    data: tuple[Any, ...] = (values, rows[comparison.column], way.coefficients)
    clusters = [rows[column] for column in comparison.clusters]
    if refusals:
        e = rates_contrast(*data, clusters=clusters, alpha=way.alpha)
    else:
        e = contrast_estimate(*data, clusters=clusters, rates=way.rates, alpha=way.alpha)
        e = with_no_change_limits(e, *data, scores=way.scores, clusters=clusters, alpha=way.alpha)
    return Measured(
        f"{score.quantity}_gap",
        e,
        comparison.attribute,
        group,
        reference=comparison.reference or OTHERS,
        variant=score.variant,
        parse_rate=parse_rate(records[known], score.column) if not refusals else NAN,
        refusal_rate=refusal_rate(records[known]),
        measured_rate=measured_rate(values.notna(), rows[comparison.column], way.coefficients),
    )


def _unmeasured(
    records: pd.DataFrame,
    comparison: Comparison,
    group: str,
    score: ScoreColumn,
    coefficients: dict[str, float],
    alpha: float,
) -> Measured:
    rows = records[records[comparison.column].isin(list(coefficients))]
    clusters = [rows[column] for column in comparison.clusters]
    scored, groups = rows[score.column].notna(), rows[comparison.column]
    return Measured(
        UNMEASURED,
        unmeasured_gap(scored, groups, coefficients, clusters=clusters, alpha=alpha),
        comparison.attribute,
        group,
        reference=comparison.reference or OTHERS,
        variant=f"{score.quantity} by {score.variant}",
        parse_rate=parse_rate(rows, score.column),
        refusal_rate=refusal_rate(rows),
        measured_rate=1.0,
    )


def _all_zero(records: pd.DataFrame, score: ScoreColumn, shares: Collection[str]) -> bool:
    return score.quantity in shares and bool((records[score.column].dropna() == 0).all())


def _no_gap(records: pd.DataFrame, comparison: Comparison, score: ScoreColumn, groups: Sequence[str]) -> Measured:
    reason = f"a gap needs two groups or more; {comparison.attribute} has {', '.join(groups) or 'none'}"
    return Measured(
        f"{score.quantity}_gap",
        Estimate.not_estimable(reason, n_left_out=len(records)),
        comparison.attribute,
        groups[0] if groups else "none",
        reference=comparison.reference or OTHERS,
        variant=score.variant,
        refusal_rate=refusal_rate(records),
    )


def _groups(records: pd.DataFrame, comparison: Comparison) -> list[str]:
    return [str(group) for group in records[comparison.column].dropna().unique()]
