"""Rates and means of decisions and scores, each as one value per row.

A row that does not enter a rate's denominator is NaN: the true positive rate is the mean of ``y_pred`` over the rows
with ``y_true`` = 1. Every estimator leaves NaN rows out, so means, intervals, gaps and tests work alike for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Better

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowMetric:
    """A metric that is a (weighted) mean over rows.

    ``rows(y_true, y_pred)``: (n,) floats, NaN where the row does not count. ``labels``: y_true and y_pred must be 0 or
    1, and the mean is a rate in [0, 1]. ``uses_truth``: y_true enters; else rows without an outcome count as well,
    which matters where outcomes are known only of those who were selected. ``better``: the desired direction.
    ``definition``: what it is, and its source.
    """

    name: str
    definition: str
    rows: Callable[[Floats, Floats], Floats]
    labels: bool = True
    uses_truth: bool = True
    better: Better = "high"

    def __call__(self, y_true: Any, y_pred: Any) -> Floats:
        """Row values after a check of the labels; NaN labels stay NaN."""
        truth, prediction = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
        if self.labels:
            for name, labels in (("y_true", truth), ("y_pred", prediction)):
                wrong = np.flatnonzero(np.isfinite(labels) & (labels != 0) & (labels != 1))
                if len(wrong):
                    raise SettingsError(
                        f"{self.name}: {name} row {wrong[0] + 1} is {labels[wrong[0]]:g}; allowed: 0, 1"
                    )
        return np.where(self.measured(truth, prediction), self.rows(truth, prediction), np.nan)

    def measured(self, truth: Floats, prediction: Floats) -> NDArray[np.bool_]:
        """(n,) True where everything is known that the metric needs."""
        return np.isfinite(prediction) & (np.isfinite(truth) | (not self.uses_truth))


def _among(condition: NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(condition, values, np.nan)


selection_rate = RowMetric(
    "selection_rate",
    "P(ŷ = 1). Equal rates are demographic parity.",
    lambda y, p: p,
    uses_truth=False,
    better="zero",
)

true_positive_rate = RowMetric(
    "true_positive_rate",
    "P(ŷ = 1 | y = 1), recall. Equal rates are equality of opportunity (Hardt, Price & Srebro 2016).",
    lambda y, p: _among(y == 1, p),
)

false_positive_rate = RowMetric(
    "false_positive_rate",
    "P(ŷ = 1 | y = 0).",
    lambda y, p: _among(y == 0, p),
    better="low",
)

true_negative_rate = RowMetric(
    "true_negative_rate",
    "P(ŷ = 0 | y = 0), specificity.",
    lambda y, p: _among(y == 0, 1 - p),
)

false_negative_rate = RowMetric(
    "false_negative_rate",
    "P(ŷ = 0 | y = 1).",
    lambda y, p: _among(y == 1, 1 - p),
    better="low",
)

accuracy = RowMetric(
    "accuracy",
    "P(ŷ = y).",
    lambda y, p: (y == p).astype(float),
)

error_rate = RowMetric(
    "error_rate",
    "P(ŷ ≠ y).",
    lambda y, p: (y != p).astype(float),
    better="low",
)

precision = RowMetric(
    "precision",
    "P(y = 1 | ŷ = 1), positive predictive value. Equal values are predictive parity (Chouldechova 2017).",
    lambda y, p: _among(p == 1, y),
)

base_rate = RowMetric(
    "base_rate",
    "P(y = 1): not a property of the model, yet it explains differences between the rates above.",
    lambda y, p: y,
    better="zero",
)

mean_prediction = RowMetric(
    "mean_prediction",
    "Mean of a score, in its unit.",
    lambda y, p: p,
    labels=False,
    uses_truth=False,
    better="zero",
)

mean_absolute_error = RowMetric(
    "mean_absolute_error",
    "Mean of |ŷ - y|.",
    lambda y, p: np.abs(y - p),
    labels=False,
    better="low",
)

mean_squared_error = RowMetric(
    "mean_squared_error",
    "Mean of (ŷ - y)²; the Brier score where ŷ is a probability and y 0 or 1.",
    lambda y, p: np.square(y - p),
    labels=False,
    better="low",
)

ROW_METRICS: dict[str, RowMetric] = {
    metric.name: metric
    for metric in (
        selection_rate,
        true_positive_rate,
        false_positive_rate,
        true_negative_rate,
        false_negative_rate,
        accuracy,
        error_rate,
        precision,
        base_rate,
        mean_prediction,
        mean_absolute_error,
        mean_squared_error,
    )
}
"""By name, as plans and `groups` take them."""

_ELSEWHERE = {
    ("fairlearn", "selection_rate"): selection_rate,
    ("fairlearn", "true_positive_rate"): true_positive_rate,
    ("fairlearn", "false_positive_rate"): false_positive_rate,
    ("fairlearn", "true_negative_rate"): true_negative_rate,
    ("fairlearn", "false_negative_rate"): false_negative_rate,
    ("fairlearn", "mean_prediction"): mean_prediction,
    ("sklearn", "accuracy_score"): accuracy,
    ("sklearn", "zero_one_loss"): error_rate,
    ("sklearn", "recall_score"): true_positive_rate,
    ("sklearn", "precision_score"): precision,
    ("sklearn", "mean_absolute_error"): mean_absolute_error,
    ("sklearn", "mean_squared_error"): mean_squared_error,
    ("sklearn", "brier_score_loss"): mean_squared_error,
}
"""(package, function) -> the same metric here."""


def row_metric(metric: RowMetric | str | Callable[..., Any]) -> RowMetric:
    """The metric for a name of `ROW_METRICS`, or for the fairlearn or scikit-learn function of the same meaning."""
    if isinstance(metric, RowMetric):
        return metric
    if isinstance(metric, str):
        if metric in ROW_METRICS:
            return ROW_METRICS[metric]
        raise SettingsError(f"metric {metric!r} is unknown; allowed: {', '.join(ROW_METRICS)}")
    key = (str(getattr(metric, "__module__", "")).split(".")[0], getattr(metric, "__name__", ""))
    if key in _ELSEWHERE:
        return _ELSEWHERE[key]
    known = [*ROW_METRICS, *(f"{package}'s {name}" for package, name in _ELSEWHERE)]
    raise SettingsError(f"metric {'.'.join(key)} is no mean over rows; allowed: a RowMetric, {', '.join(known)}")
