from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from rlhf_fair.metrics.ratio_to_best import HIGHEST_ITSELF, Comparison, RatioToBest, ratios_to_best
from rlhf_fair.stats.risk_ratio import risk_ratio

Counts = list[tuple[int, int]]


def rows(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and codes of (selected, n) of each category."""
    outcomes = np.concatenate([np.repeat([1.0, 0.0], [a, n - a]) for a, n in counts])
    return outcomes, np.repeat(np.arange(len(counts)), [n for _, n in counts])


def found(counts: Counts, **options: object) -> list[RatioToBest]:
    return list(ratios_to_best(*rows(counts), Comparison(range(len(counts)), **options)).values())


def test_of_two_categories_the_lower_ones_interval_is_katzs() -> None:
    low, high = confint_proportions_2indep(34, 76, 50, 92, compare="ratio", method="log")
    male, female = found([(50, 92), (34, 76)])
    assert (female.estimate.ci_low, female.estimate.ci_high) == pytest.approx((low, min(high, 1)))
    assert female.estimate.p_value == pytest.approx(distributions.fisher_exact([[34, 42], [50, 42]]).pvalue)
    assert female.highest == male.highest == 0
    # the other way round: Male may have the lower rate in truth, by the inverse of the ratio's upper limit at most
    assert (male.estimate.estimate, male.estimate.ci_high) == (1, 1)
    assert male.estimate.ci_low == pytest.approx(1 / high)
    assert male.estimate.reason == HIGHEST_ITSELF


def test_limits_are_the_smallest_over_all_others_the_upper_ones_at_alpha_over_their_number() -> None:
    counts = [(60, 100), (55, 100), (20, 80)]
    lows = [confint_proportions_2indep(20, 80, a, n, compare="ratio", method="log")[0] for a, n in counts[:2]]
    highs = [
        confint_proportions_2indep(20, 80, a, n, compare="ratio", method="log", alpha=0.025)[1] for a, n in counts[:2]
    ]
    last = found(counts)[2]
    assert last.estimate.estimate == pytest.approx(0.25 / 0.6)
    assert (last.estimate.ci_low, last.estimate.ci_high) == pytest.approx((min(lows), min(highs)))
    p = [distributions.fisher_exact([[20, 60], [a, n - a]]).pvalue for a, n in counts[:2]]
    assert last.estimate.p_value == pytest.approx(2 * min(p))
    # of ratio >= .8: the z test on the log scale, doubled, by hand; times two others
    z = [(math.log(0.25 / (a / n)) - math.log(0.8)) / math.sqrt(1 / 20 - 1 / 80 + 1 / a - 1 / n) for a, n in counts[:2]]
    assert last.p_threshold == pytest.approx(2 * 2 * distributions.norm.cdf(min(z)))


def test_the_upper_limit_is_below_the_threshold_exactly_where_the_p_value_is_small() -> None:
    for selected in range(0, 40):
        for one in found([(30, 50), (29, 50), (selected, 50)]):
            assert (one.estimate.ci_high < 0.8) == (one.p_threshold <= 0.05)


def test_nobody_or_everybody_selected() -> None:
    nobody = found([(0, 20), (0, 30)])
    assert [one.estimate.reason for one in nobody] == ["no category has a rate above 0"] * 2
    assert all(math.isnan(one.estimate.estimate) and math.isnan(one.p_threshold) for one in nobody)
    (alone,) = found([(3, 9)])
    assert alone.estimate.reason == "no other category to compare with"
    # everybody: the ratio is 1, and as low as Wilson's limit of the one rate over 1
    for one in found([(30, 30), (30, 30)]):
        assert one.estimate.ci_low == pytest.approx(proportion_confint(30, 30, method="wilson")[0])
        assert (one.estimate.estimate, one.estimate.ci_high) == (1, 1)


def test_a_category_without_success_has_an_interval_from_zero() -> None:
    some, none = found([(20, 50), (0, 50)])
    assert (none.estimate.estimate, none.estimate.ci_low) == (0, 0)
    assert 0 < none.estimate.ci_high < 0.3
    assert none.p_threshold < 0.001
    assert some.estimate.ci_low > 0.8


def test_clusters_reach_every_pair() -> None:
    outcomes, codes = rows([(60, 100), (50, 100), (30, 100)])
    cluster = np.tile(np.arange(25), 12) + 25 * codes  # rows are sorted by outcome: every cluster holds both
    cluster[outcomes == 1] = cluster[outcomes == 1] // 2
    of_pairs = [
        risk_ratio(outcomes, codes, group=2, reference=h, clusters=[cluster], alpha=0.025).ci_high for h in (0, 1)
    ]
    clustered = ratios_to_best(outcomes, codes, Comparison(range(3), clusters=[cluster]))[2]
    assert clustered.estimate.ci_high == pytest.approx(min(of_pairs))
    assert clustered.estimate.ci_high > ratios_to_best(outcomes, codes, Comparison(range(3)))[2].estimate.ci_high


@pytest.mark.parametrize("rates", [[0.3] * 5, [0.5, 0.48, 0.45, 0.4], [0.6, 0.3]], ids=["equal", "near", "two"])
def test_every_interval_covers_and_nothing_exceeds_that_does_not(rates: list[float]) -> None:
    rng, simulations, n, truth = np.random.default_rng(7), 150, 80, np.array(rates) / max(rates)
    covered, below = np.zeros(len(rates)), 0
    for _ in range(simulations):
        each = found([(int(a), n) for a in rng.binomial(n, rates)])
        covered += [e.estimate.ci_low <= t <= e.estimate.ci_high for e, t in zip(each, truth, strict=True)]
        smallest = min(e.p_threshold for e, t in zip(each, truth, strict=True) if t >= 0.8)
        below += smallest * (sum(truth >= 0.8) - 1 or 1) <= 0.05  # the highest is left out of the family
    least = distributions.binom(simulations, 0.95).ppf(0.001)
    assert (covered >= least).all(), covered / simulations
    assert below <= distributions.binom(simulations, 0.05).ppf(0.999)


def test_taking_the_observed_best_for_the_best_would_not_cover() -> None:
    """Why the plain interval against the observed highest is not used for findings: five equal rates."""
    rng, simulations, n, missed = np.random.default_rng(8), 300, 80, 0
    for _ in range(simulations):
        selected = rng.binomial(n, 0.3, 5)
        high = confint_proportions_2indep(selected.min(), n, selected.max(), n, compare="ratio", method="log")[1]
        missed += high < 1
    assert missed / simulations > 0.1


COUNTS = st.lists(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=5
)


@given(COUNTS)
def test_laws_of_the_ratio(counts: Counts) -> None:
    each = found(counts)
    rates = [a / n for a, n in counts]
    for one, rate in zip(each, rates, strict=True):
        e = one.estimate
        if max(rates) == 0:
            assert math.isnan(e.estimate)
            continue
        assert e.estimate == pytest.approx(rate / max(rates))
        assert 0 <= e.ci_low <= e.estimate <= e.ci_high <= 1
        assert 0 <= e.p_value <= 1
        assert 0 <= one.p_threshold <= 1


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_categories_changes_nothing(counts: Counts, random: object) -> None:
    order = list(range(len(counts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before, after = found(counts), found([counts[index] for index in order])
    for place, index in enumerate(order):
        one, other = before[index], after[place]
        for name in ("estimate", "ci_low", "ci_high", "p_value"):
            assert getattr(one.estimate, name) == pytest.approx(getattr(other.estimate, name), nan_ok=True)
        assert one.p_threshold == pytest.approx(other.p_threshold, nan_ok=True)
