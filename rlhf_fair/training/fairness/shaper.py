"""The shaper: running group means in, one reward less its penalty out for every sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.training.fairness.curve_row import curve_row
from rlhf_fair.training.fairness.disparities import Disparity, Prices, between_groups, disparities
from rlhf_fair.training.fairness.groups import Labels, as_labels
from rlhf_fair.training.fairness.levelling_down import floor_prices
from rlhf_fair.training.fairness.multipliers import Multipliers
from rlhf_fair.training.fairness.named_groups import warn_of_absent_groups
from rlhf_fair.training.fairness.settings import FairnessSettings
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot
from rlhf_fair.training.fairness.store import GroupState, GroupStore, LocalStore
from rlhf_fair.training.fairness.sums import LENGTH, ONE_STRATUM, REFUSED, REWARD, SCORE, BatchSums, Floats


@dataclass(frozen=True)
class Shaped:
    """One shaped batch. rewards: (n,) less the penalties. penalties: (n,). metrics: one row of a training curve."""

    rewards: Floats
    penalties: Floats
    metrics: dict[str, float]


class FairnessShaper:
    """Keeps running group means and turns scores into penalties; part of a checkpoint through its state dict.

    ``reference_means``: each group's mean score before training, for the floors and to show who moved. ``store`` holds
    the group statistics; by default they live in this process.
    """

    def __init__(
        self,
        settings: FairnessSettings,
        reference_means: Mapping[str, float] | None = None,
        store: GroupStore | None = None,
    ) -> None:
        self.settings = settings
        self.reference_means = dict(reference_means or {})
        self.store: GroupStore = LocalStore(settings.memory) if store is None else store
        self.multipliers = Multipliers(settings.multiplier, settings.strength)
        self._frozen = False
        self._version, self._moved_at, self._staleness = 0, 0, 0
        self._names_checked = False

    def shape(
        self,
        rewards: Floats,
        scores: Floats,
        groups: Sequence[str | None],
        *,
        strata: Sequence[str] | None = None,
        refused: Floats | None = None,
        lengths: Floats | None = None,
    ) -> Shaped:
        """Take in one batch and price it: all inputs (n,).

        ``scores``: NaN where a text has none; ``groups``: None where unknown; both then carry no penalty and are
        counted. ``refused``: 1 for a refusal, else 0. ``lengths``: tokens.
        """
        given = {SCORE: scores, REWARD: rewards, REFUSED: refused, LENGTH: lengths}
        measures = {name: np.asarray(values, dtype=float) for name, values in given.items() if values is not None}
        labels = as_labels(groups)
        _check_shapes(measures, len(labels), strata)
        sums = BatchSums.of(labels, measures, strata)
        state = self.take(sums)
        if not self._names_checked and state.steps >= 1:  # in one whole batch most groups have come
            self._names_checked = True
            warn_of_absent_groups(self.settings, state)
        snapshots = {measure: StratifiedSnapshot.of(state, measure) for measure in measures}
        found = disparities(snapshots[SCORE], self.settings)
        prices = {measure: self._measure_prices(measure, snapshots[measure], found) for measure in measures}
        penalties = np.zeros(len(labels))
        for measure, price in prices.items():
            penalties += _penalties(price, snapshots[measure], measures[measure], labels, strata)
        row = curve_row(snapshots, found, self.multipliers, self.reference_means, sums)
        row |= {"kappa": _pull(prices[SCORE], snapshots[SCORE]), "penalty_sd": float(penalties.std())}
        row |= {"version": float(state.version), "staleness": float(self._staleness)}
        return Shaped(measures[REWARD] - penalties, penalties, row)

    def take(self, sums: BatchSums) -> GroupState:
        """Add a batch and move the multipliers once for every whole step; frozen, read alone.

        A store that moves multipliers for all its users says so, and then theirs are taken.
        """
        if self._frozen:
            return self.store.read()
        state = self.store.add(sums)
        # batches that others added since this process last looked: its last penalties knew nothing of them
        self._staleness = max(state.version - self._version - 1, 0)
        self._version = state.version
        if state.multipliers is not None:
            self.multipliers.load_state_dict(state.multipliers)
        elif math.floor(state.steps) > self._moved_at:
            self._moved_at = math.floor(state.steps)
            self.multipliers.move(disparities(StratifiedSnapshot.of(state, SCORE), self.settings))
        return state

    def update(self, groups: Sequence[str | None], scores: Floats) -> GroupSnapshot:
        """Take in one batch of scores (NaN ones are left out) and return the state to shape it with."""
        state = self.take(BatchSums.of(as_labels(groups), {SCORE: np.asarray(scores, dtype=float)}))
        return StratifiedSnapshot.of(state, SCORE).pooled

    def snapshot(self) -> GroupSnapshot:
        """The state of the score over all strata, groups in order of name."""
        return StratifiedSnapshot.of(self.store.read(), SCORE).pooled

    def penalties(self, groups: Sequence[str | None], scores: Floats, state: GroupSnapshot) -> Floats:
        """(n,) amounts to subtract from the rewards; 0 where the score is NaN or the group has too few samples."""
        snapshot = StratifiedSnapshot.unstratified(state)
        prices = {ONE_STRATUM: self.coefficients(state)}
        return _penalties(prices, snapshot, np.asarray(scores, dtype=float), as_labels(groups), None)

    def coefficients(self, state: GroupSnapshot) -> Floats:
        """(groups,) price of one score unit in each group: positive pushes the group's scores down."""
        snapshot = StratifiedSnapshot.unstratified(state)
        return self._score_prices(snapshot, disparities(snapshot, self.settings))[ONE_STRATUM]

    def kappa(self, state: GroupSnapshot) -> float:
        """Share-weighted root mean square of the coefficients: how hard the penalty pulls now."""
        return float(np.sqrt(state.shares @ self.coefficients(state) ** 2))

    @contextmanager
    def frozen(self) -> Iterator[FairnessShaper]:
        """For evaluation: inside, batches enter no mean and move no multiplier."""
        before, self._frozen = self._frozen, True
        try:
            yield self
        finally:
            self._frozen = before

    def state_dict(self) -> dict[str, Any]:
        """Group statistics, multipliers and counters as plain numbers."""
        counters = {"version": self._version, "moved_at": self._moved_at, "staleness": self._staleness}
        return {"store": self.store.state_dict(), "multipliers": self.multipliers.state_dict(), "counters": counters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.store.load_state_dict(state["store"])
        self.multipliers.load_state_dict(state["multipliers"])
        counters = state["counters"]
        self._version, self._moved_at = int(counters["version"]), int(counters["moved_at"])
        self._staleness = int(counters["staleness"])

    def _measure_prices(self, measure: str, snapshot: StratifiedSnapshot, found: Sequence[Disparity]) -> Prices:
        if measure == SCORE:
            return self._score_prices(snapshot, found)
        strengths = {REFUSED: self.settings.refusal_strength, LENGTH: self.settings.length_strength}
        strength = strengths.get(measure, 0.0)  # rewards are shown by group, never priced
        parity = between_groups(snapshot, self.settings.minimum_count)
        return {stratum: strength * price / snapshot.pooled.measured_share for stratum, price in parity.prices.items()}

    def _score_prices(self, snapshot: StratifiedSnapshot, found: Sequence[Disparity]) -> Prices:
        """Multiplier times price, summed over disparities, plus the floors.

        All are by shares of the measured rows, but policy gradients average over all rows, of which the others bring
        no penalty: a cell's share of those is smaller by the measured share, and its price larger.
        """
        s, pooled = self.settings, snapshot.pooled
        floors = floor_prices(pooled, self.reference_means, strength=s.floor_strength, tolerance=s.floor_tolerance)
        floors = np.where(pooled.measured(s.minimum_count), floors, 0.0)
        floor_of = dict(zip(pooled.groups, floors, strict=True))
        prices: Prices = {}
        for stratum, within in zip(snapshot.strata, snapshot.within, strict=True):
            terms = [self.multipliers.kappa(d) * d.prices[stratum] for d in found if stratum in d.prices]
            price = np.sum(terms, axis=0) + np.array([floor_of[group] for group in within.groups])
            prices[stratum] = price / pooled.measured_share
        return prices


def _penalties(
    prices: Prices,
    snapshot: StratifiedSnapshot,
    values: Floats,
    groups: Labels,
    strata: Sequence[str] | None,
) -> Floats:
    """(n,) price of the row's cell times the value's distance from the cell's mean."""
    cells = {
        (stratum, group): (price, mean)
        for stratum, within in zip(snapshot.strata, snapshot.within, strict=True)
        for group, price, mean in zip(within.groups, prices[stratum].tolist(), within.means.tolist(), strict=True)
    }
    penalties = np.zeros(len(groups))
    places = zip(strata or [ONE_STRATUM] * len(groups), groups, strict=True)
    for row, (place, value) in enumerate(zip(places, values.tolist(), strict=True)):
        if math.isfinite(value) and place in cells:  # a cell never measured has no mean, hence no price
            price, mean = cells[place]
            penalties[row] = price * (value - mean)
    return penalties


def _check_shapes(measures: Mapping[str, Floats], n: int, strata: Sequence[str] | None) -> None:
    for measure, values in measures.items():
        if values.shape != (n,):
            raise RlhfFairError(f"{measure} has shape {values.shape}; one for each of the {n} groups is ({n},)")
    if strata is not None and len(strata) != n:
        raise RlhfFairError(f"there are {len(strata)} strata; allowed: one for each of the {n} groups")


def _pull(prices: Prices, snapshot: StratifiedSnapshot) -> float:
    """Share-weighted root mean square of the prices of all cells."""
    parts = zip(snapshot.strata, snapshot.weights, snapshot.within, strict=True)
    return float(np.sqrt(sum(weight * float(within.shares @ prices[s] ** 2) for s, weight, within in parts)))
