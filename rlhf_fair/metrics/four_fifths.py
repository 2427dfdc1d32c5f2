"""The four-fifths rule, read together with whether a difference could be chance.

US agencies take a rate below four fifths of the highest as evidence of adverse impact, but not where the numbers are
too small to be significant; and a smaller difference may still count where it is significant (29 CFR 1607.4(D)). The
bare ratio is no test: with equal true rates of one half and 50 people a group it falls below .8 in a quarter of all
samples, and somewhere among 14 categories nearly always. So a miss alone is never called a finding here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.metrics.impact_ratio import ImpactRatioTable
from rlhf_fair.records import Estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.exact_tests import TWO_STANDARD_DEVIATIONS, fisher_p_values

FOUR_FIFTHS = 0.8


class Reading(StrEnum):
    """What ratio, tests and interval say together."""

    BELOW = "the whole interval lies below the threshold, and the difference is beyond chance"
    MISS_BEYOND_CHANCE = "below the threshold, and the difference is beyond chance"
    MISS_WITHIN_CHANCE = "below the threshold, but the difference could be chance"
    DIFFERENT = "not below the threshold, but the difference is beyond chance"
    NOT_BELOW = "not below the threshold, and no difference beyond chance"
    NOT_ESTIMABLE = "not estimable"


@dataclass(frozen=True)
class FourFifths:
    """One category against the highest.

    ``p_adjusted``: Fisher's, or with clusters the risk ratio's, corrected for all pairs of the table. ``fisher_p`` and
    ``standard_deviations`` take rows as independent.
    """

    category: Hashable
    reference: Hashable
    ratio: Estimate
    standard_deviations: float
    fisher_p: float
    p_adjusted: float
    reading: Reading

    @property
    def is_finding(self) -> bool:
        """A miss that chance does not explain."""
        return self.reading in (Reading.BELOW, Reading.MISS_BEYOND_CHANCE)


def four_fifths(
    table: ImpactRatioTable, *, threshold: float = FOUR_FIFTHS, alpha: float = 0.05
) -> tuple[FourFifths, ...]:
    """Read every category but the highest of one table.

    A difference is *beyond chance* if three things agree: the p-value, corrected, is at most ``alpha``; the rates
    differ by more than two standard deviations; the interval of the ratio leaves out 1. The p-value is Fisher's, or the
    risk ratio's where the table has clusters, of which Fisher's test knows nothing. The correction is Holm's over *all*
    pairs of categories: since the highest category is picked by looking at the data, correcting for the comparisons
    with it alone would not do. ``threshold`` is compared exactly, as a fraction: 48 % is not below four fifths of 60 %,
    whatever floats say.
    """
    rows = table.by_category
    n, selected = rows["n"].to_numpy(), rows["selected"].to_numpy()
    labels = list(table.ratios)
    if table.reference is None:
        missing = (float("nan"),) * 3
        return tuple(FourFifths(label, None, table.ratios[label], *missing, Reading.NOT_ESTIMABLE) for label in labels)
    reference = labels.index(table.reference)
    adjusted = _adjusted(table, reference)
    limit = Fraction(str(threshold)) * Fraction(int(selected[reference]), int(n[reference]))
    readings = []
    for code, label in enumerate(labels):
        if code == reference:
            continue
        ratio, sd = table.ratios[label], float(rows["standard_deviations"].iloc[code])
        apart = ratio.ci_high < 1 and abs(sd) > TWO_STANDARD_DEVIATIONS and adjusted[code] <= alpha
        missed = n[code] > 0 and Fraction(int(selected[code]), int(n[code])) < limit
        below = bool(ratio.ci_high < threshold)
        p = float(rows["fisher_p"].iloc[code])
        reading = _reading(bool(missed), bool(apart), below) if np.isfinite(ratio.estimate) else Reading.NOT_ESTIMABLE
        readings.append(FourFifths(label, table.reference, ratio, sd, p, float(adjusted[code]), reading))
    return tuple(readings)


def _reading(missed: bool, apart: bool, below: bool) -> Reading:
    if missed and apart:
        return Reading.BELOW if below else Reading.MISS_BEYOND_CHANCE
    if missed:
        return Reading.MISS_WITHIN_CHANCE
    return Reading.DIFFERENT if apart else Reading.NOT_BELOW


def _adjusted(table: ImpactRatioTable, reference: int) -> NDArray[np.float64]:
    """(categories,) Holm p-values of each category against the reference, in the family of all eligible pairs."""
    rows = table.by_category
    n, selected = rows["n"].to_numpy(), rows["selected"].to_numpy()
    eligible = rows["in_ratio"].to_numpy() & (n > 0)
    first, second = np.triu_indices(len(n), k=1)
    pairs = eligible[first] & eligible[second]
    first, second = first[pairs], second[pairs]
    if table.pair_p_values is None:
        p = fisher_p_values(selected[first], n[first], selected[second], n[second])
    else:
        p = table.pair_p_values[first, second]
    p = holm(p)
    adjusted = np.full(len(n), np.nan)
    adjusted[second[first == reference]] = p[first == reference]
    adjusted[first[second == reference]] = p[second == reference]
    return adjusted
