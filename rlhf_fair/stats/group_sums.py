"""Sums per cluster and group, from which means and rates, their covariance and every resampling scheme follow.

A mean, a selection rate and a true positive rate are all ratios of sums, sum(w·x)/sum(w), over the rows of a group.
Rows that share a cluster are not independent, so clusters are summed before anything is squared (Liang & Zeger 1986).
With few clusters those sums are too small, since each cluster pulls the group's mean towards itself. The variance is
therefore the jackknife's (CV3 in MacKinnon, Nielsen & Webb 2023): what happens to a mean when one cluster is left out.
A cluster that holds the share h of a group's weight moves its mean by its deviation over 1 - h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.records import NAN
from rlhf_fair.stats.sample import Codes, Floats, signed_intersections

DENSE = 1_000_000
"""Up to this many cells a full table is faster than a sparse one, and takes 8 MB."""


@dataclass(frozen=True)
class GroupSums:
    """One clustering's sums: K cells, one for each (cluster, group) that occurs.

    ``cluster``, ``group``: (K,) codes. ``numerator``: (K,) sums of weight × value, ``denominator``: of weight.
    """

    cluster: Codes
    group: Codes
    numerator: Floats
    denominator: Floats
    n_clusters: int
    n_groups: int

    @classmethod
    def of(cls, numerator: Floats, denominator: Floats, group: Codes, cluster: Codes, n_groups: int) -> GroupSums:
        """Add up rows; the arrays are (n,). Rows with denominator 0 count for nothing and are left out."""
        used = denominator != 0
        cell, where = np.unique(cluster[used] * n_groups + group[used], return_inverse=True)
        return cls(
            cluster=cell // max(n_groups, 1),
            group=cell % max(n_groups, 1),
            numerator=_add(where.reshape(-1), numerator[used], len(cell)),
            denominator=_add(where.reshape(-1), denominator[used], len(cell)),
            n_clusters=int(cluster.max(initial=-1)) + 1,
            n_groups=n_groups,
        )

    @cached_property
    def totals(self) -> Floats:
        """(G,) the denominators' sums."""
        return _add(self.group, self.denominator, self.n_groups)

    @cached_property
    def means(self) -> Floats:
        """(G,) numerator over denominator; NaN where a group has none."""
        top = _add(self.group, self.numerator, self.n_groups)
        return np.asarray(np.divide(top, self.totals, out=np.full(self.n_groups, NAN), where=self.totals > 0))

    @cached_property
    def clusters_per_group(self) -> Codes:
        """(G,) clusters with a row in the group."""
        return np.bincount(self.group, minlength=self.n_groups)

    @cached_property
    def leverage(self) -> Floats:
        """(K,) the cell's share of its group's weight, h in [0, 1]."""
        return np.asarray(self.denominator / self.totals[self.group])

    @cached_property
    def influence(self) -> Floats:
        """(K,) by how much a cell moves its group's mean, scaled so that squares add up to the jackknife variance."""
        deviation = (self.numerator - self.means[self.group] * self.denominator) / self.totals[self.group]
        return np.asarray(deviation * self.correction)

    @cached_property
    def correction(self) -> Floats:
        """(K,) sqrt((C - 1) / C) / (1 - h), C the clusters of the cell's group."""
        c, rest = self.clusters_per_group[self.group], 1 - self.leverage
        # a cell that is its whole group has deviation 0; such a group gets no interval anyway
        return np.asarray(np.divide(np.sqrt((c - 1) / c), rest, out=np.zeros_like(rest), where=rest > 1e-12))

    @cached_property
    def covariance(self) -> Floats:
        """(G, G) the cluster-robust covariance of the group means."""
        return self._gram(self.influence)

    def degrees_of_freedom(self, coefficients: Floats) -> float:
        """Satterthwaite's for the variance of ``coefficients @ means``, with a working variance of its own per group.

        As in Bell & McCaffrey 2002; equals Welch's for clusters of equal size within groups, and clusters - 1 for
        groups that share clusters of equal size.
        """
        g, h, total = self.group, self.leverage, self.totals
        # Working model: independent rows of variance s2[g]; the divisor is the expectation of the sum for s2 = 1.
        deviation = self.numerator - self.means[g] * self.denominator
        expected = _add(g, self.denominator * (1 - h), self.n_groups)
        s2 = _add(g, deviation**2, self.n_groups) / np.where(expected > 0, expected, 1)
        b = coefficients[g] * self.correction / total[g]
        diagonal = _add(self.cluster, b**2 * s2[g] * self.denominator, self.n_clusters)
        v = b * np.sqrt(s2[g] / total[g]) * self.denominator
        # The clusters' deviations have covariance diag(diagonal) - sum over groups of v v'.
        gram = self._gram(v)
        trace = diagonal.sum() - np.trace(gram)
        squared = (diagonal**2).sum() - 2 * (v**2 * diagonal[self.cluster]).sum() + (gram**2).sum()
        return float(trace**2 / squared) if squared > 0 else NAN

    def _gram(self, cells: Floats) -> Floats:
        """(G, G) products of the columns of the table clusters × groups that holds ``cells``."""
        if self.n_clusters * self.n_groups <= DENSE:
            dense = np.zeros((self.n_clusters, self.n_groups))
            dense[self.cluster, self.group] = cells
            return np.asarray(dense.T @ dense)
        table = sparse.csr_array((cells, (self.cluster, self.group)), shape=(self.n_clusters, self.n_groups))
        return np.asarray((table.T @ table).toarray())


@dataclass(frozen=True)
class GroupMeans:
    """Group means whose rows are clustered in one way or in several crossed ways.

    ``single``: the sums of each clustering. ``signed``: (sign, sums) of all intersections of clusterings, whose
    covariances add up by inclusion-exclusion (Cameron, Gelbach & Miller 2011).
    """

    single: tuple[GroupSums, ...]
    signed: tuple[tuple[float, GroupSums], ...]

    @classmethod
    def of(
        cls, numerator: Floats, denominator: Floats, group: Codes, ways: Sequence[Codes], n_groups: int
    ) -> GroupMeans:
        """Means of groups from rows; arguments as in `GroupSums.of`, with one array of clusters for each way."""
        signed = [
            (sign, GroupSums.of(numerator, denominator, group, way, n_groups))
            for sign, way in signed_intersections(ways)
        ]
        return cls(tuple(sums for _, sums in signed[: len(ways)]), tuple(signed))

    @property
    def means(self) -> Floats:
        """(G,) the group means."""
        return self.single[0].means

    @property
    def clusters_per_group(self) -> Codes:
        """(G,) the smallest count over the clusterings."""
        return np.asarray(np.min([sums.clusters_per_group for sums in self.single], axis=0))

    def paired(self, part: NDArray[np.bool_]) -> bool:
        """There is one clustering, and some of its clusters have rows in several of the groups ``part`` (G,)."""
        clusters = self.single[0].cluster[part[self.single[0].group]]
        return len(self.single) == 1 and len(np.unique(clusters)) < len(clusters)

    @property
    def concentration(self) -> Floats:
        """(G,) sum of squared cluster shares, 1 / clusters where they are of equal size; largest over clusterings."""
        return np.asarray(np.max([_add(s.group, s.leverage**2, s.n_groups) for s in self.single], axis=0))

    @property
    def n_clusters(self) -> int:
        """The smallest count over the clusterings."""
        return min(sums.n_clusters for sums in self.single)

    @cached_property
    def covariance(self) -> Floats:
        """(G, G) of the group means; variances are never below those of a single clustering."""
        total = np.sum([sign * sums.covariance for sign, sums in self.signed], axis=0)
        np.fill_diagonal(total, np.max([np.diag(total), *(np.diag(sums.covariance) for sums in self.single)], axis=0))
        return np.asarray(total)

    def variance(self, coefficients: Floats) -> float:
        """Of ``coefficients @ means``; never below that of a single clustering, where chance would take it, or below 0,
        where rounding would."""
        total = sum(sign * float(coefficients @ sums.covariance @ coefficients) for sign, sums in self.signed)
        return max([0.0, total, *(float(coefficients @ sums.covariance @ coefficients) for sums in self.single)])

    def degrees_of_freedom(self, coefficients: Floats) -> float:
        """The smallest over the clusterings."""
        return min(sums.degrees_of_freedom(coefficients) for sums in self.single)


def _add(codes: Codes, values: Floats, n: int) -> Floats:
    return np.bincount(codes, values, n).astype(float)
