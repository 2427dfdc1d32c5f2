"""Bootstrap replicates of ratios of sums: how often each unit was drawn, times each unit's sums.

A mean or a rate needs only sums, so nothing is computed twice. A unit is a cluster; for independent rows it is a
distinct row with its number of copies, which turns ten thousand binary rows into a few dozen units (Efron & Tibshirani
1993, chapters 6 and 8). 1,000 replicates of two binary metrics in four groups of 10,000 rows take 3 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.sample import Codes, Floats

CHUNK = 2_000_000
"""Numbers held at once in a table of replicates × units (16 MB)."""


@dataclass(frozen=True)
class Units:
    """What is drawn, as K cells of (unit, group) with the sums of M ratios.

    ``numerator``, ``denominator``: (K, M). ``group``: (K,). ``unit``: (K,) codes into ``copies``, (U,) the number of
    identical units. ``stratum``: (U,) units are drawn within strata, whose sizes stay as they are.
    """

    numerator: Floats
    denominator: Floats
    group: Codes
    unit: Codes
    copies: Codes
    stratum: Codes
    n_groups: int

    @classmethod
    def of(cls, numerator: Floats, denominator: Floats, group: Codes, cluster: Codes | None, n_groups: int) -> Units:
        """From rows: ``numerator`` and ``denominator`` (n, M), ``group`` and ``cluster`` (n,); no clusters: rows."""
        if cluster is None:
            first, copies = _distinct_rows([group, *numerator.T, *denominator.T])
            unit, group = np.arange(len(first)), group[first]
            numerator, denominator = numerator[first], denominator[first]
        else:
            unit = np.unique(cluster, return_inverse=True)[1].reshape(-1)
            copies = np.ones(int(unit.max(initial=-1)) + 1, dtype=np.intp)
            cell, where = np.unique(unit * n_groups + group, return_inverse=True)
            shape = (len(cell), len(unit))
            add = sparse.csr_array((np.ones(len(unit)), (where.reshape(-1), np.arange(len(unit)))), shape=shape)
            numerator, denominator = add @ numerator, add @ denominator
            unit, group = cell // n_groups, cell % n_groups
        return cls(numerator, denominator, group, unit, copies, np.zeros_like(copies), n_groups)

    def stratified(self) -> Units:
        """The same units, drawn within groups."""
        if len(self.unit) != len(self.copies):
            raise SettingsError("stratified resampling: some clusters hold several groups; allowed: one group each")
        return replace(self, stratum=self.group[np.argsort(self.unit)])

    def draws(self, n_boot: int, rng: np.random.Generator) -> Iterator[Floats]:
        """Chunks (b, U), ``n_boot`` rows in all: how often each unit is drawn."""
        size = max(1, CHUNK // max(int(self.copies.sum()), 1))
        strata = [np.flatnonzero(self.stratum == s) for s in np.unique(self.stratum)]
        for start in range(0, n_boot, size):
            b = min(size, n_boot - start)
            drawn = np.empty((b, len(self.copies)))
            for members in strata:
                drawn[:, members] = _multinomial(self.copies[members], b, rng)
            yield drawn

    def replicate_sums(self, n_boot: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Numerators and denominators of the replicates, each (B, G, M)."""
        n_metrics = self.numerator.shape[1]
        column = self.group[:, None] * n_metrics + np.arange(n_metrics)
        shape = (len(self.copies), self.n_groups * n_metrics)
        where = (np.repeat(self.unit, n_metrics), column.reshape(-1))
        cells = (self.numerator.reshape(-1), self.denominator.reshape(-1))
        tables = [sparse.csr_array((sums, where), shape=shape) for sums in cells]
        both = sparse.hstack(tables, format="csr")
        sums = np.concatenate([drawn @ both for drawn in self.draws(n_boot, rng)])
        top, bottom = np.split(sums, 2, axis=1)
        return (top.reshape(n_boot, self.n_groups, n_metrics), bottom.reshape(n_boot, self.n_groups, n_metrics))


def replicate_means(
    numerators: ArrayLike,
    denominators: ArrayLike,
    group: ArrayLike,
    cluster: ArrayLike | None,
    n_groups: int,
    *,
    n_boot: int,
    rng: np.random.Generator,
) -> Floats:
    """Bootstrap replicates of the groups' means or rates, for several metrics at once.

    Parameters
    ----------
    numerators, denominators: (n, M), or (n,) for one metric. A row that does not count for a metric has 0 in both;
        a true positive rate has ``y_true * y_pred`` over ``y_true``.
    group: (n,) codes 0 … n_groups - 1. cluster: (n,) codes of units drawn whole; None draws rows, which is what
        ``fairlearn.metrics.MetricFrame(n_boot=…)`` does.

    Returns
    -------
    (n_boot, n_groups, M); NaN where a group has nothing to count in a replicate.
    """
    top, bottom = (np.asarray(a, dtype=float).reshape(len(np.asarray(group)), -1) for a in (numerators, denominators))
    codes = None if cluster is None else np.asarray(cluster, dtype=np.intp)
    units = Units.of(top, bottom, np.asarray(group, dtype=np.intp), codes, n_groups)
    return ratio(*units.replicate_sums(n_boot, rng))


def ratio(top: Floats, bottom: Floats) -> Floats:
    """``top / bottom``, NaN where ``bottom`` is 0."""
    return np.asarray(np.divide(top, bottom, out=np.full_like(bottom, NAN), where=bottom > 0))


def _multinomial(copies: Codes, n_boot: int, rng: np.random.Generator) -> Floats:
    """(n_boot, U) draws with replacement, as many as there are copies in all."""
    n = int(copies.sum())
    if n > len(copies):
        return rng.multinomial(n, copies / n, size=n_boot).astype(float)
    offset = np.arange(n_boot)[:, None] * n
    picked = (rng.integers(n, size=(n_boot, n)) + offset).reshape(-1)
    return np.bincount(picked, minlength=n_boot * n).reshape(n_boot, n).astype(float)


def _distinct_rows(columns: Sequence[Codes | Floats]) -> tuple[Codes, Codes]:
    """The first row of each distinct kind and the number of its copies; all rows, unless that saves twentyfold."""
    n = len(columns[0])
    code = np.zeros(n, dtype=np.intp)
    for column in columns:
        values, found = pd.factorize(np.asarray(column))
        code = pd.factorize(code * len(found) + values)[0]
        if code.max(initial=0) > n / 20:
            return np.arange(n), np.ones(n, dtype=np.intp)
    first = np.unique(code, return_index=True)[1]
    return first, np.bincount(code)
