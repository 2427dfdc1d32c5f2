from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from scipy.stats import contingency
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportions_ztest

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.exact_tests import (
    PairedCounts,
    fisher_exact,
    fisher_p_values,
    mcnemar,
    shortfall_sd,
    two_sd,
)

COUNT = st.integers(0, 25)


@st.composite
def two_rates(draw: st.DrawFn, smallest: int = 1, largest: int = 40) -> tuple[int, int, int, int]:
    n, m = draw(st.integers(smallest, largest)), draw(st.integers(smallest, largest))
    return draw(st.integers(0, n)), n, draw(st.integers(0, m)), m


def test_mcnemar_of_airway_data() -> None:
    # Bentur et al. 2009, as analysed by Fagerland, Lydersen & Laake 2013: 21 children, 1 / 1 / 7 / 12.
    # By hand: 2 * (C(8,0) + C(8,1)) / 2^8 = 18/256 = .0703; mid-p takes off C(8,1)/2^8 = 8/256: 10/256 = .0391
    test = mcnemar(PairedCounts(both=1, only_before=1, only_after=7, neither=12))
    assert test.p_exact == pytest.approx(18 / 256)
    assert test.p_mid == pytest.approx(10 / 256)
    assert test.odds_ratio.estimate == 7
    assert test.difference.estimate == pytest.approx(6 / 21)  # 8/21 after, 2/21 before
    assert test.difference.n == test.odds_ratio.n == 21


@pytest.mark.parametrize(("changed", "probability"), [(1, 2 / 4), (2, 6 / 16), (3, 20 / 64)])
def test_an_even_split_takes_off_half_of_its_probability(changed: int, probability: float) -> None:
    # Fagerland, Lydersen & Laake 2013, additional file 1: mid-p = 1 - f / 2 where as many rose as fell
    test = mcnemar(PairedCounts(both=3, only_before=changed, only_after=changed, neither=5))
    assert (test.p_exact, test.p_mid) == pytest.approx((1.0, 1 - probability / 2))


@given(COUNT, COUNT, COUNT, COUNT)
def test_mcnemar_equals_statsmodels_and_the_mirror_of_itself(both: int, b: int, c: int, neither: int) -> None:
    test, mirrored = mcnemar(PairedCounts(both, b, c, neither)), mcnemar(PairedCounts(neither, c, b, both))
    assert test.p_exact == pytest.approx(mirrored.p_exact)
    assert test.p_mid == pytest.approx(mirrored.p_mid)
    assert test.p_mid <= test.p_exact
    if b + c:
        expected = statsmodels_mcnemar([[both, b], [c, neither]], exact=True)
        assert test.p_exact == pytest.approx(expected.pvalue)
    else:
        assert (test.p_exact, test.p_mid) == (1.0, 1.0)
        assert math.isnan(test.odds_ratio.estimate)


@given(COUNT, COUNT, st.sampled_from([0.01, 0.05, 0.1]))
def test_the_interval_of_the_odds_ratio_leaves_one_out_exactly_where_the_exact_test_rejects(
    b: int, c: int, alpha: float
) -> None:
    test = mcnemar(PairedCounts(3, b, c, 4), alpha=alpha)
    if b + c:
        outside = not test.odds_ratio.ci_low < 1 < test.odds_ratio.ci_high
        assert outside == (test.p_exact <= alpha)


@given(COUNT, st.integers(1, 25), st.integers(1, 25), COUNT)
def test_the_difference_equals_the_paired_t_test(both: int, b: int, c: int, neither: int) -> None:
    before = np.repeat([1.0, 1.0, 0.0, 0.0], [both, b, c, neither])
    after = np.repeat([1.0, 0.0, 1.0, 0.0], [both, b, c, neither])
    e, expected = mcnemar(PairedCounts.of(before, after)).difference, distributions.ttest_rel(after, before)
    limits = expected.confidence_interval(0.95)
    assert (e.ci_low, e.ci_high) == pytest.approx((limits.low, limits.high))
    assert (e.p_value, e.df) == pytest.approx((expected.pvalue, expected.df))


def test_pairs_are_counted_and_missing_ones_too() -> None:
    before = [1, 1, 0, 0, 0, np.nan, 1, np.nan]
    after = [1, 0, 1, 1, 0, 1, np.nan, np.nan]
    assert PairedCounts.of(before, after) == PairedCounts(1, 1, 2, 1, n_missing=3)
    assert PairedCounts.of([], []).n == 0
    assert mcnemar(PairedCounts.of([], [])).odds_ratio.reason == "no complete pairs"


def test_outcomes_that_are_no_pairs_of_yes_and_no_are_refused() -> None:
    with pytest.raises(RowError, match=r"before holds 0\.5; allowed: 0, 1"):
        PairedCounts.of([0.5], [1])
    with pytest.raises(RowError, match="after has 1 rows, before has 2"):
        PairedCounts.of([0, 1], [1])
    with pytest.raises(SettingsError, match="only_after = -1"):
        PairedCounts(1, 1, -1, 1)


def test_no_change_at_all_is_no_evidence_and_no_interval() -> None:
    test = mcnemar(PairedCounts(5, 0, 0, 5))
    assert test.p_exact == 1
    assert test.difference.estimate == 0
    assert "no variation" in test.difference.reason
    assert test.odds_ratio.reason == "no item changed"


def test_the_lady_tasting_tea() -> None:
    # Fisher 1935: 3 of 4 cups right. One-sided (1 + 16)/70, two-sided (1 + 16 + 16 + 1)/70 = 34/70
    assert fisher_p_values(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert fisher_p_values(4, 4, 0, 4) == pytest.approx(2 / 70)


@given(st.lists(two_rates(smallest=0), min_size=1, max_size=6))
def test_many_fisher_tests_at_once_equal_scipy_one_by_one(tables: list[tuple[int, int, int, int]]) -> None:
    columns = np.array(tables).T
    expected = [distributions.fisher_exact([[a, n - a], [c, m - c]]).pvalue for a, n, c, m in tables]
    assert fisher_p_values(*columns) == pytest.approx(expected)


@given(two_rates(), st.sampled_from([0.05, 0.2]))
def test_fisher_odds_ratio_equals_scipy(table: tuple[int, int, int, int], alpha: float) -> None:
    a, n, c, m = table
    test = fisher_exact(a, n, c, m, alpha=alpha)
    assert test.risk_difference.estimate == pytest.approx(a / n - c / m)
    assert test.risk_difference.p_value == test.p_value
    if a + c in (0, n + m):
        assert test.odds_ratio.reason == "the outcome does not vary"
        assert test.p_value == pytest.approx(1)
    else:
        expected = contingency.odds_ratio([[a, n - a], [c, m - c]])
        limits = expected.confidence_interval(1 - alpha)
        assert test.odds_ratio.estimate == pytest.approx(expected.statistic)
        assert (test.odds_ratio.ci_low, test.odds_ratio.ci_high) == pytest.approx((limits.low, limits.high))


def test_an_empty_group_has_no_test() -> None:
    test = fisher_exact(0, 0, 3, 4)
    assert math.isnan(test.p_value)
    assert "no trials" in test.odds_ratio.reason
    assert "no trials" in test.risk_difference.reason
    assert np.isnan(two_sd(0, 0, 3, 4))


def test_impossible_counts_are_refused() -> None:
    for call in (fisher_exact, fisher_p_values):
        with pytest.raises(SettingsError, match="successes"):
            call(5, 4, 1, 4)
    with pytest.raises(SettingsError, match="expected_share"):
        shortfall_sd(1, 4, 1.2)


@given(two_rates())
def test_two_sd_equals_the_pooled_z_of_statsmodels(table: tuple[int, int, int, int]) -> None:
    a, n, c, m = table
    z = float(two_sd(a, n, c, m))
    if a + c in (0, n + m):
        assert math.isnan(z)
    else:
        assert z == pytest.approx(proportions_ztest([a, c], [n, m])[0])
        assert z == pytest.approx(-float(two_sd(c, m, a, n)))


@pytest.mark.parametrize(
    ("selected", "n", "share", "at_least", "below"),
    [
        # Castaneda v. Partida, 430 U.S. 482, note 17: 339 of 870 grand jurors, 79.1 %: "approximately 29"
        (339, 870, 0.791, 28.5, 29.5),
        # Hazelwood v. United States, 433 U.S. 299, note 17: 405 hired in two years, 15 of them Black.
        (15, 405, 0.154, 6, 7),  # "more than six"
        (15, 405, 0.057, 0, 2),  # "less than two"
        (10, 282, 0.154, 5, 6),  # 1972-73: "more than five"
        (5, 123, 0.154, 3, 4),  # 1973-74: "more than three"
    ],
)
def test_standard_deviations_of_the_supreme_court(
    selected: int, n: int, share: float, at_least: float, below: float
) -> None:
    assert at_least <= -shortfall_sd(selected, n, share) < below
