from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Better, Estimate, Verdict
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.equivalence import (
    check_limits,
    null_p_value,
    p_value_beyond,
    threshold_p_value,
    tost,
    verdict,
)
from rlhf_fair.stats.intervals import wilson
from rlhf_fair.stats.risk_ratio import katz


def interval(low: float, high: float) -> Estimate:
    return Estimate(estimate=(low + high) / 2, ci_low=low, ci_high=high, mde=0.07)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.04, 0.03, Verdict.WITHIN),
        (0.01, 0.04, Verdict.WITHIN),  # differs from 0, and is small all the same
        (-0.05, 0.03, Verdict.INCONCLUSIVE),  # touches the margin: not wholly inside
        (-0.03, 0.05, Verdict.INCONCLUSIVE),
        (-0.30, 0.30, Verdict.INCONCLUSIVE),  # a wide interval is no evidence of absence
        (0.06, 0.09, Verdict.INCONCLUSIVE),  # between margin and threshold
        (0.10, 0.30, Verdict.INCONCLUSIVE),  # touches the threshold
        (0.11, 0.30, Verdict.EXCEEDS),
        (-0.30, -0.11, Verdict.EXCEEDS),
        (-0.30, -0.10, Verdict.INCONCLUSIVE),
    ],
)
def test_table_of_verdicts(low: float, high: float, expected: Verdict) -> None:
    decision, reason = verdict(interval(low, high), threshold=0.1, margin=0.05)
    assert decision == expected
    assert reason


@pytest.mark.parametrize(
    ("p_adjusted", "expected"),
    [
        (0.01, Verdict.EXCEEDS),
        (0.05, Verdict.EXCEEDS),
        (0.051, Verdict.INCONCLUSIVE),
        (math.nan, Verdict.INCONCLUSIVE),
    ],
)
def test_a_claim_of_harm_survives_the_correction_or_is_none(p_adjusted: float, expected: Verdict) -> None:
    decision, _ = verdict(interval(0.11, 0.3), threshold=0.1, margin=0.05, p_adjusted=p_adjusted, alpha=0.05)
    assert decision == expected


def test_harm_needs_both_corrected_p_values() -> None:
    rule = {"threshold": 0.1, "margin": 0.05}
    assert verdict(interval(0.11, 0.3), **rule, p_adjusted=0.01, p_threshold=0.04)[0] == Verdict.EXCEEDS
    for p_threshold in (0.06, math.nan):
        decision, reason = verdict(interval(0.11, 0.3), **rule, p_adjusted=0.01, p_threshold=p_threshold)
        assert decision == Verdict.INCONCLUSIVE
        assert "correction" in reason


def test_correction_does_not_touch_a_claim_of_no_harm() -> None:
    assert verdict(interval(-0.01, 0.01), threshold=0.1, margin=0.05, p_adjusted=1.0)[0] == Verdict.WITHIN


def test_not_measured_keeps_its_reason() -> None:
    missing = Estimate.not_estimable("no measured rows in group b")
    assert verdict(missing, threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "no measured rows in group b")
    no_interval = Estimate(estimate=0.4, reason="a group has 1 cluster")
    assert verdict(no_interval, threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "a group has 1 cluster")
    assert verdict(Estimate(estimate=0.4), threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "no interval")


def test_no_reason_shows_nan() -> None:
    no_mde = Estimate(estimate=0.1, ci_low=0.0, ci_high=0.2)
    assert "nan" not in verdict(no_mde, threshold=0.1, margin=0.05)[1]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_sign_of_a_gap_does_not_matter(low: float, width: float, p: float) -> None:
    e, mirrored = interval(low, low + width), interval(-low - width, -low)
    rule = {"threshold": 0.1, "margin": 0.05, "p_adjusted": p}
    assert verdict(e, **rule)[0] == verdict(mirrored, **rule)[0]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.0, 0.5))
def test_a_wider_interval_never_says_more(low: float, width: float, more: float) -> None:
    rule = {"threshold": 0.1, "margin": 0.05}
    narrow = verdict(interval(low, low + width), **rule)[0]
    wide = verdict(interval(low - more, low + width + more), **rule)[0]
    assert wide in (narrow, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("better", "low", "high", "expected"),
    [
        # threshold .8, margin .9: within needs .9 .. 1.111, exceeds needs all below .8 or all above 1.25
        ("one", 0.92, 1.10, Verdict.WITHIN),
        ("one", 0.92, 1.12, Verdict.INCONCLUSIVE),
        ("one", 0.85, 1.00, Verdict.INCONCLUSIVE),
        ("one", 0.60, 0.81, Verdict.INCONCLUSIVE),
        ("one", 0.60, 0.79, Verdict.EXCEEDS),
        ("one", 1.26, 1.90, Verdict.EXCEEDS),
        ("one", 1.24, 1.90, Verdict.INCONCLUSIVE),
        ("one", 0.00, 0.79, Verdict.EXCEEDS),  # nobody selected
        ("one", 0.95, math.inf, Verdict.INCONCLUSIVE),
        ("high", 0.91, 0.99, Verdict.WITHIN),
        ("high", 5.00, math.inf, Verdict.WITHIN),
        ("high", 0.85, 0.99, Verdict.INCONCLUSIVE),
        ("high", 0.60, 0.79, Verdict.EXCEEDS),
        ("high", -2.0, -1.0, Verdict.EXCEEDS),
    ],
)
def test_table_of_verdicts_of_ratios_and_levels(better: Better, low: float, high: float, expected: Verdict) -> None:
    e = Estimate(estimate=min((low + high) / 2, 9), ci_low=low, ci_high=high)
    decision, reason = verdict(e, threshold=0.8, margin=0.9, better=better)
    assert decision == expected
    assert reason
    if better == "high":  # lower is better: the same with the sign turned
        turned = Estimate(estimate=-e.estimate, ci_low=-high, ci_high=-low)
        if math.isfinite(high):
            assert verdict(turned, threshold=-0.8, margin=-0.9, better="low")[0] == expected


@given(st.floats(0.2, 3), st.floats(0.0, 1.5), st.floats(0, 0.1))
def test_a_ratio_and_its_reciprocal_are_judged_alike(ratio: float, width: float, p: float) -> None:
    low, high = ratio * math.exp(-width), ratio * math.exp(width)
    assume(all(abs(math.log(end / limit)) > 1e-9 for end in (low, high) for limit in (0.8, 0.9, 1 / 0.8, 1 / 0.9)))
    rule = {"threshold": 0.8, "margin": 0.9, "better": "one", "p_adjusted": p}
    e, turned = (
        Estimate(estimate=r, ci_low=a, ci_high=b) for r, a, b in ((ratio, low, high), (1 / ratio, 1 / high, 1 / low))
    )
    assert verdict(e, **rule)[0] == verdict(turned, **rule)[0]


@pytest.mark.parametrize("better", ["one", "high", "low"])
def test_harm_needs_a_corrected_p_value_in_every_direction(better: Better) -> None:
    low, high, limits = (0.2, 0.3, (0.8, 0.9)) if better != "low" else (1.2, 1.3, (0.9, 0.8))
    e = Estimate(estimate=(low + high) / 2, ci_low=low, ci_high=high)
    rule = {"threshold": limits[0], "margin": limits[1], "better": better}
    assert verdict(e, **rule)[0] == Verdict.EXCEEDS
    assert verdict(e, **rule, p_adjusted=0.06)[0] == Verdict.INCONCLUSIVE
    assert verdict(e, **rule, p_adjusted=math.nan)[0] == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("better", "threshold", "margin", "message"),
    [
        ("zero", 0.1, 0.2, "must not be wider"),
        ("zero", -0.1, -0.2, "above 0"),
        ("one", 1.25, 1.1, "between 0 and 1"),
        ("one", 0.8, 0.7, "below threshold"),
        ("high", 0.8, 0.7, "below threshold"),
        ("low", 0.1, 0.2, "must not be wider"),
        ("zero", math.inf, 0.1, "finite"),
    ],
)
def test_limits_that_contradict_themselves_are_refused(
    better: Better, threshold: float, margin: float, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        check_limits(threshold=threshold, margin=margin, better=better)


def two_samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.1, 1, 40), rng.normal(0, 1.5, 25)


@pytest.mark.parametrize("seed", range(5))
def test_tost_equals_statsmodels(seed: int) -> None:
    x, y = two_samples(seed)
    gap = contrast_estimate(np.r_[x, y], ["a"] * 40 + ["b"] * 25, {"a": 1.0, "b": -1.0})
    p, lower, upper = ttost_ind(x, y, -0.5, 0.5, usevar="unequal")
    test = tost(gap, margin=0.5)
    assert (test.p_value, test.p_low, test.p_high) == pytest.approx((p, lower[1], upper[1]))
    p, lower, upper = ttost_paired(x[:25], y, -0.5, 0.5)
    test = tost(mean_estimate(x[:25] - y), margin=0.5)
    assert (test.p_value, test.p_low, test.p_high) == pytest.approx((p, lower[1], upper[1]))


@pytest.mark.parametrize("seed", range(3))
def test_a_level_against_a_threshold_equals_the_one_sample_t_test(seed: int) -> None:
    x, _ = two_samples(seed)
    e = mean_estimate(x)
    better = distributions.ttest_1samp(x, -0.2, alternative="greater").pvalue
    assert tost(e, margin=-0.2, better="high").p_value == pytest.approx(better)
    assert tost(mean_estimate(-x), margin=0.2, better="low").p_value == pytest.approx(better)
    worse = distributions.ttest_1samp(x, 0.4, alternative="less").pvalue
    assert null_p_value(e, threshold=0.4, better="high") == pytest.approx(min(1, 2 * worse))
    assert null_p_value(mean_estimate(-x), threshold=-0.4, better="low") == pytest.approx(min(1, 2 * worse))
    assert null_p_value(e, threshold=0.4) == e.p_value


SYMMETRIC = st.tuples(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(2, 60), st.sampled_from([0.05, 0.1]))


def t_estimate(value: float, se: float, df: float, alpha: float, *, log_scale: bool = False) -> Estimate:
    half = float(distributions.t.ppf(1 - alpha / 2, df)) * se
    if not log_scale:
        return Estimate(estimate=value, ci_low=value - half, ci_high=value + half, standard_error=se, df=df)
    ratio = math.exp(value)
    low, high = math.exp(value - half), math.exp(value + half)
    return Estimate(estimate=ratio, ci_low=low, ci_high=high, standard_error=ratio * se, df=df)


@given(SYMMETRIC, st.sampled_from(["zero", "one", "high", "low"]))
def test_within_is_tost_at_half_of_alpha_and_exceeds_is_the_threshold_p_value_below_alpha(
    drawn: tuple[float, float, float, float], better: Better
) -> None:
    value, se, df, alpha = drawn
    e = t_estimate(value, se, df, alpha, log_scale=better == "one")
    limits = {
        "zero": {"threshold": 0.2, "margin": 0.1},
        "one": {"threshold": 0.8, "margin": 0.9},
        "high": {"threshold": 0.1, "margin": 0.2},
        "low": {"threshold": 0.2, "margin": 0.1},
    }[better]
    p_equivalence = tost(e, margin=limits["margin"], better=better).p_value
    p_null = null_p_value(e, threshold=limits["threshold"], better=better, alpha=alpha)
    p_harm = threshold_p_value(e, threshold=limits["threshold"], better=better, alpha=alpha)
    assume(abs(p_equivalence - alpha / 2) > 1e-9)
    assume(abs(p_harm - alpha) > 1e-9)
    decision = verdict(e, **limits, better=better, alpha=alpha)[0]
    assert (decision == Verdict.WITHIN) == (p_equivalence < alpha / 2)
    assert (decision == Verdict.EXCEEDS) == (p_harm < alpha)
    if better in ("high", "low"):
        assert p_null == p_harm
    elif better == "one":
        assert p_null == pytest.approx(2 * distributions.t.sf(abs(value) / se, df))


def test_without_a_standard_error_there_is_no_tost_and_the_given_p_value_stands() -> None:
    e = Estimate(estimate=0.5, ci_low=0.3, ci_high=0.7, p_value=0.02)
    assert math.isnan(tost(e, margin=0.9, better="one").p_value)
    for better in ("zero", "one", "high", "low"):
        assert null_p_value(e, threshold=0.8, better=better) == 0.02
    none = Estimate(estimate=0.0, ci_low=0.0, ci_high=0.4, standard_error=0.1, p_value=0.03)
    assert null_p_value(none, threshold=0.8, better="one") == 0.03  # 0 has no logarithm
    assert math.isnan(tost(none, margin=0.9, better="one").p_value)


@pytest.mark.parametrize("seed", range(3))
def test_the_p_value_at_the_threshold_is_the_t_test_of_a_moved_sample(seed: int) -> None:
    x, y = two_samples(seed)
    groups = ["a"] * 40 + ["b"] * 25
    gap = contrast_estimate(np.r_[x + 2, y], groups, {"a": 1.0, "b": -1.0})
    expected = distributions.ttest_ind(x + 2 - 0.5, y, equal_var=False).pvalue
    assert threshold_p_value(gap, threshold=0.5) == pytest.approx(expected)
    turned = contrast_estimate(np.r_[x + 2, y], groups, {"a": -1.0, "b": 1.0})
    assert threshold_p_value(turned, threshold=0.5) == pytest.approx(expected)
    assert threshold_p_value(gap, threshold=gap.estimate + 0.01) == 1


def test_without_an_interval_there_is_no_p_value_at_the_threshold() -> None:
    for e in (Estimate(estimate=0.4), Estimate.not_estimable("no rows")):
        assert math.isnan(threshold_p_value(e, threshold=0.1))


@given(st.integers(1, 80), st.floats(0, 1), st.sampled_from([0.05, 0.5, 0.9]), st.sampled_from([0.01, 0.05, 0.1]))
def test_a_rate_has_the_score_test_at_the_threshold(n: int, share: float, threshold: float, alpha: float) -> None:
    successes = round(share * n)
    better: Better = "high" if successes / n < threshold else "low"
    x = np.repeat([1.0, 0.0], [successes, n - successes])
    e, expected = mean_estimate(x, alpha=alpha), wilson(successes, n, null=threshold).p_value
    assume(n > 1)
    p = null_p_value(e, threshold=threshold, better=better, alpha=alpha)
    assert p == pytest.approx(expected)
    assert p == pytest.approx(mean_estimate(x, null=threshold, alpha=alpha).p_value)
    assume(abs(p - alpha) > 1e-9)
    beyond = e.ci_high < threshold if better == "high" else e.ci_low > threshold
    assert (p < alpha) == beyond


def test_a_score_p_value_beside_a_score_interval_by_hand() -> None:
    # 1 of 30 against .2: (1/30 - .2) / sqrt(.2 * .8 / 30) = -2.282, two-sided .0225
    e = mean_estimate(np.repeat([1.0, 0.0], [1, 29]))
    assert null_p_value(e, threshold=0.2, better="high") == pytest.approx(0.0225, abs=5e-5)


def test_clustered_rates_have_the_p_value_of_their_own_interval() -> None:
    x, cluster = np.repeat([1.0, 0.0, 1.0, 0.0], [3, 9, 2, 46]), np.repeat(np.arange(20), 3)
    e = mean_estimate(x, clusters=[cluster])
    expected = mean_estimate(x, clusters=[cluster], null=0.4).p_value
    assert null_p_value(e, threshold=0.4, better="high") == pytest.approx(expected)


@given(st.integers(5, 60), st.integers(5, 60), st.floats(0, 1), st.floats(0, 1))
def test_a_gap_of_rates_is_asked_for_its_own_p_value(n: int, m: int, share: float, other: float) -> None:
    a, c = round(share * n), round(other * m)
    x, groups = np.repeat([1.0, 0.0, 1.0, 0.0], [a, n - a, c, m - c]), np.repeat(["a", "b"], [n, m])

    def gap(null: float | None = None) -> Estimate:
        return contrast_estimate(x, groups, {"a": 1.0, "b": -1.0}, null=null)

    e = gap()
    p = p_value_beyond(0.2, gap, e)
    assume(abs(p - 0.05) > 1e-9)
    assert (p < 0.05) == (e.ci_low > 0.2 or e.ci_high < -0.2)
    if abs(e.estimate) <= 0.2:
        assert p == 1


def koopman(successes: int, n: int, c: int, m: int, ratio: float) -> float:
    """Pearson's statistic at a ratio, its rates fitted by searching for the most likely ones."""
    q = np.linspace(1e-6, 1 - 1e-6, 200_001)
    p = ratio * q
    likelihood = successes * np.log(p) + (n - successes) * np.log1p(-p) + c * np.log(q) + (m - c) * np.log1p(-q)
    q = q[np.argmax(likelihood)]
    p = ratio * q
    return (successes - n * p) ** 2 / (n * p * (1 - p)) + (c - m * q) ** 2 / (m * q * (1 - q))


@pytest.mark.parametrize(("n", "c", "m"), [(50, 25, 50), (20, 15, 20), (200, 20, 400)])
def test_a_ratio_of_zero_is_beyond_a_threshold_by_no_more_than_koopman_says(n: int, c: int, m: int) -> None:
    e = katz(0, n, c, m)
    p = threshold_p_value(e, threshold=0.8, better="one")
    assert distributions.chi2.sf(koopman(0, n, c, m, 0.8), 1) <= p < 0.05
    assert threshold_p_value(e, threshold=e.ci_high * 1.0001, better="one") == pytest.approx(0.05, rel=0.001)
