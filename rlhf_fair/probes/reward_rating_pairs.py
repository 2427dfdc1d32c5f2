"""Pairs of texts that one rater rated differently: what a reward model's order of texts is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.stats.columns import Codes, Floats
from rlhf_fair.stats.sample import cross

MOST_PAIRS = 2_000
"""So many pairs of one rater and stratum are enough: more say little that is new, and there is a square of them."""


@dataclass(frozen=True)
class RatedPairs:
    """``a``, ``b``: (p,) the two rows of each pair. ``right``: (p,) 1 if the reward orders them so, ties half."""

    a: Codes
    b: Codes
    right: Floats

    def sums(self, kept: NDArray[np.bool_], code: Codes, n_groups: int) -> tuple[Floats, Floats]:
        """(G,) pairs ordered rightly and (G,) pairs, of those kept whole and of one group. ``kept``, ``code``: (n,)."""
        whole = kept[self.a] & kept[self.b] & (code[self.a] == code[self.b])
        group, right = code[self.a[whole]], self.right[whole]
        won, pairs = (np.bincount(group, weight, n_groups) for weight in (right, np.ones_like(right)))
        return np.asarray(won, dtype=float), np.asarray(pairs, dtype=float)


def rated_pairs(
    rater: Codes,
    stratum: Codes,
    rating: Floats,
    preferred: Callable[[Floats], Floats],
    reward: Floats,
    *,
    most: int = MOST_PAIRS,
    rng: np.random.Generator,
) -> RatedPairs:
    """All pairs of rows of one rater and stratum whose ratings differ; of more than ``most`` as many, drawn at random.

    All arrays are (n,). ``preferred``: margin -> 1 where it is positive, 0 where negative, 1/2 at 0.
    """
    cell = cross([rater, stratum])
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cell[order]) != 0])
    parts = [_pairs_of(rows, rating, most, rng) for rows in np.split(order, starts[1:]) if len(rows) > 1]
    a, b = np.concatenate([np.empty((2, 0), dtype=np.intp), *parts], axis=1)
    higher = np.sign(rating[a] - rating[b])
    return RatedPairs(a, b, preferred(higher * (reward[a] - reward[b])))


def _pairs_of(rows: Codes, rating: Floats, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(2, p) of one rater and stratum."""
    a, b = np.triu_indices(len(rows), 1)
    differ = rating[rows[a]] != rating[rows[b]]
    a, b = rows[a[differ]], rows[b[differ]]
    if len(a) > most:
        drawn = np.sort(rng.permutation(len(a))[:most])
        a, b = a[drawn], b[drawn]
    return np.stack([a, b])
