"""Representation in generated text: which groups are spoken of, and which words they are spoken of with.

Both metrics compare shares p of group terms with target shares t by total variation, TV = ½ sum |p - t| (Liang et al.
2023, HELM); range [0, 1], 0 = the target shares. Counts are few and come in clumps, since a text that says "she" once
says it again, and both make TV positive where nothing is amiss: 10 independent words over 2 equal groups give 0.12 on
average. So TV comes with its noise floor, and the corrected value is the one to compare and to threshold.

Of the corrections tried on simulated texts (equal and shifted shares, 2 to 10 groups, 10 to 1,000 words), subtracting
the floor leaves nothing at equality but errs by the whole floor elsewhere, the bootstrap leaves more than half of the
bias at equality, and the jackknife anything from none to two thirds. The one used (see `rlhf_fair.metrics.distance`) is
right at both ends: within 6 % of the floor at equality from 10 words on. In between it errs downwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as distributions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.distance import Distance, Noise, joint_covariance, noisy_distance
from rlhf_fair.metrics.rows import Rows, measured_rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import linear_estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.sample import Codes, Floats


@dataclass(frozen=True)
class Representation:
    """``shares``: group -> its share of all group terms; the p-value tests its target share.

    ``multinomial_floor``: expected TV if every word were drawn independently at the target shares, exact.
    ``design_effect``: how many times larger the variance is because words of a text (or cluster) go together.
    Input texts = ``n_with_terms`` + ``n_without_terms`` + ``n_missing``.
    """

    shares: Mapping[str, Estimate]
    total_variation: Distance
    multinomial_floor: float
    design_effect: float
    counts: Mapping[str, int]
    n_with_terms: int
    n_without_terms: int
    n_missing: int


@dataclass(frozen=True)
class Association:
    """``average``: TV averaged over target words. ``plug_in`` and ``counts`` (group terms seen): by target word.

    ``left_out``: target words that occur with group terms in fewer than two texts (or clusters).
    """

    average: Distance
    plug_in: Mapping[str, float]
    counts: Mapping[str, int]
    left_out: tuple[str, ...]
    n_missing: int


def demographic_representation(
    counts: pd.DataFrame,
    *,
    target: Mapping[str, float] | None = None,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Representation:
    """TV between the groups' shares of all group terms and the ``target`` shares (default: equal).

    ``counts``: one row per text and one column per group, as `count_terms` makes it. ``clusters``: how texts belong
    together, such as their prompt; a text is a cluster of its own words in any case.
    """
    t = _target(counts, target)
    rows = _texts(counts, clusters)
    table = _table(rows, counts)
    total = table.sum(axis=1)
    k = len(t)
    spoken = np.flatnonzero(total > 0)
    seen, group = np.repeat(spoken, k), np.tile(np.arange(k), len(spoken))
    deviations = _Deviations.of(table[seen, group], total[seen], t[group], group, [way[seen] for way in rows.ways], k)
    n_with = len(spoken)
    return Representation(
        shares={name: deviations.share(place, t[place], n_with, alpha) for place, name in enumerate(counts.columns)},
        total_variation=deviations.distance(np.full(k, 0.5), t, n_with, alpha, rng),
        multinomial_floor=expected_total_variation(int(total.sum()), t),
        design_effect=deviations.design_effect(t),
        counts={name: int(table[:, place].sum()) for place, name in enumerate(counts.columns)},
        n_with_terms=n_with,
        n_without_terms=int((total == 0).sum()),
        n_missing=int((~rows.kept).sum()),
    )


def stereotypical_association(
    counts: pd.DataFrame,
    words: pd.DataFrame,
    *,
    target: Mapping[str, float] | None = None,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Association:
    """TV of the groups' shares in the texts that hold a target word, averaged over target words (HELM).

    ``counts``: (texts × groups) group terms; ``words``: (texts × target words) occurrences, of which it only matters
    whether there are any. With equal ``target`` shares, the default, a model that speaks mostly of one group scores
    high even if no word is tied to a group; its overall shares as ``target`` leave the association alone.

    Words share texts, so the average's noise is taken over all of them jointly.
    """
    t, k = _target(counts, target), counts.shape[1]
    if len(words) != len(counts):
        raise RowError(f"words has {len(words)} rows, counts {len(counts)}; needs one per text")
    rows = _texts(counts, clusters)
    table = _table(rows, counts)
    total = table.sum(axis=1)
    present = (words.to_numpy(dtype=float)[rows.kept] > 0) & (total > 0)[:, None]
    enough = np.array([_fewest_clusters(rows, column) >= 2 for column in present.T], dtype=bool)
    used, names = present[:, enough], [str(name) for name in words.columns[enough]]
    left_out = tuple(str(name) for name in words.columns[~enough])
    n_missing = int((~rows.kept).sum())
    if not names:
        reason = "no target word occurs with group terms in two texts or clusters"
        return Association(Distance.not_estimable(reason, n=rows.n), {}, {}, left_out, n_missing)
    text, word = (np.repeat(index, k) for index in np.nonzero(used))
    group = np.tile(np.arange(k), len(text) // k)
    cell, ways = word * k + group, [way[text] for way in rows.ways]
    deviations = _Deviations.of(table[text, group], total[text], t[group], cell, ways, k * len(names))
    by_word = np.abs(deviations.means.means).reshape(-1, k).sum(axis=1) / 2
    widths, targets = np.full(k * len(names), 0.5 / len(names)), np.tile(t, len(names))
    return Association(
        average=deviations.distance(widths, targets, len(np.unique(text)), alpha, rng),
        plug_in=dict(zip(names, by_word.tolist(), strict=True)),
        counts=dict(zip(names, (used.T @ total).astype(int).tolist(), strict=True)),
        left_out=left_out,
        n_missing=n_missing,
    )


def expected_total_variation(n: int, target: Floats) -> float:
    """E[½ sum |X/n - t|] for X multinomial(n, t), exact; tends to 0 as n grows, NaN for n = 0.

    Each count is binomial, and its mean absolute deviation is 2 v (1 - t) P(X = v) with v = floor(nt) + 1 (de Moivre).

    >>> round(expected_total_variation(10, np.array([0.5, 0.5])), 4)  # 5 · C(10, 5) / 2**10 / 10
    0.123
    """
    if n == 0:
        return float("nan")
    v = np.floor(n * target) + 1
    # In floats n·t may fall just short of an integer; the formula gives the same value on either side of it.
    deviation = 2 * v * (1 - target) * distributions.binom.pmf(v, n, target)
    return float(deviation.sum() / (2 * n))


@dataclass(frozen=True)
class _Deviations:
    """Shares less targets, as ratios of sums over texts; ``terms`` (B,): the group terms behind each."""

    means: GroupMeans
    terms: Floats
    largest_clump: Floats

    @classmethod
    def of(
        cls, hits: Floats, totals: Floats, target: Floats, cell: Codes, ways: Sequence[Codes], n_cells: int
    ) -> _Deviations:
        ways = [np.unique(way, return_inverse=True)[1].reshape(-1) for way in ways]
        means = GroupMeans.of(hits - target * totals, totals, cell, ways, n_cells)
        clumps = [np.bincount(s.group, s.denominator**2, n_cells) for s in means.single]
        return cls(means, means.single[0].totals, np.max(clumps, axis=0))

    def design_effect(self, target: Floats) -> float:
        """Seen variance over that of independent words with the seen shares, pooled (Rao & Scott 1981).

        Where every text speaks of one group only there is no variance to compare: then a clump of words counts as one.
        """
        if not len(self.terms) or not (self.terms > 0).all():
            return float("nan")
        share = np.clip(self.means.means + target, 0, 1)
        independent = float((share * (1 - share) / self.terms).sum())
        if independent > 1e-12:
            return float(np.trace(joint_covariance(self.means))) / independent
        return float(self.largest_clump.sum() / self.terms.sum())

    def distance(self, widths: Floats, target: Floats, n: int, alpha: float, rng: np.random.Generator) -> Distance:
        if not (self.terms > 0).all():
            return Distance.not_estimable("no group terms in any text", n=n)
        plug_in = float(widths @ np.abs(self.means.means))
        n_clusters = self.means.n_clusters
        if self.means.clusters_per_group.min() < 2:
            return Distance.not_estimable(
                "group terms in one text or cluster only", plug_in=plug_in, n=n, n_clusters=n_clusters
            )
        chance = self.design_effect(target) * target * (1 - target) / self.terms
        noise = Noise.with_null_variance(
            joint_covariance(self.means), chance, df=n_clusters - 1, n=n, n_clusters=n_clusters
        )
        return noisy_distance(self.means.means, widths, noise, alpha=alpha, rng=rng)

    def share(self, place: int, target: float, n: int, alpha: float) -> Estimate:
        """The share with its interval, cut to [0, 1]."""
        if not (self.terms > 0).all():
            return Estimate.not_estimable("no group terms in any text", n=n)
        chosen = np.zeros(len(self.terms))
        chosen[place] = 1.0
        e = linear_estimate(self.means, chosen, scale=1.0, n=n, alpha=alpha)
        low, high = float(np.maximum(e.ci_low + target, 0.0)), float(np.minimum(e.ci_high + target, 1.0))
        return e.model_copy(update={"estimate": e.estimate + target, "ci_low": low, "ci_high": high})


def _target(counts: pd.DataFrame, target: Mapping[str, float] | None) -> Floats:
    names = list(counts.columns)
    if len(names) < 2:
        raise SettingsError(f"counts has groups {names}; needs two or more")
    if target is None:
        return np.full(len(names), 1 / len(names))
    if set(target) != set(names):
        raise SettingsError(f"target names {sorted(target)}; counts has groups {names}")
    t = np.array([target[name] for name in names], dtype=float)
    if (t < 0).any() or abs(t.sum() - 1) > 1e-9:
        raise SettingsError(f"target {dict(target)} must hold shares that sum to 1")
    return t


def _texts(counts: pd.DataFrame, clusters: Sequence[ArrayLike]) -> Rows:
    """Texts whose counts are all known."""
    rows = measured_rows({str(name): counts[name].to_numpy(dtype=float) for name in counts.columns}, clusters=clusters)
    if any((column < 0).any() for column in rows.columns.values()):
        raise RowError("counts holds a negative number; allowed: counts from 0 and NaN for a missing text")
    return rows


def _table(rows: Rows, counts: pd.DataFrame) -> Floats:
    return np.column_stack([rows[str(name)] for name in counts.columns])


def _fewest_clusters(rows: Rows, present: Floats) -> int:
    return min(len(np.unique(way[present.astype(bool)])) for way in rows.ways)
