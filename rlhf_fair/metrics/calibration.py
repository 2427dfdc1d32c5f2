"""Calibration by group: do predicted probabilities mean the same for everyone?

A score is calibrated within a group if, among rows given probability p, a share p has the outcome; gaps between groups
are then what "equally calibrated" forbids (Pleiss et al. 2017). Outcomes are 0 or 1, or shares in between.
`rlhf_fair.metrics.calibration_error` adds one number for all departures, freed of its bias.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.by_group import ByGroup, GroupRows, compare, group_rows
from rlhf_fair.metrics.rows import Rows
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import check_shares
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.sample import Codes, Floats


@dataclass(frozen=True)
class LogisticCalibration:
    """``slope``: null value 1, below 1 = predictions too extreme. ``intercept``: null value 0, above 0 = too low."""

    slope: ByGroup
    intercept: ByGroup


@dataclass(frozen=True)
class Binning:
    """Bins common to all groups: ``quantile`` (equal counts over all rows) or ``uniform`` (equal width on [0, 1])."""

    count: int = 10
    strategy: Literal["quantile", "uniform"] = "quantile"

    def __post_init__(self) -> None:
        if self.count < 1 or self.strategy not in ("quantile", "uniform"):
            raise SettingsError(
                f"binning count={self.count}, strategy={self.strategy!r}; allowed: 1 or more, quantile or uniform"
            )

    def edges(self, predictions: Floats) -> Floats:
        """(bins + 1,) increasing edges from 0 to 1; fewer bins than asked for where predictions are tied."""
        inner = np.linspace(0, 1, self.count + 1)[1:-1]
        if self.strategy == "quantile" and len(predictions):
            inner = np.quantile(predictions, inner)
        return np.unique(np.concatenate([[0.0], inner, [1.0]]))


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of one group with a prediction in [``low``, ``high``) (the last bin holds its upper edge)."""

    group: Hashable
    low: float
    high: float
    mean_prediction: float
    observed: Estimate = field(repr=False)


def forecasts(
    predictions: ArrayLike,
    outcomes: ArrayLike,
    groups: Any,
    *,
    reference: Hashable = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
) -> GroupRows:
    """Line up probabilities (n,), outcomes (n,) and groups (n,) for the functions of this module."""
    columns = {"predictions": predictions, "outcomes": outcomes}
    table = group_rows(columns, groups, reference=reference, clusters=clusters, weights=weights)
    for name, column in table.rows.columns.items():
        check_shares(name, column)
    return table


def calibration_in_the_large(table: GroupRows, *, alpha: float = 0.05) -> ByGroup:
    """Mean prediction less mean outcome by group; range [-1, 1]; 0 = right on average; above 0 = predicts too much."""
    return compare(table, _errors(table.rows), weights=table.rows.weights, alpha=alpha)


def brier_scores(table: GroupRows, *, alpha: float = 0.05) -> ByGroup:
    """Mean of (prediction - outcome)² by group; range [0, 1], low is better (Brier 1950).

    Groups with outcome rates nearer 1/2 have higher scores even from a perfect model, so a gap alone is no evidence
    of miscalibration.
    """
    return compare(table, _errors(table.rows) ** 2, weights=table.rows.weights, null=NAN, alpha=alpha)


def logistic_calibration(table: GroupRows, *, alpha: float = 0.05) -> LogisticCalibration:
    """Slope and intercept of the outcome's log odds on the prediction's, by group (Cox 1958; Van Calster et al. 2016).

    The slope comes from a fit with both; the intercept from one with the slope fixed at 1, so that it is calibration in
    the large on the log-odds scale. Intervals sum the fit's influence values within clusters. A group in which some
    prediction is 0 or 1 (infinite log odds) or in which predictions separate the outcomes has no estimate.
    """
    slopes, intercepts = np.full(table.rows.n, NAN), np.full(table.rows.n, NAN)
    slope_failures: dict[Hashable, str] = {}
    intercept_failures: dict[Hashable, str] = {}
    for place, label in enumerate(table.labels):
        rows, here = table.only(label), table.codes == place
        for free_slope, values, failures in (
            (True, slopes, slope_failures),
            (False, intercepts, intercept_failures),
        ):
            fitted = _logistic_fit(rows, free_slope=free_slope)
            if isinstance(fitted, str):
                failures[label] = fitted
            else:
                values[here] = fitted
    # The rows' weights are inside their influence values already.
    return LogisticCalibration(
        slope=compare(table, slopes, null=1.0, alpha=alpha, failures=slope_failures),
        intercept=compare(table, intercepts, null=0.0, alpha=alpha, failures=intercept_failures),
    )


def reliability_table(
    table: GroupRows, *, binning: Binning | None = None, alpha: float = 0.05
) -> tuple[ReliabilityBin, ...]:
    """Observed rate against mean prediction by group and bin; on the diagonal = calibrated; empty bins have n = 0.

    Intervals are Wilson's, at the effective number of rows where they are clustered or weighted (`mean_estimate`).
    """
    edges = (binning or Binning()).edges(table.rows["predictions"])
    bins = bin_codes(table.rows["predictions"], edges)
    found = []
    for place, label in enumerate(table.labels):
        for b in range(len(edges) - 1):
            rows = table.rows.take((table.codes == place) & (bins == b))
            observed = mean_estimate(
                rows["outcomes"], clusters=rows.clusters, weights=rows.weights, rates=True, alpha=alpha
            )
            mean = float(np.average(rows["predictions"], weights=rows.unit_weights)) if rows.n else NAN
            found.append(ReliabilityBin(label, float(edges[b]), float(edges[b + 1]), mean, observed))
    return tuple(found)


def bin_codes(predictions: Floats, edges: Floats) -> Codes:
    """(n,) the bin of every prediction: at or above its lower edge and below the next."""
    return np.clip(np.searchsorted(edges, predictions, side="right") - 1, 0, len(edges) - 2).astype(np.intp)


def _errors(rows: Rows) -> Floats:
    return np.asarray(rows["predictions"] - rows["outcomes"])


def _logistic_fit(rows: Rows, *, free_slope: bool) -> Floats | str:
    """(n,) pseudo-values whose mean is the slope (or the intercept at slope 1), or why there is none.

    A pseudo-value is the estimate plus n times the row's influence on it, the score over the information.
    """
    predictions, outcomes, w = rows["predictions"], rows["outcomes"], rows.unit_weights
    if not rows.n:
        return "no measured rows"
    certain = int(np.isin(predictions, (0.0, 1.0)).sum())
    if certain:
        return f"{certain} predictions of exactly 0 or 1 have no log odds"
    if (outcomes == outcomes[0]).all() and outcomes[0] in (0.0, 1.0):
        return f"every outcome is {outcomes[0]:g}"
    odds = logit(predictions)
    ones = np.ones(rows.n)
    design = np.column_stack([odds, ones]) if free_slope else ones[:, None]
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return "all predictions are equal"
    fit = _glm(outcomes, design, None if free_slope else odds, w)
    if fit is None:
        return "predictions separate the outcomes: no finite fit"
    mean = fit.fittedvalues
    information = design.T @ (design * (w * mean * (1 - mean))[:, None])
    influence = np.linalg.solve(information, (design * (w * (outcomes - mean))[:, None]).T)[0]
    return np.asarray(fit.params[0] + rows.n * influence)


def _glm(outcomes: Floats, design: Floats, offset: Floats | None, weights: Floats) -> Any:
    """A binomial fit, or None where none converges."""
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # separation and non-convergence come as warnings
        try:
            return GLM(outcomes, design, family=Binomial(), offset=offset, var_weights=weights).fit(tol=1e-12)
        except (Warning, PerfectSeparationError, np.linalg.LinAlgError):
            return None
