from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from scipy.optimize import minimize_scalar
from scipy.special import xlog1py, xlogy
from scipy.stats.contingency import relative_risk
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import test_proportions_2indep as two_rates_test

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.equivalence import null_p_value
from rlhf_fair.stats.exact_tests import two_sd
from rlhf_fair.stats.risk_ratio import katz, risk_ratio


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    n, m = draw(st.integers(2, 60)), draw(st.integers(2, 60))
    return draw(st.integers(1, n - 1)), n, draw(st.integers(1, m - 1)), m


def rows(a: int, n: int, c: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.repeat([1.0, 0.0, 1.0, 0.0], [a, n - a, c, m - c])
    return values, np.repeat(["g", "r"], [n, m])


@given(counts(), st.sampled_from([0.01, 0.05, 0.2]))
def test_katz_equals_scipy_and_statsmodels(table: tuple[int, int, int, int], alpha: float) -> None:
    a, n, c, m = table
    e = katz(a, n, c, m, alpha=alpha)
    expected = relative_risk(a, n, c, m)
    interval = expected.confidence_interval(1 - alpha)
    assert e.estimate == pytest.approx(expected.relative_risk)
    assert (e.ci_low, e.ci_high) == pytest.approx((interval.low, interval.high))
    assert e.p_value == pytest.approx(Table2x2([[a, n - a], [c, m - c]]).log_riskratio_pvalue())


@given(counts())
def test_independent_rows_are_katz_exactly(table: tuple[int, int, int, int]) -> None:
    values, groups = rows(*table)
    assert risk_ratio(values, groups, group="g", reference="r") == katz(*table)


@given(counts())
def test_its_p_value_is_the_one_that_verdicts_use(table: tuple[int, int, int, int]) -> None:
    e = katz(*table)
    assert null_p_value(e, threshold=0.8, better="one") == pytest.approx(e.p_value)


@given(counts())
def test_turning_the_comparison_round_inverts_the_ratio(table: tuple[int, int, int, int]) -> None:
    a, n, c, m = table
    e, turned = katz(a, n, c, m), katz(c, m, a, n)
    assert (e.estimate, e.ci_low, e.ci_high) == pytest.approx(
        (1 / turned.estimate, 1 / turned.ci_high, 1 / turned.ci_low)
    )
    assert e.mde == pytest.approx(turned.mde)


def test_clusters_of_one_come_to_katz_with_n_less_one() -> None:
    # the linearised variance of log p is s^2/(n p^2) = (1-p)/((n-1) p): Katz's with n - 1 for n
    a, n, c, m = 60, 200, 90, 180
    values, groups = rows(a, n, c, m)
    e = risk_ratio(values, groups, group="g", reference="r", clusters=[np.arange(n + m)])
    expected = math.sqrt((1 - a / n) / ((n - 1) * a / n) + (1 - c / m) / ((m - 1) * c / m))
    assert e.standard_error == pytest.approx(e.estimate * expected)
    half = distributions.t.ppf(0.975, e.df) * expected
    assert (e.ci_low, e.ci_high) == pytest.approx((e.estimate * math.exp(-half), e.estimate * math.exp(half)))


def test_copies_within_clusters_add_no_certainty() -> None:
    values, groups = rows(12, 40, 20, 45)
    once = risk_ratio(values, groups, group="g", reference="r", clusters=[np.arange(85)])
    ids = np.repeat(np.arange(85), 7)
    often = risk_ratio(np.repeat(values, 7), np.repeat(groups, 7), group="g", reference="r", clusters=[ids])
    for name in ("estimate", "ci_low", "ci_high", "p_value", "mde", "n_clusters"):
        assert getattr(often, name) == pytest.approx(getattr(once, name)), name
    assert often.n == 7 * once.n


def test_weights_move_the_rates() -> None:
    # rates (2*1 + 1*0)/3 = 2/3 and (1 + 0)/2 = 1/2
    e = risk_ratio([1, 0, 1, 0], ["g", "g", "r", "r"], group="g", reference="r", weights=[2, 1, 1, 1])
    assert e.estimate == pytest.approx(4 / 3)


def test_no_success_keeps_an_interval_from_zero_up() -> None:
    e = katz(0, 40, 20, 40)
    assert (e.estimate, e.ci_low) == (0, 0)
    assert 0 < e.ci_high < 1
    assert e.p_value < 0.001
    assert "score interval" in e.reason
    assert math.isnan(e.standard_error)


@given(st.integers(1, 40), st.integers(2, 60), st.data(), st.sampled_from([0.05, 0.1]))
def test_without_success_the_upper_end_is_where_the_score_test_starts_to_reject(
    n: int, m: int, data: st.DataObject, alpha: float
) -> None:
    c = data.draw(st.integers(1, m - 1))
    e = katz(0, n, c, m, alpha=alpha)
    at_the_end = two_rates_test(0, n, c, m, value=e.ci_high, compare="ratio", method="score", correction=False)
    assert at_the_end.pvalue == pytest.approx(alpha, rel=1e-4)
    assert e.p_value == pytest.approx(2 * distributions.norm.sf(abs(float(two_sd(0, n, c, m)))))
    assert (e.ci_high < 1) == (e.p_value < alpha)


def test_what_has_no_ratio_says_why() -> None:
    assert "rate is 0" in katz(3, 10, 0, 10).reason
    assert math.isnan(katz(3, 10, 0, 10).estimate)
    assert "no measured rows" in katz(0, 0, 3, 10).reason
    every = katz(5, 5, 6, 6)
    assert every.estimate == 1
    assert math.isnan(every.ci_low)
    with pytest.raises(SettingsError, match="successes 5 of n 4"):
        katz(5, 4, 1, 4)


def test_what_has_no_ratio_says_why_with_clusters_too() -> None:
    groups, clusters = ["g"] * 4 + ["r"] * 4, [[1, 1, 2, 2, 3, 3, 4, 4]]

    def ratio(*values: float) -> object:
        return risk_ratio(values, groups, group="g", reference="r", clusters=clusters)

    assert "rate is 0" in ratio(1, 0, 1, 0, 0, 0, 0, 0).reason
    assert "no variation" in ratio(1, 0, 1, 0, 1, 0, 1, 0).reason
    assert "no measured rows" in ratio(1, 0, 1, 0, *[np.nan] * 4).reason
    assert ratio(1, 0, 1, 0, *[np.nan] * 4).n_left_out == 4


def test_no_success_with_clusters_counts_clusters() -> None:
    # nobody of 10 clusters; the reference: 12 of 30 clusters, all rows of a cluster alike
    values = np.repeat(np.r_[np.zeros(10), np.ones(12), np.zeros(18)], 6)
    groups, cluster = np.repeat(["g", "r"], [60, 180]), np.repeat(np.arange(40), 6)
    e = risk_ratio(values, groups, group="g", reference="r", clusters=[cluster])
    plain = katz(0, 10, 12, 30)
    assert (e.estimate, e.ci_low, e.n, e.n_clusters) == (0, 0, 240, 40)
    # n - 1 in the variance: the reference's 30 clusters are worth 29 rows, the group's 10 as many in proportion, and
    # the score statistic reaches the t quantile with 29 df
    effective = two_rates_test(
        0, 10 * 29 / 30, 0.4 * 29, 29, value=e.ci_high, compare="ratio", method="score", correction=False
    )
    assert abs(effective.statistic) == pytest.approx(distributions.t.ppf(0.975, 29), rel=1e-4)
    assert e.ci_high > plain.ci_high
    assert "score interval" in e.reason
    alone = risk_ratio(values, groups, group="g", reference="r", clusters=[groups])
    assert alone.estimate == 0
    assert math.isnan(alone.ci_high)
    assert "cluster" in alone.reason


def test_unknown_groups_are_counted_and_other_numbers_refused() -> None:
    e = risk_ratio([1, 0, 1, 0, 1], ["g", "g", "r", "r", None], group="g", reference="r")
    assert (e.n, e.n_left_out) == (4, 1)
    with pytest.raises(RowError, match="values holds 2; allowed: 0, 1"):
        risk_ratio([1, 2], ["g", "r"], group="g", reference="r")


def test_clustered_intervals_cover_and_katz_does_not() -> None:
    # 40 clusters of 8 rows a group; with probability .6 a row repeats its cluster's draw: correlation .36
    rng, simulations, covered, ignored = np.random.default_rng(5), 400, 0, 0
    cluster, groups = np.repeat(np.arange(80), 8), np.repeat(["g", "r"], 320)
    rate = np.where(groups == "g", 0.3, 0.5)
    for _ in range(simulations):
        shared, own = rng.random(80)[cluster] < rate, rng.random(640) < rate
        values = np.where(rng.random(640) < 0.6, shared, own)
        e = risk_ratio(values, groups, group="g", reference="r", clusters=[cluster])
        plain = risk_ratio(values, groups, group="g", reference="r")
        covered += e.ci_low <= 0.6 <= e.ci_high
        ignored += plain.ci_low <= 0.6 <= plain.ci_high
    low, high = distributions.binom(simulations, 0.95).interval(0.999)
    assert low <= covered <= high
    assert ignored < low


def pearson(table: tuple[int, int, int, int], ratio: float) -> float:
    """Pearson's statistic at a ratio of rates, its rates found by searching for the most likely ones."""
    a, n, c, m = table

    def unlikely(q: float) -> float:
        p = ratio * q
        return -(xlogy(a, p) + xlog1py(n - a, -p) + xlogy(c, q) + xlog1py(m - c, -q))

    most = min(1.0, 1 / ratio)
    q = minimize_scalar(unlikely, bounds=(0, most), method="bounded", options={"xatol": 1e-12}).x
    sides = ((a, n, ratio * q), (c, m, q))
    return sum((x - size * rate) ** 2 / (size * rate * (1 - rate)) for x, size, rate in sides)


@pytest.mark.parametrize("table", [(130, 200, 10, 10), (150, 250, 8, 8), (5, 5, 40, 50), (0, 40, 20, 45), (1, 9, 3, 3)])
def test_a_rate_of_0_or_1_has_limits_at_which_pearsons_statistic_is_the_quantile(
    table: tuple[int, int, int, int],
) -> None:
    e = katz(*table)
    for limit in {e.ci_low, e.ci_high} - {0.0}:
        assert pearson(table, limit) == pytest.approx(distributions.chi2.ppf(0.95, 1), rel=1e-3)
    assert e.ci_low <= e.estimate <= e.ci_high
    assert e.p_value == pytest.approx(distributions.chi2.sf(pearson(table, 1.0), 1), rel=1e-3)


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 59))
def test_a_rate_of_1_turned_round_inverts_the_ratio(n: int, m: int, failures: int) -> None:
    e, turned = (katz(m - 1 - failures % (m - 1), m, n, n), katz(n, n, m - 1 - failures % (m - 1), m))
    assert (e.estimate, e.ci_low, e.ci_high) == pytest.approx(
        (1 / turned.estimate, 1 / turned.ci_high, 1 / turned.ci_low)
    )


def test_ten_of_ten_are_no_certainty() -> None:
    """Ten people at .8125 against two hundred at .65, a true ratio of 0.8; and .9 of 10 against .95 of 200."""
    rng, runs = np.random.default_rng(0), 1500
    for p, n, q, m in ((0.65, 200, 0.8125, 10), (0.95, 200, 0.9, 10), (0.97, 300, 0.97, 30)):
        missed = 0
        for a, c in zip(rng.binomial(n, p, runs), rng.binomial(m, q, runs), strict=True):
            e = katz(int(a), n, int(c), m)
            missed += not (math.isnan(e.ci_low) or e.ci_low <= p / q <= e.ci_high)
        assert missed / runs < 0.08


def test_a_rate_of_1_in_clusters_is_worth_its_clusters() -> None:
    values, groups = rows(150, 250, 8, 8)
    twice, often = (
        risk_ratio(
            *(np.repeat(x, times) for x in (values, groups)),
            group="g",
            reference="r",
            clusters=[np.repeat(np.arange(258), times)],
        )
        for times in (2, 10)
    )
    assert (often.ci_low, often.ci_high, often.p_value) == pytest.approx((twice.ci_low, twice.ci_high, twice.p_value))
    single = katz(150, 250, 8, 8)
    assert (often.ci_low, often.ci_high) == pytest.approx((single.ci_low, single.ci_high), abs=0.01)
