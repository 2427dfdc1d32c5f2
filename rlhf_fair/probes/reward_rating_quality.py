"""Whose ratings a reward model foretells: for each group of raters, or of subjects, five numbers and what bounds them.

Rewards and ratings enter less the mean of their stratum (source and prompt), in SDs of those deviations, so neither the
level of a source nor the scale of a reward plays a part.

* accuracy: of two texts of a stratum that one rater rated differently, how often the reward orders them as the rater
  did, equal rewards half; range [0, 1], 1/2 = guessing. Pairs of one rater, so nobody's use of the scale matters.
* Pearson's and Spearman's correlation of reward and single ratings; range [-1, 1], 0 = no relation.
* slope: SDs of rating for an SD of reward, by least squares. Below that of others = predictions too far apart for this
  group; null value: that of the others (the slope of Cox 1958, on a linear scale).
* level: mean of the rating less what the line of everybody's ratings foretells, in SDs; above 0 = the reward is lower
  than this group's ratings. It is the raters' as much as the model's: who is milder has a higher level in any model.
* ceiling: the largest correlation that any function of the text could have with a single rating of this group, the
  square root of the intraclass correlation ICC(1) (Shrout & Fleiss 1979).

Intervals leave out groups of raters, and groups of texts, in turn (`rlhf_fair.stats.grouped_jackknife`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from rlhf_fair.metrics.preference import preferred
from rlhf_fair.probes.reward_feedback import Grouping, groupings, too_few
from rlhf_fair.probes.reward_rating_pairs import RatedPairs, rated_pairs
from rlhf_fair.probes.reward_ratings import TOLD
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import Codes, Floats
from rlhf_fair.stats.grouped_jackknife import GROUPS, grouped_jackknife, leave_groups_out
from rlhf_fair.stats.sample import cluster_codes, encode

NUMBERS = ("accuracy", "pearson", "spearman", "slope", "level")
GAPS = ("accuracy", "pearson", "slope", "level")
CORRELATIONS = ("pearson", "spearman")
FLAT = "the rewards, or the ratings, do not vary"
NO_PAIRS = "no rater of the group, or none of the others, rated two texts of one source and prompt differently"


@dataclass(frozen=True)
class GroupQuality:
    """``values``: name of `NUMBERS` -> estimate of the group. ``gaps``: name of `GAPS` -> group less all other groups.

    ``ceiling``: NaN with ``ceiling_reason``. ``measured``: share of the group's ratings whose text has a reward.
    """

    grouping: Grouping
    group: str
    n: int
    raters: int
    items: int
    pairs: int
    measured: float
    values: dict[str, Estimate]
    gaps: dict[str, Estimate]
    ceiling: float
    ceiling_reason: str


@dataclass(frozen=True)
class Deviations:
    """(n,) each. ``reward``, ``rating``: less the stratum's mean, in SDs; ``code``: the group; ``pairs``: of rows."""

    reward: Floats
    rating: Floats
    code: Codes
    pairs: RatedPairs
    n_groups: int

    def numbers(self, kept: np.ndarray) -> tuple[Floats, Floats]:
        """All numbers of the kept rows, and the rows of each: groups × `NUMBERS`, then groups × `GAPS`, flattened."""
        x, y, code = self.reward[kept], self.rating[kept], self.code[kept]
        columns = [np.ones_like(x), x, y, x * x, y * y, x * y]
        own = np.stack([np.bincount(code, column, self.n_groups) for column in columns]).astype(float)
        won, pairs = self.pairs.sums(kept, self.code, self.n_groups)
        everybody = own.sum(axis=1, keepdims=True)
        here, there = _Moments(own), _Moments(everybody - own)
        line = _Moments(everybody)
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy, others = won / pairs, (won.sum() - won) / (pairs.sum() - pairs)
            ranks = [_spearman(x[code == g], y[code == g]) for g in range(self.n_groups)]
            values = [accuracy, here.correlation, np.array(ranks), here.slope, here.level(line)]
            gaps = [
                accuracy - others,
                here.correlation - there.correlation,
                here.slope - there.slope,
                here.level(line) - there.level(line),
            ]
        rows = np.tile(own[0], len(NUMBERS)), np.full(len(GAPS) * self.n_groups, float(len(x)))
        return np.concatenate([*values, *gaps]), np.concatenate(rows)


@dataclass(frozen=True)
class _Moments:
    """Sums (6, G) of 1, x, y, x², y², xy."""

    sums: Floats

    @property
    def correlation(self) -> Floats:
        """(G,) Pearson's."""
        return np.asarray(self._xy / np.sqrt(self._xx * self._yy))

    @property
    def slope(self) -> Floats:
        """(G,) of y on x."""
        return np.asarray(self._xy / self._xx)

    def level(self, line: _Moments) -> Floats:
        """(G,) mean of y less that of the line that ``line``'s rows make."""
        n, x, y = self.sums[:3]
        nl, xl, yl = line.sums[:3]
        return np.asarray((y / n - yl / nl) - line.slope * (x / n - xl / nl))

    @property
    def _xx(self) -> Floats:
        return self._spread(3, 1, 1)

    @property
    def _yy(self) -> Floats:
        return self._spread(4, 2, 2)

    @property
    def _xy(self) -> Floats:
        return self._spread(5, 1, 2)

    def _spread(self, product: int, a: int, b: int) -> Floats:
        return np.asarray(self.sums[product] - self.sums[a] * self.sums[b] / self.sums[0])


def rating_quality(
    records: pd.DataFrame, *, least: int, alpha: float = 0.05, rng: np.random.Generator, intervals: bool = True
) -> list[GroupQuality]:
    """Every group of every attribute, in order of the columns; those with fewer than ``least`` raters have reasons.

    ``records``: reward, rating, stratum, annotator_id, feedback_item, ``attr.*`` and subject; for subjects ``least``
    counts items. ``intervals``: without them the estimates stand alone, which is much faster.
    """
    found: list[GroupQuality] = []
    for grouping in groupings(records, TOLD):
        known = records[records[grouping.column].notna()]
        scored = known[known["reward"].notna() & known["rating"].notna()].reset_index(drop=True)
        labels = sorted(map(str, known[grouping.column].unique()))
        if scored.empty:
            found += [_unmeasured(known, grouping, label, "none of its texts has a score") for label in labels]
            continue
        estimates = _estimates(scored, grouping, alpha, rng, intervals)
        for label in labels:
            rows, mine = known[known[grouping.column] == label], scored[scored[grouping.column] == label]
            reason = too_few(mine, grouping, least)
            one = estimates.get(label)
            empty = _unmeasured(rows, grouping, label, reason or "none of its texts has a score")
            found.append(empty if reason or one is None else replace(one, measured=len(mine) / len(rows)))
    return found


def deviations(scored: pd.DataFrame, column: str, rng: np.random.Generator) -> tuple[Deviations, tuple[Hashable, ...]]:
    """The rows of `Deviations` and the labels of the groups in ``column``; all rows have a reward and a group."""
    code, labels = encode(scored[column].astype(str))
    means = scored.groupby("stratum")[["reward", "rating"]].transform("mean")
    x, y = (_in_sds(scored[name].to_numpy(float), means[name].to_numpy(float)) for name in ("reward", "rating"))
    pairs = rated_pairs(
        cluster_codes(scored["annotator_id"].to_numpy(object)),
        cluster_codes(scored["stratum"].to_numpy(object)),
        scored["rating"].to_numpy(float),
        preferred,
        scored["reward"].to_numpy(float),
        rng=rng,
    )
    return Deviations(x, y, code, pairs, len(labels)), labels


def single_rating_ceiling(items: Sequence[Hashable], ratings: Floats) -> tuple[float, str]:
    """sqrt(ICC(1)) of ``ratings`` (n,) of ``items`` (n,), and why there is none; range [0, 1].

    From one-way analysis of variance with unequal numbers of ratings: (MSB - MSW) / (MSB + (n0 - 1) MSW), where n0 =
    (N - sum n_i^2 / N) / (k - 1).
    """
    unit = np.unique(np.asarray(items, dtype=str), return_inverse=True)[1].reshape(-1)
    count = np.bincount(unit).astype(float)
    total, k = float(count.sum()), len(count)
    if (count > 1).sum() < 2 or k < 2:
        return NAN, "fewer than two texts with two raters of the group"
    mean = np.bincount(unit, ratings) / count
    within = float(np.square(ratings - mean[unit]).sum()) / (total - k)
    between = float((count * np.square(mean - ratings.mean())).sum()) / (k - 1)
    usual = (total - float(np.square(count).sum()) / total) / (k - 1)
    spread = between + (usual - 1) * within
    icc = (between - within) / spread if spread > 0 else NAN
    if not icc > 0:
        return NAN, "ratings of one text agree no more than those of different texts"
    return float(np.sqrt(icc)), ""


def _estimates(
    scored: pd.DataFrame, grouping: Grouping, alpha: float, rng: np.random.Generator, intervals: bool
) -> dict[str, GroupQuality]:
    data, labels = deviations(scored, grouping.column, rng)
    full, _ = data.numbers(np.ones(len(scored), dtype=bool))
    found = _with_intervals(data, full, scored, alpha, rng) if intervals else [Estimate(estimate=v) for v in full]
    table = np.asarray(found, dtype=object).reshape(len(NUMBERS) + len(GAPS), len(labels))
    _, pairs = data.pairs.sums(np.ones(len(scored), dtype=bool), data.code, data.n_groups)
    qualities = {}
    for place, label in enumerate(labels):
        mine = scored[data.code == place]
        size = {
            "n": len(mine),
            "n_clusters": min(mine["annotator_id"].nunique(), mine["feedback_item"].nunique()),
        }
        own, gaps = table[: len(NUMBERS), place], table[len(NUMBERS) :, place]
        ceiling, reason = single_rating_ceiling(mine["feedback_item"].tolist(), data.rating[data.code == place])
        qualities[str(label)] = GroupQuality(
            grouping,
            str(label),
            len(mine),
            mine["annotator_id"].nunique(),
            mine["feedback_item"].nunique(),
            int(pairs[place]),
            1.0,
            {name: _sized(name, e, size) for name, e in zip(NUMBERS, own, strict=True)},
            {name: _sized(name, e, size) for name, e in zip(GAPS, gaps, strict=True)},
            ceiling,
            reason,
        )
    return qualities


def _with_intervals(
    data: Deviations, full: Floats, scored: pd.DataFrame, alpha: float, rng: np.random.Generator
) -> list[Estimate]:
    """Of `Deviations.numbers`; correlations on the scale of Fisher's z, where they are nearly symmetric."""
    z = np.zeros(len(full), dtype=bool)
    for name in CORRELATIONS:
        at = NUMBERS.index(name) * data.n_groups
        z[at : at + data.n_groups] = True

    def on_scale(values: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.where(z, np.arctanh(np.where(z, np.clip(values, -1, 1), 0)), values)

    def recompute(kept: np.ndarray) -> tuple[Floats, Floats]:
        values, rows = data.numbers(kept)
        return on_scale(values), rows

    ways = [cluster_codes(scored[name].to_numpy(object)) for name in ("annotator_id", "feedback_item")]
    leave_outs = leave_groups_out(recompute, ways, n_groups=GROUPS, rng=rng)
    size = np.maximum(np.abs(full), 1.0)
    found = grouped_jackknife(on_scale(full), leave_outs, scale=size, most_df=np.full(len(full), np.inf), alpha=alpha)
    return [_on_r(e) if is_z else e for e, is_z in zip(found, z, strict=True)]


def _on_r(e: Estimate) -> Estimate:
    turned = {name: float(np.tanh(getattr(e, name))) for name in ("estimate", "ci_low", "ci_high", "mde")}
    return e.model_copy(update=turned | {"standard_error": e.standard_error * (1 - turned["estimate"] ** 2)})


def _sized(name: str, e: Estimate, size: dict[str, int]) -> Estimate:
    reason = NO_PAIRS if name == "accuracy" else FLAT
    return e.model_copy(update=size) if np.isfinite(e.estimate) else Estimate.not_estimable(reason, **size)


def _unmeasured(rows: pd.DataFrame, grouping: Grouping, label: str, reason: str) -> GroupQuality:
    mine = rows[rows[grouping.column] == label]
    none = Estimate.not_estimable(reason, n=len(mine))
    raters, items = mine["annotator_id"].nunique(), mine["feedback_item"].nunique()
    measured = float(mine["reward"].notna().mean()) if len(mine) else NAN
    values, gaps = dict.fromkeys(NUMBERS, none), dict.fromkeys(GAPS, none)
    return GroupQuality(grouping, label, len(mine), raters, items, 0, measured, values, gaps, NAN, reason)


def _spearman(x: Floats, y: Floats) -> float:
    """Pearson's correlation of ranks, ties at their mean; NaN where a side does not vary."""
    if len(x) < 2:
        return NAN
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else NAN


def _in_sds(values: Floats, means: Floats) -> Floats:
    """Deviations over their root mean square; all 0 where they do not vary."""
    deviation = values - means
    size = float(np.sqrt(np.square(deviation).mean()))
    return deviation / size if size > 1e-12 * max(float(np.abs(values).max(initial=0)), 1e-300) else 0 * deviation
