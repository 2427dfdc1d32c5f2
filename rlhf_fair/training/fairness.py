"""The fairness penalty: a per-sample reward shaping whose policy gradient is the gradient of a group disparity.

For groups g with shares p_g, a text score s and mu_g = E[s | g], the objective is

    J = E[r] - strength * 1/2 * sum_g p_g (mu_g - mu)^2,

the between-group variance of the score, halved. The shares do not depend on the policy, so the policy gradient of J is
the ordinary one with the reward ``r_i - strength * (mu_g(i) - mu) * (s_i - mu_g(i))``. Subtracting the disparity itself
from every reward would do nothing: a constant vanishes in any baseline.

Group means are running estimates: one batch holds too few samples of each group. Two guards are part of the objective:
no group may fall below its reference level (levelling down), and a group with too few samples is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rlhf_fair.settings import Settings

Floats = NDArray[np.float64]


class FairnessSettings(Settings):
    """How strongly, and between whom, disparities of the score are penalised.

    ``group_by`` names prompt columns; several make intersections. ``memory`` is the share of the running means kept at
    each step. ``floor_strength`` prices a group's fall below its reference mean less ``floor_tolerance``.
    """

    group_by: tuple[str, ...] = ("gender", "ethnicity")
    strength: float = Field(3.0, ge=0)
    memory: float = Field(0.8, ge=0, lt=1)
    minimum_count: float = Field(8.0, ge=0)
    floor_strength: float = Field(3.0, ge=0)
    floor_tolerance: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class GroupSnapshot:
    """Running state of every group. means: score units. counts: Kish's effective samples behind each mean."""

    groups: tuple[str, ...]
    shares: Floats
    means: Floats
    counts: Floats
    score_sd: float

    @property
    def overall(self) -> float:
        """Share-weighted mean of the group means."""
        return float(self.shares @ self.means)

    @property
    def between_group_sd(self) -> float:
        """sqrt(sum_g p_g (mu_g - mu)^2): the penalised disparity, score units, 0 = parity."""
        return float(np.sqrt(self.shares @ (self.means - self.overall) ** 2))

    @property
    def noise_floor(self) -> float:
        """What `between_group_sd` would show by chance alone with these counts and no disparity."""
        return float(np.sqrt(self.shares @ (self.score_sd**2 / np.maximum(self.counts, 1.0) * (1 - self.shares))))


class FairnessShaper:
    """Keeps running group means and turns scores into penalties; part of a checkpoint through its state dict."""

    def __init__(self, settings: FairnessSettings, reference_means: Mapping[str, float] | None = None) -> None:
        self.settings = settings
        self.reference_means = dict(reference_means or {})
        self._mass: dict[str, float] = {}
        self._squared_mass: dict[str, float] = {}
        self._sum: dict[str, float] = {}
        self._squares = 0.0
        self._total = 0.0

    def update(self, groups: Sequence[str], scores: Floats) -> GroupSnapshot:
        """Take in one batch (NaN scores are left out) and return the state to shape it with."""
        for group in self._mass:
            self._mass[group] *= self.settings.memory
            self._squared_mass[group] *= self.settings.memory**2
            self._sum[group] *= self.settings.memory
        self._squares *= self.settings.memory
        self._total *= self.settings.memory
        for group, score in zip(groups, scores.tolist(), strict=True):
            if np.isfinite(score):
                self._mass[group] = self._mass.get(group, 0.0) + 1.0
                self._squared_mass[group] = self._squared_mass.get(group, 0.0) + 1.0
                self._sum[group] = self._sum.get(group, 0.0) + score
                self._squares += score**2
                self._total += score
        return self.snapshot()

    def snapshot(self) -> GroupSnapshot:
        """The state as arrays, groups in order of name."""
        groups = tuple(sorted(self._mass))
        mass = np.array([self._mass[group] for group in groups])
        counts = mass**2 / np.maximum([self._squared_mass[group] for group in groups], 1e-300)
        means = np.array([self._sum[group] for group in groups]) / np.maximum(mass, 1e-12)
        n = max(float(mass.sum()), 1e-12)
        variance = max(self._squares / n - (self._total / n) ** 2, 0.0)
        return GroupSnapshot(groups, mass / n, means, counts, float(np.sqrt(variance)))

    def penalties(self, groups: Sequence[str], scores: Floats, state: GroupSnapshot) -> Floats:
        """(n,) amounts to subtract from the rewards; 0 where the score is NaN or the group has too few samples."""
        index = {group: position for position, group in enumerate(state.groups)}
        coefficients = self.coefficients(state)
        penalties = np.zeros(len(scores))
        for row, (group, score) in enumerate(zip(groups, scores.tolist(), strict=True)):
            if np.isfinite(score) and group in index:  # a group never measured has no mean, hence no price
                position = index[group]
                penalties[row] = coefficients[position] * (score - state.means[position])
        return penalties

    def coefficients(self, state: GroupSnapshot) -> Floats:
        """(groups,) price of one score unit in each group: positive pushes the group's scores down."""
        s = self.settings
        price = s.strength * (state.means - state.overall)
        floors = np.array([self.reference_means.get(group, -np.inf) for group in state.groups])
        price -= s.floor_strength * np.maximum(floors - s.floor_tolerance - state.means, 0.0)
        return np.where(state.counts >= s.minimum_count, price, 0.0)

    def kappa(self, state: GroupSnapshot) -> float:
        """Share-weighted root mean square of the coefficients: how hard the penalty pulls now."""
        return float(np.sqrt(state.shares @ self.coefficients(state) ** 2))

    def state_dict(self) -> dict[str, Any]:
        """Running sums as plain numbers."""
        sums = {"mass": self._mass, "squared_mass": self._squared_mass, "sum": self._sum}
        return {name: dict(values) for name, values in sums.items()} | {"squares": self._squares, "total": self._total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._mass, self._sum = dict(state["mass"]), dict(state["sum"])
        self._squared_mass = dict(state["squared_mass"])
        self._squares, self._total = float(state["squares"]), float(state["total"])
