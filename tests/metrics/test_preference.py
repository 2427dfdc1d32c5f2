from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from sklearn.metrics import brier_score_loss, log_loss
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.preference import (
    certainty,
    in_within_prompt_sds,
    preference_quality,
    preferred,
    win_rates,
    wins,
    within_prompt_sd,
)


def margins(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 1, n), rng.choice(["x", "y"], n)


def test_win_rates_by_hand() -> None:
    # x: win, tie -> 3/4; y: win, loss, loss -> 1/3; gap 3/4 - 1/3 = 5/12
    result = win_rates(wins([2, 1, 5, 0, 0], [1, 1, 1, 1, 1]), list("xxyyy"), reference="y")
    assert result.estimates["x"].estimate == pytest.approx(3 / 4)
    assert result.estimates["y"].estimate == pytest.approx(1 / 3)
    assert result.gaps["x"].estimate == pytest.approx(5 / 12)
    assert list(result.gaps) == ["x"]


def test_a_win_rate_is_tested_against_one_half_and_its_interval_stays_in_range() -> None:
    outcomes = np.random.default_rng(0).choice([0.0, 0.5, 1.0], 40)
    e = win_rates(outcomes, ["all"] * 40).estimates["all"]
    _, score_test = proportions_ztest(outcomes.sum(), 40, 0.5, prop_var=0.5)
    assert e.p_value == pytest.approx(score_test)
    always = win_rates(np.ones(10), ["all"] * 10).estimates["all"]
    low, high = proportion_confint(10, 10, method="wilson")
    assert (always.ci_low, always.ci_high) == pytest.approx((low, high))


def test_gap_of_independent_accuracies_is_newcombes() -> None:
    m, groups = margins(1)
    hits = preferred(m)
    low, high = confint_proportions_2indep(
        hits[groups == "x"].sum(), (groups == "x").sum(), hits[groups == "y"].sum(), (groups == "y").sum()
    )
    gap = preference_quality(m, groups, reference="y").accuracy.gaps["x"]
    assert (gap.ci_low, gap.ci_high) == pytest.approx((low, high))


def test_gap_of_independent_losses_is_welch() -> None:
    m, groups = margins(1)
    loss = np.logaddexp(0, -m)
    welch = distributions.ttest_ind(loss[groups == "x"], loss[groups == "y"], equal_var=False)
    gap = preference_quality(m, groups, reference="y").log_loss.gaps["x"]
    assert (gap.p_value, gap.df) == pytest.approx((welch.pvalue, welch.df))


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_scikit_learns(seed: int) -> None:
    m, groups = margins(seed)
    quality = preference_quality(m, groups)
    for group in ("x", "y"):
        p = 1 / (1 + np.exp(-m[groups == group]))
        truth = np.ones(len(p))
        assert quality.log_loss.estimates[group].estimate == pytest.approx(log_loss(truth, p, labels=[0, 1]))
        oracle = brier_score_loss(truth, p, labels=[0, 1])
        assert quality.brier.estimates[group].estimate == pytest.approx(oracle)


def test_soft_labels_are_that_many_judgements() -> None:
    # 3 of 4 judgements for the chosen answer: the same as four rows, one of them turned round.
    m, groups = margins(2)
    soft = preference_quality(m, groups, agreement=np.full(80, 0.75))
    hard = preference_quality(np.r_[m, m, m, -m], np.tile(groups, 4), clusters=[np.tile(np.arange(80), 4)])
    for name in ("accuracy", "log_loss", "brier"):
        for group in ("x", "y"):
            one, other = getattr(soft, name).estimates[group], getattr(hard, name).estimates[group]
            assert one.estimate == pytest.approx(other.estimate)
            assert one.standard_error == pytest.approx(other.standard_error)


def test_no_opinion_has_the_null_values() -> None:
    quality = preference_quality(np.zeros(4), list("xxyy"), agreement=[1, 0.5, 0.75, 0])
    for group in ("x", "y"):
        assert quality.accuracy.estimates[group].estimate == 0.5
        assert quality.log_loss.estimates[group].estimate == pytest.approx(math.log(2))
        assert quality.brier.estimates[group].estimate == 0.25


def test_a_huge_margin_has_a_finite_loss() -> None:
    assert preference_quality([-1e4, -1e4], ["x", "x"]).log_loss.estimates["x"].estimate == pytest.approx(1e4)


def test_rows_without_group_or_margin_are_counted() -> None:
    accuracy = preference_quality([1, np.nan, -1, 1, 1], ["x", "x", None, "y", "x"], reference="x").accuracy
    assert (accuracy.n_unknown, accuracy.n_missing) == (1, 1)
    assert accuracy.estimates["x"].n == 2
    assert math.isnan(accuracy.estimates["y"].ci_low)
    assert accuracy.estimates["y"].reason


def test_a_group_without_measured_rows_keeps_its_place() -> None:
    accuracy = preference_quality([1, 1, np.nan], ["x", "x", "y"], reference="x").accuracy
    assert accuracy.estimates["y"].reason == "no measured rows in group y"
    assert accuracy.gaps["y"].reason == "no measured rows in group y"


def test_crossed_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    annotator, prompt = (codes.reshape(-1) for codes in np.indices((12, 15)))
    m = 0.5 + rng.normal(size=12)[annotator] + rng.normal(size=15)[prompt]
    groups = np.where(annotator % 2, "x", "y")
    naive = preference_quality(m, groups, reference="y").log_loss.gaps["x"]
    crossed = preference_quality(m, groups, reference="y", clusters=[annotator, prompt]).log_loss.gaps["x"]
    assert crossed.standard_error > 1.5 * naive.standard_error
    assert crossed.n_clusters == 12


def test_within_prompt_sd_is_the_residual_of_an_analysis_of_variance() -> None:
    # Prompts (1 3) and (10 12 14): squares 1+1 + 4+0+4 = 10 on 5 - 2 = 3 degrees of freedom; c adds nothing.
    rewards, prompts = [1, 3, 10, 12, 14, 99], list("aabbbc")
    assert within_prompt_sd(rewards, prompts) == pytest.approx(math.sqrt(10 / 3))
    scaled = in_within_prompt_sds(rewards, prompts)
    np.testing.assert_allclose(scaled[:2], np.array([-1, 1]) / math.sqrt(10 / 3))
    assert np.isnan(scaled[5])
    assert math.isnan(within_prompt_sd([1, 2], ["a", "b"]))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50))
def test_offsets_per_prompt_and_scale_do_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(0, 6, 30)
    rewards = rng.normal(size=30)
    moved = scale * (rewards + rng.normal(0, 5, 6)[prompts])
    np.testing.assert_allclose(in_within_prompt_sds(moved, prompts), in_within_prompt_sds(rewards, prompts), atol=1e-8)
    pooled = pd.Series(rewards).groupby(prompts).transform(lambda r: r - r.mean() if len(r) > 1 else r * np.nan)
    np.testing.assert_allclose(in_within_prompt_sds(rewards, prompts) * within_prompt_sd(rewards, prompts), pooled)


def test_certainty_by_hand() -> None:
    np.testing.assert_allclose(certainty([0.5, 0.75, 1, 0]), [0, 0.5, 1, 1])


def test_faults_are_named() -> None:
    with pytest.raises(RowError, match="outcomes holds 2"):
        win_rates([2.0], ["x"])
    with pytest.raises(RowError, match=r"agreement holds 1\.5"):
        preference_quality([1, 1], ["x", "x"], agreement=[1.5, 1])
    with pytest.raises(RowError, match="baseline_scores"):
        wins([1, 2], [1])
    with pytest.raises(RowError, match="groups has"):
        win_rates([1, 0], ["x"])
    with pytest.raises(SettingsError, match=r"reference 'z' is no group; groups are \['x'\]"):
        win_rates([1, 0], ["x", "x"], reference="z")
