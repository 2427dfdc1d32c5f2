"""Do groups split on *this* item: a permutation test of one table of groups by values.

Dealing the groups to an item's raters by lot keeps how many raters each group has there and how often each value was
given, so every deal is a random table with those margins (Patefield 1981). The statistic is the disagreement inside
groups, sum of p_g D(g, g), small where groups split; it is the multi-response permutation procedure of Mielke & Berry
2007. Many items are tested at once, so p-values must be able to get small: draws go on until enough of them are as
extreme (Besag & Clifford 1991), which is soon for the many items on which nothing is the matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import random_table

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.group_disagreement import FEWEST

FIRST_DRAWS = 500


@dataclass(frozen=True)
class Draws:
    """Stop once ``enough`` tables are as extreme, p = enough / draws, and at ``most`` draws, p = (1 + #) / (most + 1).

    With 50, the standard error of p is a seventh of it.
    """

    enough: int = 50
    most: int = 9_999

    def __post_init__(self) -> None:
        if not 1 <= self.enough <= self.most:
            raise SettingsError(f"enough {self.enough}, most {self.most}; allowed: 1 <= enough <= most")

    @classmethod
    def for_tests(cls, n_tests: int) -> Draws:
        """So many that one split item among ``n_tests`` can still be found at 5 % by Benjamini and Hochberg's rule."""
        return cls(most=max(9_999, 40 * n_tests))


def split_p_value(table: Floats, distance: Floats, *, draws: Draws | None = None, rng: np.random.Generator) -> float:
    """One-sided p-value of a split of one item's raters by group; NaN with fewer than two groups of two raters.

    ``table``: (G, V) ratings of the item, groups with fewer than two raters are left out; ``distance``: (V, V).

    >>> table = np.array([[3, 0], [0, 3]])  # 2 of the 20 deals of three and three split as far: p = 0.1
    >>> round(split_p_value(table, 1 - np.eye(2), rng=np.random.default_rng(0)), 1)
    0.1
    """
    s = draws or Draws()
    rows, size = table[table.sum(axis=1) >= FEWEST], table.sum(axis=1)[table.sum(axis=1) >= FEWEST]
    seen = rows.sum(axis=0) > 0
    if len(rows) < 2 or np.isnan(distance).any():
        return NAN
    if seen.sum() < 2:
        return 1.0
    rows, between_values = rows[:, seen], distance[np.ix_(seen, seen)]

    def within(tables: Floats) -> Floats:
        pairs = ((tables @ between_values) * tables).sum(axis=-1)
        return np.asarray(pairs @ (1 / (size - 1)))

    reached = float(within(rows[None])[0]) * (1 + 1e-9)
    margins = random_table(rows.sum(axis=1).astype(int), rows.sum(axis=0).astype(int))

    def extreme(n: int) -> Floats:
        return np.asarray(within(margins.rvs(size=n, random_state=rng).astype(float)) <= reached)

    return _sequential(extreme, s)


def _sequential(extreme: Callable[[int], Floats], s: Draws) -> float:
    """Besag & Clifford's p-value of a stream of draws: ``extreme(n)`` says for n new ones which are as extreme."""
    hits, done, size = 0, 0, FIRST_DRAWS
    while done < s.most:
        size = min(size, s.most - done)
        new = extreme(size)
        if hits + new.sum() >= s.enough:
            at = int(np.flatnonzero(new)[s.enough - hits - 1]) + 1
            return s.enough / (done + at)
        hits, done, size = hits + int(new.sum()), done + size, 2 * size
    return (1 + hits) / (done + 1)
