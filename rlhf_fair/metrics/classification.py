"""Named disparities of decisions: demographic parity, equal opportunity, equalised odds, predictive parity.

Each compares the extreme groups of one or two rates. ``difference`` and ``ratio`` equal fairlearn's; the interval, the
test and the de-biased difference come from `rlhf_fair.stats.spread`, since the largest of many differences is never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.frame import group_metrics
from rlhf_fair.metrics.rates import RowMetric, false_positive_rate, precision, selection_rate, true_positive_rate
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.spread import Spread

Aggregate = Literal["worst_case", "mean"]


@dataclass(frozen=True)
class Disparity:
    """``difference``: largest less smallest group rate, in [0, 1], 0 = parity. ``ratio``: smallest over largest, in
    [0, 1], 1 = parity. With several rates both take the worst one, or their mean.

    ``interval`` covers the worst rate's difference with the level asked for, ``p_value`` tests that no group differs in
    any of the rates (Bonferroni over the rates). ``debiased`` has mean 0 when no group differs; with
    several rates it is their mean, as that of the worst would not. ``spreads`` has each rate's own groups, pairs and
    tests.
    """

    name: str
    difference: float
    ratio: float
    debiased: float
    interval: Estimate
    p_value: float
    spreads: Mapping[str, Spread]


def demographic_parity(
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Disparity:
    """Equal selection rates P(ŷ = 1) (Calders, Kamiran & Pechenizkiy 2009); null value: a difference of 0.

    Parameters as in `group_metrics`. ``rng`` draws what p-value and interval are simulated with; the interval covers
    1 - ``alpha``.
    """
    data = (None, y_pred, sensitive_features, clusters, weights)
    return _disparity("demographic_parity", [selection_rate], data, alpha, rng)


def equal_opportunity(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Disparity:
    """Equal true positive rates (Hardt, Price & Srebro 2016). Parameters as in `demographic_parity`."""
    data = (y_true, y_pred, sensitive_features, clusters, weights)
    return _disparity("equal_opportunity", [true_positive_rate], data, alpha, rng)


def equalized_odds(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    agg: Aggregate = "worst_case",
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Disparity:
    """Equal true positive and equal false positive rates (Hardt, Price & Srebro 2016).

    Parameters as in `demographic_parity`.
    ``agg``: difference and ratio are those of the worse rate, or the mean of both; interval and test are the worse's.
    """
    if agg not in ("worst_case", "mean"):
        raise SettingsError(f"agg is {agg!r}; allowed: worst_case, mean")
    data = (y_true, y_pred, sensitive_features, clusters, weights)
    return _disparity("equalized_odds", [true_positive_rate, false_positive_rate], data, alpha, rng, agg)


def predictive_parity(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> Disparity:
    """Equal precision P(y = 1 | ŷ = 1) (Chouldechova 2017). Parameters as in `demographic_parity`."""
    data = (y_true, y_pred, sensitive_features, clusters, weights)
    return _disparity("predictive_parity", [precision], data, alpha, rng)


def _disparity(
    name: str,
    rates: Sequence[RowMetric],
    data: tuple[Any, ...],
    alpha: float,
    rng: np.random.Generator,
    agg: Aggregate = "worst_case",
) -> Disparity:
    y_true, y_pred, sensitive_features, clusters, weights = data
    frame = group_metrics(
        rates, y_true, y_pred, sensitive_features=sensitive_features, clusters=clusters, weights=weights
    )
    spreads = {rate.name: frame.spread(rate.name, alpha=alpha / len(rates), rng=rng) for rate in rates}
    difference, ratio = frame.difference(), frame.ratio()
    worst, least = (difference.max(), ratio.min()) if agg == "worst_case" else (difference.mean(), ratio.mean())
    p_values = [found.p_value for found in spreads.values()]
    p_value = min(1.0, len(rates) * min(p_values)) if np.isfinite(p_values).all() else NAN
    intervals = [found.interval for found in spreads.values()]
    widest = max(intervals, key=lambda e: e.estimate if np.isfinite(e.estimate) else np.inf)
    ends = {
        "ci_low": max(e.ci_low for e in intervals) if np.isfinite([e.ci_low for e in intervals]).all() else NAN,
        "ci_high": max(e.ci_high for e in intervals) if np.isfinite([e.ci_high for e in intervals]).all() else NAN,
    }
    return Disparity(
        name=name,
        difference=float(worst),
        ratio=float(least),
        debiased=float(np.mean([found.debiased for found in spreads.values()])),
        interval=widest.model_copy(update={**ends, "p_value": p_value}),
        p_value=p_value,
        spreads=spreads,
    )
