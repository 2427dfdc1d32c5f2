from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_fair.metrics.calibration import Binning, forecasts
from rlhf_fair.metrics.calibration_error import calibration_errors, unbiased_square


def test_plug_in_and_squared_error_by_hand() -> None:
    # Bins [0, .5) and [.5, 1]. Low: predictions .2 .4, outcomes 0 1: mean error .3 - .5 = -.2.
    # High: .6 .8 .7, outcomes 1 1 0: .7 - 2/3 = 1/30. ECE = 2/5 · .2 + 3/5 · 1/30 = .1.
    # Errors within bins: .2 -.6 (variance .32, of the mean .16); -.4 -.2 .7 (mean 1/30, squares .6867, variance
    # .34333, of the mean .114444). Squared: .4 (.04 - .16) + .6 (.00111 - .114444) = -.048 - .068 = -.116.
    table = forecasts([0.2, 0.4, 0.6, 0.8, 0.7], [0, 1, 1, 1, 0], ["x"] * 5)
    result = calibration_errors(table, binning=Binning(2, "uniform"), rng=np.random.default_rng(0))
    assert result.ece["x"].plug_in == pytest.approx(0.1)
    assert result.squared["x"].estimate == pytest.approx(-0.116)
    # Noise if predictions are the truth: low (.16 + .24)/4 = .1, high (.24 + .16 + .21)/9 = .067778.
    floor = math.sqrt(2 / math.pi) * (0.4 * math.sqrt(0.1) + 0.6 * math.sqrt(0.61 / 9))
    assert result.ece["x"].noise_floor == pytest.approx(floor)


def test_a_calibrated_model_has_an_error_above_zero_and_a_corrected_one_about_zero() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(150):
        p = rng.beta(2, 2, 300)
        errors = calibration_errors(forecasts(p, rng.random(300) < p, ["x"] * 300), rng=rng)
        e = errors.ece["x"]
        found.append(
            (e.plug_in, e.noise_floor, e.corrected.estimate, errors.squared["x"].estimate, e.corrected.p_value < 0.05)
        )
    plug_in, floor, corrected, squared, rejected = np.array(found).T
    error = np.std(found, axis=0) / math.sqrt(150)
    assert plug_in.mean() > 0.05
    assert floor.mean() == pytest.approx(plug_in.mean(), abs=0.004)
    assert abs(corrected.mean()) < 3 * error[2]
    assert abs(squared.mean()) < 3 * error[3]
    assert rejected.mean() < 0.12  # 5 % of 150, three standard errors above


def test_the_smaller_of_two_calibrated_groups_looks_worse_only_without_correction() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(["small", "large"], [100, 2000])
    found = []
    for _ in range(100):
        p = rng.beta(2, 2, 2100)
        errors = calibration_errors(forecasts(p, rng.random(2100) < p, groups, reference="large"), rng=rng)
        gap = errors.squared_gaps["small"]
        plain = errors.ece["small"].plug_in - errors.ece["large"].plug_in
        found.append((plain, gap.estimate, gap.ci_low <= 0 <= gap.ci_high))
    plain, gap, covered = np.array(found).T
    assert plain.min() > 0
    assert abs(gap.mean()) < 3 * gap.std() / 10
    assert covered.mean() > 0.9


def test_planted_miscalibration_is_found() -> None:
    rng = np.random.default_rng(3)
    p, groups = rng.uniform(0.2, 0.8, 6000), np.repeat(["x", "y"], 3000)
    shifted = np.where(groups == "y", p + 0.1, p)  # off by .1 everywhere: ECE .1, squared .01
    errors = calibration_errors(forecasts(shifted, rng.random(6000) < p, groups, reference="x"), rng=rng)
    assert errors.ece["y"].corrected.ci_low < 0.1 < errors.ece["y"].corrected.ci_high
    assert errors.ece["y"].corrected.estimate == pytest.approx(0.1, abs=0.02)
    assert errors.ece["y"].corrected.p_value < 0.001
    assert errors.ece["x"].corrected.p_value > 0.01
    assert 0 < errors.squared_gaps["y"].ci_low < 0.01 < errors.squared_gaps["y"].ci_high


def test_the_square_and_its_variance_are_unbiased() -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(size=(3, 3))
    covariance, truth, shares = root @ root.T, np.array([1.0, -2.0, 3.0]) * 2, np.array([0.5, 0.3, -0.2])
    seen = truth + rng.normal(size=(20_000, 3)) @ root.T
    values, variances = np.array([unbiased_square(each, shares, covariance) for each in seen]).T
    assert values.mean() == pytest.approx(shares @ truth**2, abs=4 * values.std() / math.sqrt(20_000))
    assert variances.mean() == pytest.approx(values.var(), rel=0.05)


def test_clusters_raise_the_noise_floor() -> None:
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(60), 10)
    p = np.repeat(rng.beta(2, 2, 60), 10)
    y = (rng.random(60)[cluster] < p).astype(float)  # all ten rows of a cluster share their outcome
    independent = calibration_errors(forecasts(p, y, ["x"] * 600), rng=rng).ece["x"]
    clustered = calibration_errors(forecasts(p, y, ["x"] * 600, clusters=[cluster]), rng=rng).ece["x"]
    # sqrt(10) times the noise
    assert clustered.noise_floor == pytest.approx(math.sqrt(10) * independent.noise_floor, rel=0.2)
    assert clustered.corrected.p_value > 0.01 > independent.corrected.p_value


def test_bins_with_one_row_are_counted_and_nothing_left_says_why() -> None:
    table = forecasts([0.1, 0.6, 0.7, 0.9], [0, 1, 0, 1], ["x", "x", "x", "y"], reference="x")
    errors = calibration_errors(table, binning=Binning(2, "uniform"), rng=np.random.default_rng(6))
    assert errors.n_left_out == {"x": 1, "y": 1}
    assert math.isnan(errors.ece["y"].corrected.estimate)
    assert "no bin holds two clusters" in errors.ece["y"].corrected.reason
    assert "no bin" in errors.squared_gaps["y"].reason
