"""Softmax policies over a handful of answers, where every expectation and every gradient is a finite sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, LocalStore
from rlhf_fair.training.fairness.sums import LENGTH, REFUSED, SCORE, BatchSums, Cell, Moments

STRATA = ("x", "y")
GROUPS = ("a", "b", "c")
SHARES = np.array([[0.30, 0.05, 0.15], [0.10, 0.25, 0.15]])  # (strata, groups): the groups meet the strata unequally
N_ANSWERS = 4


class Policy:
    """One parameter vector for all cells, four answers in each, and four quantities of every answer."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        shape = (2, 3, N_ANSWERS)
        self.rewards = rng.normal(size=shape)
        self.measures = {
            SCORE: rng.normal(size=shape),
            REFUSED: rng.integers(0, 2, size=shape).astype(float),
            LENGTH: rng.integers(1, 9, size=shape).astype(float),
        }
        self.features = rng.normal(size=(*shape, 6))
        self.theta = rng.normal(size=6)

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        logits = self.features @ theta
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))

    def means(self, theta: np.ndarray, measure: str = SCORE) -> np.ndarray:
        """(strata, groups)."""
        return np.asarray((self.probabilities(theta) * self.measures[measure]).sum(axis=-1))

    def expected_reward(self, theta: np.ndarray) -> float:
        return float((SHARES * (self.probabilities(theta) * self.rewards).sum(axis=-1)).sum())

    def gradient(self, shaped: np.ndarray) -> np.ndarray:
        """Exact E[shaped reward * grad log pi]."""
        policy = self.probabilities(self.theta)
        grad_log = self.features - np.einsum("sga,sgad->sgd", policy, self.features)[:, :, None]
        return np.einsum("sg,sga,sga,sgad->d", SHARES, policy, shaped, grad_log)

    def sums(self, *, samples: float = 1e6) -> BatchSums:
        """What a batch of ``samples`` would hold if every sample came as often as expected."""
        policy, cells = self.probabilities(self.theta), {}
        for measure, values in self.measures.items():
            for s, stratum in enumerate(STRATA):
                for g, group in enumerate(GROUPS):
                    n, p, v = samples * SHARES[s, g], policy[s, g], values[s, g]
                    cells[Cell(measure, stratum, group)] = Moments(n, n * float(p @ v), n * float(p @ v**2))
        return BatchSums(cells, rows=int(samples))

    def shaped_rewards(self, shaper: FairnessShaper, *, stratified: bool = True) -> np.ndarray:
        """(strata, groups, answers) rewards less penalties, every answer of every cell once, all state frozen."""
        rows = [(s, g) for s in STRATA for g in GROUPS for _ in range(N_ANSWERS)]
        values = {measure: v.ravel() for measure, v in self.measures.items()}
        with shaper.frozen():
            shaped = shaper.shape(
                self.rewards.ravel(),
                values[SCORE],
                [group for _, group in rows],
                strata=[stratum for stratum, _ in rows] if stratified else None,
                refused=values[REFUSED],
                lengths=values[LENGTH],
            )
        return shaped.rewards.reshape(self.rewards.shape)


def shaper_at(policy: Policy, reference_means: Mapping[str, float] | None = None, **settings: object) -> FairnessShaper:
    """A shaper whose running means are the policy's exact ones."""
    plain = {"strength": 0.0, "floor_strength": 0.0, "minimum_count": 0.0, "strata_by": ("template",)} | settings
    if "multiplier" in settings:
        plain.pop("strength")
    store = LocalStore(0.0)
    shaper = FairnessShaper(FairnessSettings.model_validate(plain), reference_means, store)
    store.add(policy.sums())
    return shaper


def finite_difference(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    return np.array([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))])
