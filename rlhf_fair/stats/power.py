"""What a design can see: minimum detectable effect, power, and the number of clusters that a wished effect needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.student_t import t_quantile

LARGEST_DESIGN = 10**9
"""More clusters than this are no design: the wished effect is too small to be planned for."""


def minimum_detectable_effect(standard_error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true effect a two-sided test at ``alpha`` finds with probability ``power``.

    ``(t[1 - alpha/2] + t[power]) * standard_error``, same unit as the effect; 2.80 standard errors for large ``df``
    (Bloom 1995).

    >>> round(minimum_detectable_effect(1.0, 1e9), 2)
    2.8
    """
    return (t_quantile(1 - alpha / 2, df) + t_quantile(power, df)) * standard_error


def power_of_test(effect: float, standard_error: float, df: float, *, alpha: float = 0.05) -> float:
    """Probability that a two-sided t test at ``alpha`` rejects 0 when the truth is ``effect``; range [alpha, 1].

    From the noncentral t with ``effect / standard_error``; infinite ``df`` is the z test.

    >>> round(power_of_test(2.8016, 1.0, float("inf")), 3)
    0.8
    """
    distance = abs(effect) / standard_error
    critical = t_quantile(1 - alpha / 2, df)
    if math.isinf(df):
        return float(distributions.norm.sf(critical - distance) + distributions.norm.sf(critical + distance))
    upper = float(distributions.nct.sf(critical, df, distance))
    # Far in the tail scipy's noncentral t gives NaN; a rejection on the wrong side has next to no probability there.
    lower = float(np.nan_to_num(distributions.nct.cdf(-critical, df, distance)))
    return min(upper + lower, 1.0)


@dataclass(frozen=True)
class ClusterDesign:
    """Two groups of whole clusters (names within genders): what is known of the data before they are collected.

    ``sd``: of one row, in the unit of the score (for a rate p: sqrt(p(1 - p))). ``icc``: share of the variance that
    lies between clusters, range [0, 1]. ``cluster_size``: mean rows per cluster; ``cluster_size_cv``: standard
    deviation of the sizes over their mean. ``allocation``: reference clusters for each cluster of the group.
    """

    sd: float
    icc: float = 0.0
    cluster_size: float = 1.0
    cluster_size_cv: float = 0.0
    allocation: float = 1.0

    def __post_init__(self) -> None:
        allowed = {
            "sd": (self.sd > 0, "above 0"),
            "icc": (0 <= self.icc <= 1, "0 to 1"),
            "cluster_size": (self.cluster_size >= 1, "1 or more rows"),
            "cluster_size_cv": (self.cluster_size_cv >= 0, "0 or more"),
            "allocation": (self.allocation > 0, "above 0"),
        }
        for name, (fine, what) in allowed.items():
            if not fine or not math.isfinite(getattr(self, name)):
                raise SettingsError(f"{name} = {getattr(self, name):g}; allowed: {what}")

    @property
    def design_effect(self) -> float:
        """Variance of a group mean over that of as many independent rows; 1 = no loss; see `design_effect`."""
        return design_effect(self.icc, self.cluster_size, cluster_size_cv=self.cluster_size_cv)

    def reference_clusters(self, clusters: int) -> int:
        """Clusters of the reference group that go with ``clusters`` of the group, rounded up."""
        return math.ceil(round(self.allocation * clusters, 9))

    def standard_error(self, clusters: int) -> float:
        """Of the gap, with ``clusters`` in the group: ``sd * sqrt(deff / m * (1/k + 1/k_ref))``."""
        per_cluster = self.design_effect / self.cluster_size
        return self.sd * math.sqrt(per_cluster * (1 / clusters + 1 / self.reference_clusters(clusters)))

    def df(self, clusters: int) -> float:
        """All clusters less the two group means."""
        return clusters + self.reference_clusters(clusters) - 2.0


@dataclass(frozen=True)
class SampleSize:
    """What to collect. ``power`` is that of the whole clusters named here, so at least what was asked for."""

    group_clusters: int
    reference_clusters: int
    rows: int
    design_effect: float
    power: float


def design_effect(icc: float, cluster_size: float, *, cluster_size_cv: float = 0.0) -> float:
    """``1 + ((1 + cv²)·m - 1)·icc``: how much clustering inflates the variance of a mean; null value 1.

    Kish 1965 for equal sizes m; Eldridge, Ashby & Kerry 2006 for sizes that vary.

    >>> design_effect(0.05, 21)
    2.0
    """
    return 1 + ((1 + cluster_size_cv**2) * cluster_size - 1) * icc


def power_for_gap(gap: float, design: ClusterDesign, clusters: int, *, alpha: float = 0.05) -> float:
    """Probability that ``clusters`` clusters in the group (and their share of reference ones) show a true ``gap``.

    NaN where fewer than two clusters in a group leave nothing to estimate the variance from.
    """
    if clusters < 2 or design.reference_clusters(clusters) < 2:
        return NAN
    return power_of_test(gap, design.standard_error(clusters), design.df(clusters), alpha=alpha)


def sample_size_for_gap(gap: float, design: ClusterDesign, *, alpha: float = 0.05, power: float = 0.8) -> SampleSize:
    """The fewest clusters that show a true ``gap`` (in the unit of the score) with probability ``power``.

    Never fewer than two clusters a group. Uses the noncentral t, not the normal: with few clusters that is several
    more.

    Raises
    ------
    SettingsError
        The gap is 0 or so small that no design of fewer than a billion clusters shows it, or ``power`` lies outside
        (alpha, 1).
    """
    if not gap or not math.isfinite(gap):
        raise SettingsError(f"gap = {gap:g}; allowed: any finite number but 0")
    if not alpha < power < 1:
        raise SettingsError(f"power = {power:g}; allowed: above alpha ({alpha:g}) and below 1")
    enough = fewest = max(2, math.floor(round(1 / design.allocation, 9)) + 1)  # two reference clusters, too
    while power_for_gap(gap, design, enough, alpha=alpha) < power:
        enough *= 2
        if enough > LARGEST_DESIGN:
            raise SettingsError(f"gap = {gap:g} is too small: {LARGEST_DESIGN:g} clusters would not show it")
    too_few = max(enough // 2, fewest - 1)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if power_for_gap(gap, design, middle, alpha=alpha) < power:
            too_few = middle
        else:
            enough = middle
    reference = design.reference_clusters(enough)
    return SampleSize(
        group_clusters=enough,
        reference_clusters=reference,
        rows=math.ceil(round((enough + reference) * design.cluster_size, 9)),
        design_effect=design.design_effect,
        power=power_for_gap(gap, design, enough, alpha=alpha),
    )
