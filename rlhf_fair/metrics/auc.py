"""The area under the ROC curve with a clustered interval, and the difference of two such areas.

An AUC is the chance that a random positive row outscores a random negative one, ties counting half; range [0, 1],
0.5 = the score says nothing, 1 = perfect order. It is the mean of the positives' placements among the negatives, and
its error the sum of both sides' placement errors (DeLong, DeLong & Clarke-Pearson 1988). So it is estimated as a
contrast of two means, which brings clusters and weights with it (Obuchowski 1997); for independent rows the variance
is DeLong's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from rlhf_fair.metrics.rows import Mask, Rows, measured_rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import check_among
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.stats.sample import Codes, Floats

CHANCE = 0.5
"""The AUC of a score that says nothing."""


@dataclass(frozen=True)
class Area:
    """``order``: row numbers, positives first; ``influence`` (same length): placement less AUC."""

    value: float
    order: Codes
    n_positive: int
    influence: Floats
    share: Floats
    reason: str = ""


def placements(
    positives: Floats, negatives: Floats, positive_weights: Floats, negative_weights: Floats
) -> tuple[Floats, Floats]:
    """For each positive the share of negatives it outscores, and for each negative the share of positives above it.

    A tie counts half. Shapes (n_positive,), (n_negative,); range [0, 1]; both weighted means are the AUC.
    """

    def share_below(scores: Floats, others: Floats, weights: Floats) -> Floats:
        order = np.argsort(others, kind="stable")
        below = np.concatenate([[0.0], np.cumsum(weights[order])])
        first, last = (np.searchsorted(others[order], scores, side=side) for side in ("left", "right"))
        return np.asarray((below[first] + below[last]) / (2 * below[-1]))

    above = share_below(-negatives, -positives, positive_weights)
    return share_below(positives, negatives, negative_weights), above


def auc_estimate(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """The AUC of ``scores`` (n,) for ``outcomes`` (n,), 0 or 1; range [0, 1]; high is better; p-value against 0.5.

    The interval is symmetric on the logit scale, so it stays within [0, 1], and the test is made on that scale too:
    p < ``alpha`` exactly where the interval leaves out 0.5. ``standard_error`` is DeLong's, summed within clusters.
    """
    rows = scored_rows(scores, outcomes, clusters, weights)
    positive = rows["outcomes"] == 1
    return area_estimate(area(rows, positive, ~positive), rows, alpha)


def scored_rows(
    scores: ArrayLike, outcomes: ArrayLike, clusters: Sequence[ArrayLike], weights: ArrayLike | None
) -> Rows:
    rows = measured_rows({"scores": scores, "outcomes": outcomes}, clusters=clusters, weights=weights)
    check_among("outcomes", rows["outcomes"], (0, 1))
    return rows


def area(rows: Rows, positive: Mask, negative: Mask) -> Area:
    first, second = np.flatnonzero(positive), np.flatnonzero(negative)
    order = np.concatenate([first, second])
    if not len(first) or not len(second):
        side = "positive" if not len(first) else "negative"
        empty = np.empty(0)
        return Area(
            float("nan"), order[:0], 0, empty, empty, f"no {side} rows: an AUC compares positives and negatives"
        )
    scores, w = rows["scores"], rows.unit_weights
    above, below = placements(scores[first], scores[second], w[first], w[second])
    value = float(np.average(above, weights=w[first]))
    share = np.concatenate([w[first] / w[first].sum(), w[second] / w[second].sum()])
    return Area(value, order, len(first), np.concatenate([above, below]) - value, share)


def area_estimate(auc: Area, rows: Rows, alpha: float) -> Estimate:
    if auc.reason:
        return Estimate.not_estimable(auc.reason, n=len(auc.order))
    values, side = _parts(auc)
    return within_unit_interval(_stacked_contrast(values, side, auc.order, [1, 1], rows, alpha, null=CHANCE), alpha)


def area_gap(auc: Area, base: Area, rows: Rows, alpha: float) -> Estimate:
    if auc.reason or base.reason:
        return Estimate.not_estimable(auc.reason or f"baseline: {base.reason}", n=len(auc.order))
    (values, side), (base_values, base_side) = _parts(auc), _parts(base)
    values, cells = np.concatenate([values, base_values]), np.concatenate([side, base_side + 2])
    order = np.concatenate([auc.order, base.order])
    e = _stacked_contrast(values, cells, order, [1, 1, -1, -1], rows, alpha)
    return e.model_copy(update={"n": len(np.unique(order))})


def _parts(auc: Area) -> tuple[Floats, Codes]:
    """Values whose two means, that of the positives (side 0) and that of the negatives (side 1, centred), add up to
    the AUC."""
    side = (np.arange(len(auc.order)) >= auc.n_positive).astype(np.intp)
    return auc.influence + np.where(side == 0, auc.value, 0.0), side


def _stacked_contrast(
    values: Floats,
    cells: Codes,
    order: Codes,
    coefficients: Sequence[float],
    rows: Rows,
    alpha: float,
    null: float = 0.0,
) -> Estimate:
    """A contrast over rows that may occur several times: the row itself is the least cluster they share."""
    return contrast_estimate(
        values,
        cells,
        dict(enumerate(coefficients)),
        clusters=[way[order] for way in rows.ways],
        weights=None if rows.weights is None else rows.weights[order],
        rates=False,
        null=null,
        alpha=alpha,
    )


def within_unit_interval(e: Estimate, alpha: float) -> Estimate:
    """Interval and test of `CHANCE` on the logit scale, where a symmetric interval cannot leave [0, 1].

    Pepe 2003, section 5.2; the null's logit is 0.
    """
    if not np.isfinite(e.ci_low) or not 0 < e.estimate < 1:
        return e
    on_logit_scale = t_interval(
        float(logit(e.estimate)),
        e.standard_error / (e.estimate * (1 - e.estimate)),
        e.df,
        null=float(logit(CHANCE)),
        alpha=alpha,
    )
    return e.model_copy(
        update={
            "ci_low": float(expit(on_logit_scale.ci_low)),
            "ci_high": float(expit(on_logit_scale.ci_high)),
            "p_value": on_logit_scale.p_value,
        }
    )
