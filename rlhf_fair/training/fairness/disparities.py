"""What is penalised: disparities of group means, each with its price for one unit of score in every cell.

A cell c is a group within a stratum, with share p_c of all measured samples and mean m_c. For a disparity D of the
cell means, the price of cell c is (dD / dm_c) / p_c; the package docstring says why that and the score's distance from
m_c is all that policy gradients need. Where some samples have no score, the shaper raises all prices alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlhf_fair.records import NAN
from rlhf_fair.training.fairness.settings import FairnessSettings
from rlhf_fair.training.fairness.shrinkage import shrunk_means
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot
from rlhf_fair.training.fairness.sums import Floats

Prices = dict[str, Floats]
"""Stratum -> (groups,), in the order of that stratum's snapshot."""
HALF_NORMAL_MEAN = float(np.sqrt(2 / np.pi))
"""E|Z| of a standard normal."""


@dataclass(frozen=True)
class Disparity:
    """One disparity: value NaN where it cannot be estimated, and 0 at parity.

    ``signed`` ones are differences in score units, with ``noise`` the mean of |value| by chance. The others are squared
    (half of it is what is priced), with ``noise`` the root of what value averages to by chance.
    """

    name: str
    value: float
    noise: float
    signed: bool
    prices: Prices

    @property
    def estimable(self) -> bool:
        """False: too few samples, or a group of it was not seen; then nothing moves."""
        return bool(np.isfinite(self.value))


def disparities(snapshot: StratifiedSnapshot, settings: FairnessSettings) -> list[Disparity]:
    """Those that the settings ask for, in order."""
    if settings.objective == "variance":
        build = between_groups if settings.across_strata == "each" else between_standardized_groups
        return [build(snapshot, settings.minimum_count, shrinkage=settings.shrinkage)]
    found: list[Disparity] = []
    for name, coefficients in contrasts_of(settings, snapshot.pooled.groups).items():
        if settings.across_strata == "each":
            found += contrast_in_each(name, coefficients, snapshot, settings)
        else:
            found.append(standardized_contrast(name, coefficients, snapshot, settings))
    return found


def between_groups(snapshot: StratifiedSnapshot, minimum_count: float, *, shrinkage: bool = False) -> Disparity:
    """sum_s w_s sum_g p_g|s (m_sg - m_s)^2; half of it has the price m_sg - m_s, 0 in cells with too few samples."""
    prices = {}
    for stratum, within in zip(snapshot.strata, snapshot.within, strict=True):
        level = shrunk_means(within) if shrinkage else within.means
        prices[stratum] = np.where(within.measured(minimum_count), level - float(within.shares @ level), 0.0)
    if not snapshot.comparable > 0:
        return Disparity("variance", NAN, NAN, False, prices)
    noise = float(np.sqrt(snapshot.noise_variance))
    return Disparity("variance", snapshot.between_group_variance, noise, False, prices)


def between_standardized_groups(
    snapshot: StratifiedSnapshot, minimum_count: float, *, shrinkage: bool = False
) -> Disparity:
    """sum_g p_g (m*_g - m*)^2 of means standardized over the strata that hold every group: m*_g = sum_s w_s m_sg.

    Half of it has the price (m*_g - m*) p_g / p_g|s. Opposite gaps of two strata cancel; between groups of `each` not.
    """
    groups = snapshot.pooled.groups
    usable = [within.groups == groups and bool(within.measured(minimum_count).all()) for within in snapshot.within]
    prices = {s: np.zeros(len(within.groups)) for s, within in zip(snapshot.strata, snapshot.within, strict=True)}
    weights = np.where(usable, snapshot.weights, 0.0)
    if not weights.sum() > 0:
        return Disparity("variance", NAN, NAN, False, prices)
    covered, weights = weights.sum(), weights / weights.sum()
    kept = [(s, w, within) for s, w, within in zip(snapshot.strata, weights, snapshot.within, strict=True) if w > 0]
    levels = [shrunk_means(within) if shrinkage else within.means for _, _, within in kept]
    means = np.sum([w * level for (_, w, _), level in zip(kept, levels, strict=True)], axis=0)
    shares = np.sum([w * within.shares for _, w, within in kept], axis=0)
    errors = np.sum([w**2 * within.score_sd**2 / np.maximum(within.counts, 1.0) for _, w, within in kept], axis=0)
    deviations = means - shares @ means
    for stratum, _, within in kept:
        prices[stratum] = deviations * shares / (within.shares * covered)
    noise = float(np.sqrt(shares @ (errors * (1 - shares))))
    return Disparity("variance", float(shares @ deviations**2), noise, False, prices)


def contrasts_of(settings: FairnessSettings, groups: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The named contrasts, or each group seen less the reference."""
    if not settings.reference:
        return dict(settings.contrasts)
    reference = settings.reference
    return {f"{group} - {reference}": {group: 1.0, reference: -1.0} for group in groups if group != reference}


def contrast_in_each(
    name: str, coefficients: Mapping[str, float], snapshot: StratifiedSnapshot, settings: FairnessSettings
) -> list[Disparity]:
    """sum_g a_g m_sg of every stratum s that holds the contrast's groups, with the price a_g / p_g|s in s.

    The objective weighs stratum s by its share w_s, which cancels against that in the share of its cells.
    """
    found = []
    for stratum, within in zip(snapshot.strata, snapshot.within, strict=True):
        label = name if len(snapshot.strata) == 1 else f"{name} | {stratum}"
        found.append(_contrast(label, stratum, coefficients, within, settings))
    return found


def standardized_contrast(
    name: str, coefficients: Mapping[str, float], snapshot: StratifiedSnapshot, settings: FairnessSettings
) -> Disparity:
    """sum_s w_s sum_g a_g m_sg over the strata that hold the contrast's groups: a directly standardized difference."""
    parts = zip(snapshot.strata, snapshot.weights, snapshot.within, strict=True)
    all_parts = [(_contrast(name, stratum, coefficients, within, settings), w) for stratum, w, within in parts]
    prices = {stratum: price for part, _ in all_parts for stratum, price in part.prices.items()}
    usable = [(part, w) for part, w in all_parts if part.estimable]
    covered = sum(w for _, w in usable)
    if not covered > 0:
        return Disparity(name, NAN, NAN, True, prices)
    value = sum(w * part.value for part, w in usable) / covered
    noise = float(np.sqrt(sum((w * part.noise) ** 2 for part, w in usable))) / covered
    return Disparity(name, float(value), noise, True, {s: price / covered for s, price in prices.items()})


def _contrast(
    name: str, stratum: str, coefficients: Mapping[str, float], within: GroupSnapshot, settings: FairnessSettings
) -> Disparity:
    a = np.array([coefficients.get(group, 0.0) for group in within.groups])
    needed = {group for group, coefficient in coefficients.items() if coefficient}
    if not needed <= set(within.groups) or not within.measured(settings.minimum_count)[a != 0].all():
        return Disparity(name, NAN, NAN, True, {stratum: np.zeros(len(a))})
    level = shrunk_means(within) if settings.shrinkage else within.means
    error = np.sqrt(a**2 @ (within.score_sd**2 / np.maximum(within.counts, 1.0)))
    prices = a / np.maximum(within.shares, 1e-12)
    return Disparity(name, float(a @ level), HALF_NORMAL_MEAN * float(error), True, {stratum: prices})
