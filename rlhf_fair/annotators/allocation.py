"""How many raters each group needs: optimal allocation, and enough of them to see a gap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.power import ClusterDesign, sample_size_for_gap

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def neyman(sizes: ArrayLike, sds: ArrayLike, n: float, costs: ArrayLike | None = None) -> FloatArray:
    """Persons for each stratum that estimate the population's mean best: n_h ∝ N_h S_h / √c_h.

    Without ``costs`` (all equal) the least variance for ``n`` persons, Neyman 1934; with them the least variance for
    the money that these n persons cost (Cochran 1977, §5.5). A stratum that would need more than it has is taken
    whole and the rest shared out again. Fractions of persons; `whole_persons` rounds.

    Parameters
    ----------
    sizes, sds, costs
        (strata,) persons in the population, standard deviation of what is measured, price of one person (> 0).
    n
        Persons in all, at most the population.

    >>> neyman([400, 300, 200, 100], [5, 10, 20, 40], 100).round(2).tolist()
    [15.38, 23.08, 30.77, 30.77]
    >>> neyman([400, 300, 200, 100], [5, 10, 20, 40], 100, costs=[1, 4, 9, 16]).round(2).tolist()
    [34.29, 25.71, 22.86, 17.14]
    """
    size, sd = np.asarray(sizes, dtype=float), np.asarray(sds, dtype=float)
    cost = np.ones_like(size) if costs is None else np.asarray(costs, dtype=float)
    if size.ndim != 1 or not size.shape == sd.shape == cost.shape:
        raise SettingsError(
            f"sizes, sds, costs of shapes {size.shape}, {sd.shape}, {cost.shape}; allowed: one, (strata,)"
        )
    if not (np.all(size >= 0) and np.all(sd >= 0) and np.all(cost > 0) and np.isfinite([size, sd, cost]).all()):
        raise SettingsError("sizes and sds must be finite numbers >= 0, costs above 0")
    if not 0 < n <= size.sum():
        raise SettingsError(f"n = {n:g}; allowed: above 0, at most the {size.sum():g} persons of all strata")
    need = size * sd / np.sqrt(cost)
    share = np.zeros_like(size)
    whole = np.zeros(len(size), dtype=bool)
    while True:
        room = n - size[whole].sum()
        rest = need[~whole].sum()
        # strata that do not vary need nobody; where only those are left, they share by size
        weight = need if rest > 0 else size
        share = np.where(whole, size, room * weight / max(weight[~whole].sum(), 1e-300))
        beyond = ~whole & (share > size * (1 + 1e-12))
        if not beyond.any():
            return share
        whole |= beyond


def whole_persons(allocation: ArrayLike) -> IntArray:
    """Whole numbers with the same total (rounded), each the floor or ceiling: largest remainders go up (Hamilton).

    >>> whole_persons([15.38, 23.08, 30.77, 30.77]).tolist()
    [15, 23, 31, 31]
    """
    wanted = np.asarray(allocation, dtype=float)
    persons = np.floor(wanted + 1e-9).astype(np.int64)
    missing = int(np.rint(wanted.sum())) - int(persons.sum())
    persons[np.argsort(persons - wanted, kind="stable")[:missing]] += 1
    return persons


@dataclass(frozen=True)
class RaterDesign:
    """What is known of the ratings before they are collected.

    ``sd``: of one rating, in its unit (for a rate p: sqrt(p(1 - p))); ``ratings_per_rater``; ``icc``: share of the
    variance that lies between raters of one group, range [0, 1].
    """

    sd: float
    ratings_per_rater: float = 1.0
    icc: float = 0.0
    alpha: float = 0.05
    power: float = 0.8


@dataclass(frozen=True)
class GroupNeed:
    """Raters that one contrast needs: of the group, of the reference; the power that these whole numbers reach."""

    group: str
    raters: int
    reference_raters: int
    power: float


@dataclass(frozen=True)
class PanelSize:
    """Raters of each group that show every contrast.

    Attributes
    ----------
    reference
        The group that all others are compared with.
    contrasts
        One for each other group; ``alpha`` is the level each is tested at (Bonferroni over the contrasts).
    oversampled
        Raters of each group when groups are equally large: the smallest panel for these contrasts but for the
        reference, which serves all of them.
    proportional
        Raters in all when the panel mirrors the population's ``shares`` instead; None without shares.
    """

    reference: str
    contrasts: tuple[GroupNeed, ...]
    alpha: float
    design_effect: float
    oversampled: dict[str, int]
    proportional: int | None


def panel_size_for_gap(
    gap: float, design: RaterDesign, groups: list[str], *, reference: str, shares: Mapping[str, float] | None = None
) -> PanelSize:
    """Raters needed to see a true difference of ``gap`` between each group and ``reference``.

    Raters are the clusters: their ratings share their owner's taste, so more ratings of one rater help less and less.
    Conservative where both groups rate the same items, since what makes an item good or bad then cancels. Each contrast
    is tested at alpha / contrasts.

    Raises
    ------
    SettingsError
        The reference is not a group, or `stats.power` refuses the design.
    """
    others = [group for group in groups if group != reference]
    if reference not in groups or not others:
        raise SettingsError(f"reference {reference!r}; allowed: one of at least two groups, here {', '.join(groups)}")
    alpha = design.alpha / len(others)
    clusters = ClusterDesign(sd=design.sd, icc=design.icc, cluster_size=design.ratings_per_rater)
    need = sample_size_for_gap(gap, clusters, alpha=alpha, power=design.power)
    contrasts = [GroupNeed(g, need.group_clusters, need.reference_clusters, need.power) for g in others]
    oversampled = dict.fromkeys([reference, *others], need.group_clusters)
    proportional = None
    if shares is not None:
        proportional = max(_mirroring(gap, clusters, alpha, design.power, shares[g], shares[reference]) for g in others)
    return PanelSize(reference, tuple(contrasts), alpha, need.design_effect, oversampled, proportional)


def _mirroring(
    gap: float, design: ClusterDesign, alpha: float, power: float, share: float, reference_share: float
) -> int:
    """Raters of a whole panel in the population's shares that show one contrast."""
    if not (share > 0 and reference_share > 0):
        raise SettingsError("a group with a share of 0 is not in a panel that mirrors the population")
    uneven = ClusterDesign(
        sd=design.sd, icc=design.icc, cluster_size=design.cluster_size, allocation=reference_share / share
    )
    need = sample_size_for_gap(gap, uneven, alpha=alpha, power=power)
    return math.ceil(round(max(need.group_clusters / share, need.reference_clusters / reference_share), 9))
