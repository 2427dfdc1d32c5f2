from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from statsmodels.stats.proportion import proportion_confint

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.calibration import (
    Binning,
    bin_codes,
    brier_scores,
    calibration_in_the_large,
    forecasts,
    logistic_calibration,
    reliability_table,
)


def drawn(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, outcomes drawn from them, and two groups."""
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 2, n)
    return p, (rng.random(n) < p).astype(float), rng.choice(["x", "y"], n)


def test_in_the_large_by_hand_and_against_the_t_test() -> None:
    # x: mean prediction .5, mean outcome 2/3
    e = calibration_in_the_large(forecasts([0.2, 0.5, 0.8], [0, 1, 1], ["x"] * 3)).estimates["x"]
    assert e.estimate == pytest.approx(0.5 - 2 / 3)
    p, y, groups = drawn(0)
    result = calibration_in_the_large(forecasts(p, y, groups, reference="y"))
    error = p - y
    assert result.estimates["x"].p_value == pytest.approx(distributions.ttest_1samp(error[groups == "x"], 0).pvalue)
    welch = distributions.ttest_ind(error[groups == "x"], error[groups == "y"], equal_var=False)
    assert (result.gaps["x"].p_value, result.gaps["x"].df) == pytest.approx((welch.pvalue, welch.df))


def test_brier_is_scikit_learns() -> None:
    p, y, groups = drawn(1)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(p))
    result = brier_scores(forecasts(p, y, groups, weights=weights))
    for group in ("x", "y"):
        here = groups == group
        oracle = brier_score_loss(y[here], p[here], sample_weight=weights[here])
        assert result.estimates[group].estimate == pytest.approx(oracle)
        assert math.isnan(result.estimates[group].p_value)


@pytest.mark.parametrize("seed", range(3))
def test_slope_and_intercept_are_the_sandwich_fit(seed: int) -> None:
    p, y, groups = drawn(seed)
    result = logistic_calibration(forecasts(p, y, groups))
    for group in ("x", "y"):
        here = groups == group
        n, odds = here.sum(), logit(p[here])
        with_slope = sm.Logit(y[here], sm.add_constant(odds)).fit(disp=0, cov_type="HC0")
        offset = sm.GLM(y[here], np.ones(n), family=sm.families.Binomial(), offset=odds).fit(cov_type="HC0")
        correction = math.sqrt(n / (n - 1))
        slope, intercept = result.slope.estimates[group], result.intercept.estimates[group]
        assert slope.estimate == pytest.approx(with_slope.params[1])
        assert slope.standard_error == pytest.approx(with_slope.bse[1] * correction)
        assert intercept.estimate == pytest.approx(offset.params[0])
        assert intercept.standard_error == pytest.approx(offset.bse[0] * correction)


def test_clustered_slope_is_the_clustered_sandwich() -> None:
    p, y, _ = drawn(3)
    cluster = np.arange(300) // 6
    e = logistic_calibration(forecasts(p, y, ["x"] * 300, clusters=[cluster])).slope.estimates["x"]
    oracle = sm.Logit(y, sm.add_constant(logit(p))).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    assert e.standard_error == pytest.approx(oracle.bse[1] * math.sqrt(50 / 49))
    assert (e.df, e.n_clusters) == (pytest.approx(49), 50)


def test_planted_miscalibration_is_recovered() -> None:
    rng = np.random.default_rng(4)
    odds, groups = rng.normal(size=8000), np.repeat(["x", "y"], 4000)
    # y's predictions are twice too extreme and half a unit too low
    truth = np.where(groups == "x", odds, 0.5 * odds + 0.5)
    y = rng.random(8000) < expit(truth)
    result = logistic_calibration(forecasts(expit(odds), y.astype(float), groups, reference="x"))
    assert result.slope.gaps["y"].ci_low < -0.5 < result.slope.gaps["y"].ci_high < 0
    assert result.slope.estimates["x"].ci_low < 1 < result.slope.estimates["x"].ci_high
    assert result.slope.estimates["y"].p_value < 1e-6
    assert result.intercept.gaps["y"].ci_low > 0.3


def test_integer_weights_are_repeated_rows() -> None:
    p, y, _ = drawn(5, 60)
    times = np.random.default_rng(5).integers(1, 4, 60)
    weighted = logistic_calibration(forecasts(p, y, ["x"] * 60, weights=times)).slope.estimates["x"]
    again = np.repeat(np.arange(60), times)
    repeated = logistic_calibration(forecasts(p[again], y[again], ["x"] * len(again), clusters=[again]))
    assert weighted.estimate == pytest.approx(repeated.slope.estimates["x"].estimate)
    # the same sum of squared influence; the small-sample correction sees clusters of unequal size
    assert weighted.standard_error == pytest.approx(repeated.slope.estimates["x"].standard_error, rel=0.02)


@pytest.mark.parametrize(
    ("predictions", "outcomes", "reason"),
    [
        ([0.2, 1.0, 0.5], [0, 1, 1], "1 predictions of exactly 0 or 1"),
        ([0.2, 0.3, 0.5], [1, 1, 1], "every outcome is 1"),
        ([0.2, 0.2, 0.2], [0, 1, 1], "all predictions are equal"),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], "separate the outcomes"),
    ],
)
def test_no_slope_says_why(predictions: list[float], outcomes: list[float], reason: str) -> None:
    rows = len(predictions)
    table = forecasts([*predictions, 0.2, 0.4, 0.6], [*outcomes, 0, 1, 0], ["x"] * rows + ["ref"] * 3, reference="ref")
    slope = logistic_calibration(table).slope
    assert math.isnan(slope.estimates["x"].estimate)
    assert reason in slope.estimates["x"].reason
    assert reason in slope.gaps["x"].reason
    assert math.isfinite(slope.estimates["ref"].estimate)


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
def test_reliability_table_is_scikit_learns_curve(strategy: str) -> None:
    p, y, _ = drawn(6)
    table = reliability_table(forecasts(p, y, ["x"] * 300), binning=Binning(5, strategy))  # type: ignore[arg-type]
    observed, predicted = calibration_curve(y, p, n_bins=5, strategy=strategy)  # type: ignore[arg-type]
    np.testing.assert_allclose([b.observed.estimate for b in table], observed)
    np.testing.assert_allclose([b.mean_prediction for b in table], predicted)
    first = table[0].observed
    low, high = proportion_confint(round(first.estimate * first.n), first.n, method="wilson")
    assert (first.ci_low, first.ci_high) == pytest.approx((low, high))


def test_bins_are_common_and_every_row_is_in_one() -> None:
    p, y, groups = drawn(7)
    table = reliability_table(forecasts(p, y, groups))
    assert sum(b.observed.n for b in table) == 300
    edges = {group: [(b.low, b.high) for b in table if b.group == group] for group in ("x", "y")}
    assert edges["x"] == edges["y"]


def test_clustered_bins_have_wider_intervals_and_all_hits_do_not_look_certain() -> None:
    p, y = np.full(60, 0.5), np.ones(60)
    independent = reliability_table(forecasts(p, y, ["x"] * 60), binning=Binning(1))[0].observed
    clustered = reliability_table(forecasts(p, y, ["x"] * 60, clusters=[np.arange(60) // 10]), binning=Binning(1))[0]
    assert clustered.observed.ci_low < independent.ci_low < 1
    assert clustered.observed.ci_high == independent.ci_high == 1
    assert clustered.observed.n_clusters == 6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 12), st.sampled_from(["quantile", "uniform"]))
def test_every_prediction_lies_in_its_bin(predictions: list[float], count: int, strategy: str) -> None:
    p = np.array(predictions)
    edges = Binning(count, strategy).edges(p)  # type: ignore[arg-type]
    codes = bin_codes(p, edges)
    assert (np.diff(edges) > 0).all()
    assert ((edges[codes] <= p) & (p <= edges[codes + 1])).all()


def test_unknown_and_missing_rows_are_counted() -> None:
    result = calibration_in_the_large(forecasts([0.2, np.nan, 0.4, 0.5], [0, 1, 1, 0], ["x", "x", None, "x"]))
    assert (result.n_unknown, result.n_missing) == (1, 1)
    assert result.estimates["x"].n == 2


def test_faults_are_named() -> None:
    with pytest.raises(RowError, match=r"predictions holds 1\.2"):
        forecasts([1.2], [1], ["x"])
    with pytest.raises(SettingsError, match="strategy='width'"):
        Binning(5, "width")  # type: ignore[arg-type]
