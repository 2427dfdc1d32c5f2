from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as distributions
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from rlhf_fair.errors import RowError
from rlhf_fair.metrics.counterfactual import (
    flips,
    individual_change,
    mean_change,
    preference_flips,
    share_above_change,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_change_is_the_paired_t_test() -> None:
    before = rng().normal(size=30)
    after = before + rng(1).normal(0.3, 1, 30)
    oracle = distributions.ttest_rel(after, before)
    e = mean_change(before, after)
    assert (e.p_value, e.df) == pytest.approx((oracle.pvalue, 29))
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(oracle.confidence_interval()))


def test_a_missing_score_leaves_out_the_pair() -> None:
    e = mean_change([1, np.nan, 3, 4], [2, 1, np.nan, 6])
    assert (e.estimate, e.n, e.n_left_out) == (1.5, 2, 2)
    assert "no measured pairs" in mean_change([np.nan], [1]).reason


def test_weak_parity_by_hand() -> None:
    # above .5: before 1 of 4 (.5 is not above), after 3 of 4
    e = share_above_change([0.2, 0.5, 0.4, 0.9], [0.6, 0.7, 0.1, 0.8])
    assert e.estimate == pytest.approx(0.5)
    raised = share_above_change([0.2, 0.5, 0.4, 0.9], [0.6, 0.7, 0.1, 0.8], threshold=0.75)
    assert raised.estimate == 0


def test_flips_are_wilson_and_mcnemar() -> None:
    # 8 turn to 1, 1 turns to 0, 21 stay
    before = np.r_[np.zeros(8), [1], np.zeros(10), np.ones(11)]
    after = np.r_[np.ones(8), [0], np.zeros(10), np.ones(11)]
    result = flips(before, after, rng=rng())
    assert (result.rate.ci_low, result.rate.ci_high) == pytest.approx(proportion_confint(9, 30, method="wilson"))
    assert (result.up.estimate, result.down.estimate) == pytest.approx((8 / 30, 1 / 30))
    assert result.net.estimate == pytest.approx(7 / 30)
    assert result.net.p_value == pytest.approx(mcnemar([[10, 8], [1, 11]], exact=True).pvalue)


def test_one_flip_among_fifty_has_no_direction() -> None:
    # All steps are 0 or 1 by chance; the net flip is still a difference, whose interval may go below 0.
    after = np.r_[1.0, np.zeros(49)]
    net = flips(np.zeros(50), after, rng=rng()).net
    assert net.p_value == 1
    assert net.ci_low < 0 < net.ci_high


def test_clusters_count_once_in_the_direction_test() -> None:
    # Four templates, each of which flips all of its five items the same way: 2 of 2**4 patterns, not 2 of 2**20.
    cluster = np.repeat(np.arange(4), 5)
    result = flips(np.zeros(20), np.ones(20), clusters=[cluster], rng=rng())
    assert result.net.p_value == pytest.approx(2 / 16)
    assert result.rate.estimate == 1
    assert result.rate.ci_low < 0.6  # four templates at most, not twenty items
    assert result.net.n_clusters == 4


def test_preference_flips_count_ties_half() -> None:
    # margins 1 → -1: whole flip down; 2 → 0: half a flip down; 0 → 3: half a flip up; -1 → -2 stays
    result = preference_flips([1, 2, 0, -1], [-1, 0, 3, -2], rng=rng())
    assert result.rate.estimate == pytest.approx(2 / 4)
    assert (result.down.estimate, result.up.estimate) == pytest.approx((1.5 / 4, 0.5 / 4))
    assert result.net.estimate == pytest.approx(-1 / 4)
    # sums -1, -1/2, 1/2: |total| = 1; of 8 patterns those with |total| >= 1: ±1 ±(1/2 - 1/2) and ±2: 6
    assert result.net.p_value == pytest.approx(6 / 8)


def test_no_flips_at_all() -> None:
    result = flips(np.ones(10), np.ones(10), rng=rng())
    assert result.rate.estimate == 0
    assert result.rate.ci_high == pytest.approx(proportion_confint(0, 10, method="wilson")[1])
    assert result.net.estimate == 0
    assert result.net.p_value == 1
    assert (-result.net.ci_low, result.net.ci_high) == pytest.approx((result.rate.ci_high, result.rate.ci_high))


def test_individual_change_without_repeats() -> None:
    result = individual_change([1, 2, 3], [2, 0, 3])
    assert result.absolute.estimate == pytest.approx(1)
    assert "no repeated scores" in result.excess.reason
    assert math.isnan(result.squared.estimate)


def test_individual_change_by_hand() -> None:
    # One item: a = 0, repeat 1; b = 2, repeat 5. Between: |2-0|, |5-1|, |5-0|, |2-1| = 12/4 = 3; within (1 + 3)/2 = 2.
    # Squared: (2 - 0)(5 - 1) = 8. A second item that never moves halves all of it.
    result = individual_change([0, 7], [2, 7], original_repeat=[1, 7], counterfactual_repeat=[5, 7])
    assert result.absolute.estimate == pytest.approx(3 / 2)
    assert result.noise_floor.estimate == pytest.approx(2 / 2)
    assert result.excess.estimate == pytest.approx(1 / 2)
    assert result.squared.estimate == pytest.approx(8 / 2)


@pytest.mark.parametrize("effect", [0.0, 0.8])
def test_noise_alone_moves_items_but_leaves_no_excess(effect: float) -> None:
    draw, n = rng(5), 20_000
    level = draw.normal(size=n)
    a, a2 = level + draw.normal(size=(2, n))
    # the group's effect goes up for one half of the items and down for the other
    b, b2 = level + effect * np.where(np.arange(n) % 2, 1, -1) + draw.normal(size=(2, n))
    result = individual_change(a, b, original_repeat=a2, counterfactual_repeat=b2)
    assert result.absolute.ci_low > 1
    # |difference of two N(0, 1)|: 2/sqrt(π)
    assert result.noise_floor.ci_low < 2 / math.sqrt(math.pi) < result.noise_floor.ci_high
    folded = distributions.foldnorm(effect / math.sqrt(2), scale=math.sqrt(2)).mean()
    for e, truth in ((result.excess, folded - 2 / math.sqrt(math.pi)), (result.squared, effect**2)):
        assert abs(e.estimate - truth) < 3 * e.standard_error
    assert abs(mean_change(a, b).estimate) < 0.05


def test_swapping_original_and_counterfactual_turns_signs() -> None:
    before, after = rng(6).normal(size=(2, 40))
    assert mean_change(after, before).estimate == pytest.approx(-mean_change(before, after).estimate)
    one, other = preference_flips(before, after, rng=rng()), preference_flips(after, before, rng=rng())
    assert one.rate.estimate == other.rate.estimate
    assert one.net.estimate == pytest.approx(-other.net.estimate)
    assert one.net.p_value == pytest.approx(other.net.p_value)


def test_faults_are_named() -> None:
    with pytest.raises(RowError, match=r"original holds 0\.3"):
        flips([0.3], [1], rng=rng())
    with pytest.raises(RowError, match="counterfactual has"):
        mean_change([1, 2], [1])
