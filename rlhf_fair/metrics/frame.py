"""Metrics by group with fairlearn's `MetricFrame` semantics, and with uncertainty.

frame = group_metrics(["selection_rate", "true_positive_rate"], y_true, y_pred,
                      sensitive_features=people[["sex", "race"]], clusters=[people["household"]])
frame.by_group, frame.overall, frame.difference(), frame.ratio()     # equal to fairlearn's
frame.intervals()                                                    # one row per metric and group
frame.gap("selection_rate", ("woman", "Black"), ("man", "White"))    # an Estimate
frame.pairs("selection_rate", rng=rng)                               # all pairs, simultaneous intervals
frame.spread("selection_rate", rng=rng)                              # max - min, tested and de-biased
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.metrics.group_values import GroupValues
from rlhf_fair.metrics.rates import RowMetric, row_metric
from rlhf_fair.metrics.replicates import Replicates
from rlhf_fair.records import Estimate
from rlhf_fair.stats.bootstrap import replicate_means
from rlhf_fair.stats.columns import label_column
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.sample import Floats, cluster_codes
from rlhf_fair.stats.simultaneous import AllPairs, all_pairs
from rlhf_fair.stats.spread import Spread, spread

Metrics = RowMetric | str | Callable[..., Any] | Sequence[RowMetric | str] | Mapping[str, Any]


def group_metrics(
    metrics: Metrics,
    y_true: ArrayLike | None,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    control_features: Any = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
) -> GroupMetrics:
    """Evaluate ``metrics`` in every group.

    Parameters
    ----------
    metrics: one or several of: a name (`rates.ROW_METRICS`), a `RowMetric`, or the function of the same meaning from
        fairlearn or scikit-learn; a mapping gives them names of its own.
    y_true, y_pred: (n,) labels 0 and 1 for rates, any numbers for scores; NaN is missing. ``y_true`` may be None for
        metrics that do not look at it.
    sensitive_features, control_features: (n,) labels or a table; groups are the combinations of the sensitive features'
        values, strata those of the control features'. None and NaN are unknown.
    clusters: arrays of shape (n,), one for each way in which rows belong together; empty means independent rows.
    weights: (n,) positive design weights.

    Raises
    ------
    RowError: columns of different lengths. SettingsError: an unknown metric, or labels that are not 0 or 1.
    """
    chosen = _named(metrics)
    prediction = np.asarray(y_pred, dtype=float)
    truth = np.zeros(len(prediction)) if y_true is None else np.asarray(y_true, dtype=float)
    sensitive = _table(sensitive_features, "sensitive_feature")
    control = _table(control_features, "control_feature") if control_features is not None else pd.DataFrame()
    columns: dict[str, Any] = {"y_true": truth, "sensitive_features": sensitive, "weights": weights}
    columns |= {f"clusters[{index}]": way for index, way in enumerate(clusters)}
    if control_features is not None:
        columns["control_features"] = control
    for name, column in columns.items():
        if column is not None and len(column) != len(prediction):
            raise RowError(f"{name} has {len(column)} rows, y_pred has {len(prediction)}")
    return GroupMetrics(
        values={name: metric(truth, prediction) for name, metric in chosen.items()},
        metrics=chosen,
        measured=np.any([metric.measured(truth, prediction) for metric in chosen.values()], axis=0),
        sensitive=sensitive,
        control=control,
        clusters=tuple(label_column(way) for way in clusters),
        weights=None if weights is None else np.asarray(weights, dtype=float),
    )


class GroupMetrics(GroupValues):
    """Metrics by group and what can be said of their differences; made by `group_metrics`."""

    def intervals(self, *, alpha: float = 0.05) -> pd.DataFrame:
        """One row per metric, stratum and group: estimate, interval, n, n_clusters, reason."""
        rows = []
        for name in self.values:
            for cell, label in enumerate(self._index):
                e = self._mean(name, self._cell == cell, alpha)
                levels = label if isinstance(label, tuple) else (label,)
                rows.append(
                    {"metric": name}
                    | dict(zip(self._index.names, levels, strict=True))
                    | e.model_dump(
                        include={"estimate", "ci_low", "ci_high", "n", "n_clusters", "reason"}, mode="python"
                    )
                )
        return pd.DataFrame(rows)

    def gap(self, metric: str, group: Hashable, reference: Hashable, *, alpha: float = 0.05) -> Estimate:
        """``group`` less ``reference``, within strata where there are control features; 0 = parity."""
        if group == reference:
            raise SettingsError(f"group and reference are both {group!r}; allowed: two groups")
        for label in (group, reference):
            if label not in self._groups:
                raise SettingsError(f"group {label!r} is unknown; allowed: {', '.join(map(repr, self._groups))}")
        return contrast_estimate(
            self._values(metric),
            self.sensitive,
            {group: 1.0, reference: -1.0},
            clusters=self.clusters,
            weights=self.weights,
            control_features=None if self.control.empty else self.control,
            alpha=alpha,
        )

    def pairs(self, metric: str, *, rng: np.random.Generator, alpha: float = 0.05) -> AllPairs:
        """Every pair of groups with simultaneous intervals, see `stats.simultaneous.all_pairs`."""
        return all_pairs(
            self._values(metric),
            self.sensitive,
            clusters=self.clusters,
            weights=self.weights,
            control_features=None if self.control.empty else self.control,
            alpha=alpha,
            rng=rng,
        )

    def spread(self, metric: str, *, rng: np.random.Generator, alpha: float = 0.05) -> Spread:
        """Largest less smallest group: interval, test and de-biased value, see `stats.spread.spread`.

        Raises
        ------
        SettingsError: there are control features; take one stratum at a time, or `pairs`, which compares within them.
        """
        if not self.control.empty:
            raise SettingsError("spread has no control features; allowed: one stratum's rows, or pairs")
        values = self._values(metric)
        return spread(values, self.sensitive, clusters=self.clusters, weights=self.weights, alpha=alpha, rng=rng)

    def bootstrap(self, n_boot: int = 1000, *, rng: np.random.Generator) -> Replicates:
        """Resampled metrics; whole clusters where rows are clustered (in one way), else rows."""
        if len(self.clusters) > 1:
            raise SettingsError(f"{len(self.clusters)} crossed clusterings cannot be resampled; use gap or pairs")
        known = self._cell >= 0
        weight = np.ones(len(known)) if self.weights is None else self.weights
        values = np.column_stack(list(self.values.values()))[known]
        counted = np.isfinite(values)
        draws = replicate_means(
            np.where(counted, values, 0) * weight[known, None],
            counted * weight[known, None],
            self._cell[known],
            cluster_codes(self.clusters[0][known]) if self.clusters else None,
            len(self._index),
            n_boot=n_boot,
            rng=rng,
        )
        return Replicates(draws, self._index, tuple(self.values), self._n_groups)

    def _values(self, metric: str) -> Floats:
        if metric not in self.values:
            raise ColumnError("metrics", metric, self.values)
        return self.values[metric]

    def _mean(self, metric: str, rows: Any, alpha: float) -> Estimate:
        return mean_estimate(
            self.values[metric][rows],
            clusters=[way[rows] for way in self.clusters],
            weights=None if self.weights is None else self.weights[rows],
            alpha=alpha,
        )


def _named(metrics: Metrics) -> dict[str, RowMetric]:
    if isinstance(metrics, Mapping):
        return {str(name): row_metric(metric) for name, metric in metrics.items()}
    chosen = [metrics] if isinstance(metrics, RowMetric | str) or callable(metrics) else list(metrics)
    return {metric.name: metric for metric in map(row_metric, chosen)}


def _table(features: Any, default: str) -> pd.DataFrame:
    """A table with a fresh index; unnamed columns are called ``sensitive_feature_0`` and so on, as in fairlearn."""
    if isinstance(features, pd.Series):
        return pd.DataFrame({features.name or f"{default}_0": features.to_numpy()})
    if isinstance(features, pd.DataFrame):
        return features.reset_index(drop=True)
    table = pd.DataFrame(features)
    return (
        table
        if isinstance(features, dict)
        else table.set_axis([f"{default}_{i}" for i in range(table.shape[1])], axis=1)
    )
