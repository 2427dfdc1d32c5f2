"""Greedy D-optimal choice: the next pair is the one whose label adds most to what all labels together tell.

The value of a set S is log det(A + Σ_{i in S} c_i c_iᵀ) - log det A, where A is what is known before. With
`selection_heads.fisher_vectors` it is twice the Gaussian information of the labels about the head (Bayesian
D-optimality: Chaloner and Verdinelli 1995; for reward models: Shen, Sun and Ton 2025); with `disagreement_vectors` the
same for the ensemble, in the spirit of BatchBALD (Kirsch, van Amersfoort and Gal 2019). It is monotone and submodular:
gains only shrink, a second copy of a pair is worth less than the first, and taking the best one each time reaches at
least 1 - 1/e of the best set of that size (Nemhauser, Wolsey and Fisher 1978).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BLOCK = 1024
"""Candidates whose gain is brought up to date at once: one product of matrices instead of many thin ones."""


class GreedyDesign:
    """Candidates and what has been bought of them.

    With A = I (after whitening), the gain of c is log(1 + cᵀ A⁻¹ c). Buying j turns A⁻¹ into A⁻¹ - u uᵀ with
    u = A⁻¹ c_j / sqrt(1 + c_jᵀ A⁻¹ c_j) (Sherman and Morrison 1950), so every cᵀ A⁻¹ c falls by (c · u)², which costs d
    steps. Since it only falls, an old value is a limit from above, and only candidates whose limit reaches the
    top are brought up to date (Minoux 1978). Equal gains: the candidate that comes first.
    """

    def __init__(self, vectors: Floats, precision: Floats | None = None) -> None:
        """``vectors``: (n, d). ``precision``: A, (d, d) positive definite; default the identity."""
        if precision is None:
            self.vectors = np.ascontiguousarray(vectors)
        else:
            root = cholesky(precision, lower=True)
            self.vectors = np.ascontiguousarray(solve_triangular(root, vectors.T, lower=True).T)
        n, d = self.vectors.shape
        self._limit = np.einsum("ij,ij->i", self.vectors, self.vectors)
        self._current = np.zeros(n, dtype=np.int64)
        """How many purchases each limit has seen."""
        self._updates = np.empty((16, d))
        self._bought = 0
        self.information = 0.0
        """log det(A now) - log det(A at the start), nats; 0 = nothing bought."""

    def gains(self) -> Floats:
        """(n,) log(1 + cᵀ A⁻¹ c) of every candidate now, nats, >= 0."""
        self._refresh(np.arange(len(self._limit)))
        return np.asarray(np.log1p(self._limit))

    def best(self, allowed: Flags) -> int:
        """The allowed candidate of largest gain; at least one must be allowed."""
        limit = np.where(allowed, self._limit, -np.inf)
        while True:
            top = int(np.argmax(limit))
            if self._current[top] == self._bought:
                return top
            stale = self._highest(np.where(self._current < self._bought, limit, -np.inf))
            self._refresh(stale)
            limit[stale] = self._limit[stale]

    def add(self, row: int) -> float:
        """Buy a candidate; returns its gain in nats."""
        self._refresh(np.array([row]))
        updates = self._updates[: self._bought]
        size, gain = float(self._limit[row]), float(np.log1p(self._limit[row]))
        direction = self.vectors[row] - updates.T @ (updates @ self.vectors[row])
        if self._bought == len(self._updates):
            self._updates = np.concatenate([self._updates, np.empty_like(self._updates)])
        self._updates[self._bought] = direction / np.sqrt(1 + size)
        self._bought += 1
        self.information += gain
        return gain

    def total_information(self) -> float:
        """What buying every candidate would give, in nats, from the start."""
        n, d = self.vectors.shape
        gram = self.vectors.T @ self.vectors if d <= n else self.vectors @ self.vectors.T
        return float(np.linalg.slogdet(np.eye(min(n, d)) + gram)[1])

    def _highest(self, limit: Floats) -> NDArray[np.int64]:
        """The rows of the largest finite limits, at most a block of them."""
        if len(limit) <= BLOCK:
            return np.flatnonzero(np.isfinite(limit))
        rows = np.argpartition(limit, len(limit) - BLOCK)[-BLOCK:]
        return rows[np.isfinite(limit[rows])]

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        """Bring limits up to date with all purchases."""
        seen = self._current[rows]
        oldest = int(seen.min())
        if oldest == self._bought:
            return
        products = self.vectors[rows] @ self._updates[oldest : self._bought].T
        new = np.arange(oldest, self._bought) >= seen[:, None]
        fallen = np.einsum("ij,ij,ij->i", products, products, new)
        self._limit[rows] = np.maximum(self._limit[rows] - fallen, 0.0)
        self._current[rows] = self._bought
