"""Group means at one moment, over everything and within strata, with the disparity they show and its noise floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.records import NAN
from rlhf_fair.training.fairness.groups import as_labels
from rlhf_fair.training.fairness.store import GroupState, LocalStore, RunningMoments
from rlhf_fair.training.fairness.sums import ONE_STRATUM, SCORE, BatchSums, Floats

FADED = 0.05
"""Samples whose average weight has fallen below this are too old to say how a group fares now."""


@dataclass(frozen=True)
class GroupSnapshot:
    """Running state of every group. means: score units. counts: Kish's effective samples behind each mean.

    A group that has not been seen for so long that its samples have faded counts 0. ``score_sd`` is over all groups
    together; ``within_sds``, where known, within each. ``measured_share``, in (0, 1], is that of the rows behind these
    means among all rows; the others have no group or no score.
    """

    groups: tuple[str, ...]
    shares: Floats
    means: Floats
    counts: Floats
    score_sd: float
    within_sds: Floats | None = None
    measured_share: float = 1.0

    @classmethod
    def of(cls, groups: Sequence[str | None], scores: Floats) -> GroupSnapshot:
        """One sample of scores, (n,) with NaN where missing: such as the policy before training, for its levels."""
        return StratifiedSnapshot.of_sample(groups, scores).pooled

    @property
    def overall(self) -> float:
        """Share-weighted mean of the group means."""
        return float(self.shares @ self.means)

    @property
    def between_group_variance(self) -> float:
        """sum_g p_g (mu_g - mu)^2: squared score units, 0 = parity."""
        return float(self.shares @ (self.means - self.overall) ** 2)

    @property
    def between_group_sd(self) -> float:
        """Root of `between_group_variance`: score units, 0 = parity."""
        return float(np.sqrt(self.between_group_variance))

    @property
    def noise_variance(self) -> float:
        """What `between_group_variance` averages to by chance alone, with these counts and no disparity."""
        return float(self.shares @ (self.score_sd**2 / np.maximum(self.counts, 1.0) * (1 - self.shares)))

    @property
    def noise_floor(self) -> float:
        """What `between_group_sd` would show by chance alone with these counts and no disparity."""
        return float(np.sqrt(self.noise_variance))

    def measured(self, minimum_count: float) -> NDArray[np.bool_]:
        """(groups,) True where there are samples, and not too few."""
        return (self.counts > 0) & (self.counts >= minimum_count)

    @property
    def standard_errors(self) -> Floats:
        """(groups,) of the means, from each group's own spread where known; NaN below two effective samples."""
        sds = np.full(len(self.groups), self.score_sd) if self.within_sds is None else self.within_sds
        # n - 1: the spread is measured from the group's own mean
        return np.where(self.counts > 1, sds / np.sqrt(np.maximum(self.counts - 1, 1e-12)), np.nan)


@dataclass(frozen=True)
class StratifiedSnapshot:
    """One measure over everything and within each stratum. weights: (strata,) shares of the samples, summing to 1."""

    pooled: GroupSnapshot
    strata: tuple[str, ...]
    weights: Floats
    within: tuple[GroupSnapshot, ...]

    @classmethod
    def of(cls, state: GroupState, measure: str) -> StratifiedSnapshot:
        """The state of one measure."""
        by_stratum: dict[str, dict[str, RunningMoments]] = {}
        for cell, moments in sorted(state.cells.items()):  # one order of addition, or a resumed run would differ
            if cell.measure == measure:
                by_stratum.setdefault(cell.stratum, {})[cell.group] = moments
        strata = tuple(sorted(by_stratum))
        mass = np.array([sum(moments.mass for moments in by_stratum[stratum].values()) for stratum in strata])
        within = tuple(_snapshot(by_stratum[stratum]) for stratum in strata)
        pooled = within[0] if len(within) == 1 else _snapshot(_merged(by_stratum.values()))
        pooled = replace(pooled, measured_share=_share(float(mass.sum()), state.rows))
        return cls(pooled, strata, mass / max(mass.sum(), 1e-12), within)

    @classmethod
    def of_sample(
        cls, groups: Sequence[str | None], scores: Floats, strata: Sequence[str] | None = None
    ) -> StratifiedSnapshot:
        """One sample of scores, (n,) with NaN where missing, as `GroupSnapshot.of`, within ``strata``."""
        sums = BatchSums.of(as_labels(groups), {SCORE: np.asarray(scores, dtype=float)}, strata)
        return cls.of(LocalStore(0.0).add(sums), SCORE)

    @classmethod
    def unstratified(cls, snapshot: GroupSnapshot) -> StratifiedSnapshot:
        """Everything is one stratum."""
        return cls(snapshot, (ONE_STRATUM,), np.ones(1), (snapshot,))

    @cached_property
    def between_group_variance(self) -> float:
        """sum_s w_s of the variance between the groups of s; a stratum with one group alone adds 0."""
        return self._mean([snapshot.between_group_variance for snapshot in self.within])

    @cached_property
    def noise_variance(self) -> float:
        """What `between_group_variance` averages to by chance alone."""
        return self._mean([snapshot.noise_variance for snapshot in self.within])

    @cached_property
    def comparable(self) -> float:
        """Share of the samples in strata with two groups or more: those that say anything of a gap."""
        return self._mean([float(len(snapshot.groups) > 1) for snapshot in self.within])

    @property
    def gap(self) -> float:
        """Root of the mean variance between groups over comparable strata: score units, 0 = parity, NaN without any."""
        return float(np.sqrt(self.between_group_variance / self.comparable)) if self.comparable > 0 else NAN

    @property
    def noise_floor(self) -> float:
        """What `gap` would show by chance alone."""
        return float(np.sqrt(self.noise_variance / self.comparable)) if self.comparable > 0 else NAN

    def _mean(self, values: list[float]) -> float:
        return float(self.weights @ np.array(values)) if values else 0.0


def _share(measured: float, rows: float) -> float:
    share = measured / rows if measured > 0 and rows > 0 else 1.0
    return share if share < 1 - 1e-9 else 1.0  # cells fade one by one and rows at once: rounding is no missing row


def _merged(strata: Iterable[Mapping[str, RunningMoments]]) -> dict[str, RunningMoments]:
    merged: dict[str, RunningMoments] = {}
    for cells in strata:
        for group, moments in cells.items():
            old = merged.get(group)
            merged[group] = (
                moments if old is None else RunningMoments(*(a + b for a, b in zip(old, moments, strict=True)))
            )
    return merged


def _snapshot(cells: Mapping[str, RunningMoments]) -> GroupSnapshot:
    """Means and counts of one stratum's groups, in order of name."""
    groups = tuple(sorted(cells))
    table = np.array([cells[group] for group in groups]).reshape(len(groups), 4)
    mass, squared_mass, total, squares = table.T
    counts = np.where(squared_mass > FADED * mass, mass**2 / np.maximum(squared_mass, 1e-300), 0.0)
    means = total / np.maximum(mass, 1e-12)
    n = max(float(mass.sum()), 1e-12)
    variance = max(float(squares.sum()) / n - (float(total.sum()) / n) ** 2, 0.0)
    within = np.sqrt(np.maximum(squares / np.maximum(mass, 1e-12) - means**2, 0.0))
    return GroupSnapshot(groups, mass / n, means, counts, float(np.sqrt(variance)), within)
