"""Counterfactual pairs: the same text scored twice, with nothing changed but the group it mentions.

Row i of ``original`` and of ``counterfactual`` is the same item. A change is counterfactual less original (group less
reference), so the item's own level cancels. Items share templates and names: pass those as ``clusters``.
`rlhf_fair.metrics.counterfactual_distribution` compares the two score distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.metrics.preference import preferred
from rlhf_fair.metrics.rows import Rows, measured_rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import check_among
from rlhf_fair.stats.contrasts import RATE_VALUES, mean_estimate
from rlhf_fair.stats.exact_tests import PairedCounts, mcnemar
from rlhf_fair.stats.rate_differences import signed_mean
from rlhf_fair.stats.sample import Floats
from rlhf_fair.stats.sign_flips import sign_flip_p_value


@dataclass(frozen=True)
class Flips:
    """``rate``: share of pairs whose decision reverses. ``up``, ``down``: shares that turn to 1 and to 0.

    ``net``: up less down; its p-value is that of a test that both directions are equally likely.
    """

    rate: Estimate
    up: Estimate
    down: Estimate
    net: Estimate


@dataclass(frozen=True)
class IndividualChange:
    """Mean |change| per item, and what of it is more than a scorer's disagreement with itself.

    ``excess`` and ``squared`` need a repeated score of every item and are not estimable without.
    """

    absolute: Estimate
    noise_floor: Estimate
    excess: Estimate
    squared: Estimate


def mean_change(
    original: ArrayLike,
    counterfactual: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """Mean of counterfactual less original; unit of the score; 0 = parity; above 0 = the counterfactual scores higher.

    ``original``, ``counterfactual``: (n,) scores of the same items; a pair without both is left out. ``clusters``,
    ``weights``: as in `contrast_estimate`. Opposite changes cancel: see `individual_change` for their size.
    """
    rows = _pairs(original, counterfactual, clusters, weights)
    return _mean(rows["counterfactual"] - rows["original"], rows, alpha)


def share_above_change(
    original: ArrayLike,
    counterfactual: ArrayLike,
    *,
    threshold: float = 0.5,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """Weak demographic parity: share of counterfactual scores above ``threshold`` less that of the original ones.

    Range [-1, 1]; 0 = parity (Jiang, Pacchiano, Stepleton, Jiang & Chiappa 2020). Scores at the threshold are not
    above it.
    """
    rows = _pairs(original, counterfactual, clusters, weights)
    above = (rows["counterfactual"] > threshold).astype(float) - (rows["original"] > threshold)
    return _mean(above, rows, alpha, signed=True)


def flips(
    original: ArrayLike,
    counterfactual: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Flips:
    """How often the decision reverses, and in which direction; decisions are 0, 1, or 1/2 for a tie.

    Range of the shares [0, 1], 0 = no decision depends on the group; a step from or to a tie counts half. ``net`` has
    range [-1, 1], 0 = reversals balance. Its p-value is McNemar's exact test (McNemar 1947) for independent pairs, and
    for clustered pairs the sign-flip test of the clusters' sums, which is exact if the group changed is exchangeable
    within a cluster; with several clusterings, or weights, that of the t interval.
    """
    rows = _pairs(original, counterfactual, clusters, weights)
    for name in ("original", "counterfactual"):
        check_among(name, rows[name], RATE_VALUES)
    step = rows["counterfactual"] - rows["original"]

    rate, up, down = (_mean(hits, rows, alpha, rates=True) for hits in (np.abs(step), step.clip(0), (-step).clip(0)))
    net = _mean(step, rows, alpha, signed=True)
    if np.isfinite(net.estimate) and rows.n_clusters > 1:
        net = net.model_copy(update={"p_value": _direction_test(rows, net, rng)})
    return Flips(rate, up, down, net)


def preference_flips(
    original_margins: ArrayLike,
    counterfactual_margins: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Flips:
    """`flips` of preferences: a margin is the reward of one answer less the other's, and its sign the decision."""
    before, after = preferred(original_margins), preferred(counterfactual_margins)
    return flips(before, after, clusters=clusters, weights=weights, alpha=alpha, rng=rng)


def individual_change(
    original: ArrayLike,
    counterfactual: ArrayLike,
    *,
    original_repeat: ArrayLike | None = None,
    counterfactual_repeat: ArrayLike | None = None,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
) -> IndividualChange:
    """How far single items move, whatever the direction (individual fairness; Dwork et al. 2012, Huang et al. 2020).

    * ``absolute``: mean |change|; range [0, inf). A scorer or model that samples has it above 0 without any effect.
    * ``noise_floor``: mean |repeat less first score| of the same text.
    * ``excess``: mean |change| between the texts less that within, over all pairings of first and repeated scores.
      That is half the energy distance of each item's two score distributions: its expectation is 0 if the group
      changes nothing and positive if it changes any item's distribution (Székely & Rizzo 2013).
    * ``squared``: mean product of the changes in two independent scorings, an unbiased estimate of the mean squared
      change of the items' expected scores. May be below 0, as an unbiased estimate of 0 must.

    ``original``, ``counterfactual``: (n,) scores of the same items; ``original_repeat``, ``counterfactual_repeat``:
    (n,) a second scoring of each, without which only ``absolute`` can be told. The repeats must be independent of the
    first scores given the text: another sample, not a copy. ``clusters``: as in `contrast_estimate`.
    """
    columns = {"a": original, "b": counterfactual}
    if original_repeat is None or counterfactual_repeat is None:
        rows = measured_rows(columns, clusters=clusters)
        missing = Estimate.not_estimable("no repeated scores", n=rows.n)
        return IndividualChange(_mean(np.abs(rows["b"] - rows["a"]), rows, alpha), missing, missing, missing)
    columns |= {"a2": original_repeat, "b2": counterfactual_repeat}
    rows = measured_rows(columns, clusters=clusters)
    a, b, a2, b2 = (rows[name] for name in columns)
    between = (np.abs(b - a) + np.abs(b2 - a2) + np.abs(b2 - a) + np.abs(b - a2)) / 4
    within = (np.abs(a2 - a) + np.abs(b2 - b)) / 2
    return IndividualChange(
        absolute=_mean(between, rows, alpha),
        noise_floor=_mean(within, rows, alpha),
        excess=_mean(between - within, rows, alpha),
        squared=_mean((b - a) * (b2 - a2), rows, alpha),
    )


def _direction_test(rows: Rows, net: Estimate, rng: np.random.Generator) -> float:
    before, after = rows["original"], rows["counterfactual"]
    if rows.weights is not None or len(rows.clusters) > 1:
        return net.p_value
    if not rows.clusters and np.isin(np.r_[before, after], (0.0, 1.0)).all():
        return mcnemar(PairedCounts.of(before, after)).p_exact
    return sign_flip_p_value(np.bincount(rows.ways[0], after - before).astype(float), rng=rng)


def _pairs(
    original: ArrayLike, counterfactual: ArrayLike, clusters: Sequence[ArrayLike], weights: ArrayLike | None
) -> Rows:
    return measured_rows({"original": original, "counterfactual": counterfactual}, clusters=clusters, weights=weights)


def _mean(values: Floats, rows: Rows, alpha: float, *, rates: bool = False, signed: bool = False) -> Estimate:
    """``signed``: the values are -1, 0 and 1, mostly 0."""
    missing = int((~rows.kept).sum())
    if not rows.n:
        return Estimate.not_estimable("no measured pairs", n_left_out=missing)
    options: dict[str, Any] = {"clusters": rows.clusters, "weights": rows.weights, "alpha": alpha}
    e = signed_mean(values, **options) if signed else mean_estimate(values, rates=rates, **options)
    return e.model_copy(update={"n_left_out": missing})
