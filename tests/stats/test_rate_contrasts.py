from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate

GAP = {"a": 1.0, "b": -1.0}


def trials(successes: int, n: int) -> list[float]:
    return [1.0] * successes + [0.0] * (n - successes)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 29), (81, 263), (15, 148), (29, 29)])
def test_one_rate_of_independent_trials_has_wilsons_interval(successes: int, n: int) -> None:
    e = mean_estimate(trials(successes, n))
    assert (e.ci_low, e.ci_high) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)
    assert math.isnan(e.p_value)  # a rate of 0 is nobody's null


def test_newcombes_published_examples() -> None:
    # Newcombe 1998, table II, method 10
    e = contrast_estimate(trials(56, 70) + trials(48, 80), ["a"] * 70 + ["b"] * 80, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.0524, 0.3339)
    e = contrast_estimate(trials(9, 10) + trials(3, 10), ["a"] * 10 + ["b"] * 10, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.1705, 0.8090)
    e = contrast_estimate(trials(10, 10) + trials(0, 20), ["a"] * 10 + ["b"] * 20, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.6791, 1.0)


@given(st.integers(2, 60), st.integers(2, 60), st.data())
def test_independent_trials_equal_statsmodels(n: int, m: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    e = contrast_estimate(trials(x, n) + trials(y, m), ["a"] * n + ["b"] * m, GAP)
    expected = confint_proportions_2indep(x, n, y, m, method="newcomb")
    assert (e.ci_low, e.ci_high) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_p_value_and_interval_agree(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 12, 90)
    groups = np.where(cluster < rng.integers(3, 9), "a", "b")
    values = (rng.random(90) < rng.beta(0.6, 2, 12)[cluster]).astype(float)
    e = contrast_estimate(values, groups, GAP, clusters=[cluster], alpha=alpha)
    if math.isnan(e.ci_low):
        assert e.reason
    else:
        assert -1 <= e.ci_low <= e.estimate <= e.ci_high <= 1
        assert (e.p_value < alpha) == (not e.ci_low <= 0 <= e.ci_high)


def test_no_success_in_either_group_still_has_an_interval() -> None:
    e = contrast_estimate(np.zeros(40), ["a"] * 20 + ["b"] * 20, GAP, clusters=[np.arange(40) // 4])
    # five clusters in each group count as five trials; df = 4
    t = distributions.t.ppf(0.975, 4)
    upper = t**2 / (5 + t**2)  # Wilson at 0 of 5
    assert (e.ci_low, e.ci_high) == pytest.approx((-upper, upper))
    assert e.p_value == 1


def test_copies_of_rows_are_no_new_evidence() -> None:
    rng = np.random.default_rng(3)
    cluster = rng.choice(20, 120, p=np.arange(1, 21) / 210)
    values = (rng.random(120) < rng.beta(1, 3, 20)[cluster]).astype(float)
    groups = np.where(cluster < 8, "a", "b")
    once = contrast_estimate(values, groups, GAP, clusters=[cluster])
    twice = contrast_estimate(np.tile(values, 2), np.tile(groups, 2), GAP, clusters=[np.tile(cluster, 2)])
    assert (twice.standard_error, twice.df) == pytest.approx((once.standard_error, once.df))
    assert (twice.ci_low, twice.ci_high, twice.p_value) == pytest.approx((once.ci_low, once.ci_high, once.p_value))


def test_groups_that_share_clusters_get_the_t_interval_of_the_differences_within_them() -> None:
    rng = np.random.default_rng(4)
    cluster, groups = np.repeat(np.arange(12), 8), np.tile(np.repeat(["a", "b"], 4), 12)
    values = (rng.random(96) < 0.4).astype(float)
    within = values.reshape(12, 2, 4).mean(axis=2)
    expected = distributions.ttest_rel(within[:, 0], within[:, 1])
    e = contrast_estimate(values, groups, GAP, clusters=[cluster])
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(expected.confidence_interval()))
    assert e.p_value == pytest.approx(expected.pvalue)


def test_half_a_success_for_a_tie_is_a_rate_and_a_score_is_not() -> None:
    wins = [0.0] * 19 + [0.5]
    assert mean_estimate(wins).ci_low >= 0  # a t interval would reach below
    assert mean_estimate([*wins[:-1], 0.4]).ci_low < 0


def test_differences_that_happen_to_hold_no_minus_one_are_no_rates() -> None:
    changes = [0.0] * 49 + [1.0]
    assert mean_estimate(changes).ci_low > 0
    assert mean_estimate(changes, rates=False).ci_low < 0
