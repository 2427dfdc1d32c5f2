"""Where nothing changed at all: limits worked by hand, exact coverage, and what they leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.no_change import effective_clusters, no_event_limit, with_no_change_limits

GAP = {"a": 1.0, "b": -1.0}


def paired(change: np.ndarray, width: float, clusters: list[np.ndarray] | None = None) -> Estimate:
    together, ways = np.zeros(len(change)), clusters or []
    e = mean_estimate(change, clusters=ways, rates=False)
    return with_no_change_limits(e, change, together, {0: 1.0}, scores=(0.0, width), clusters=ways)


@given(st.integers(1, 5000), st.sampled_from([0.01, 0.05, 0.1]))
def test_the_limit_is_clopper_and_pearsons(n: int, alpha: float) -> None:
    _, high = proportion_confint(0, n, alpha=alpha, method="beta")
    assert no_event_limit(n, alpha=alpha) == pytest.approx(high, rel=1e-9)


def test_the_rule_of_three() -> None:
    # one-sided 95 % is two-sided 90 %; Hanley & Lippman-Hand 1983: 3 / n
    assert no_event_limit(1000, alpha=0.1) == pytest.approx(3 / 1000, rel=0.01)


def test_pairs_by_hand() -> None:
    # 20 pairs, scores from -1 to 1: u = 1 - .025 ** (1/20) = 1 - e ** (-3.688879 / 20) = .168433; 2 u = .336866
    e = with_no_change_limits(
        mean_estimate(np.zeros(20), rates=False), np.zeros(20), np.zeros(20), {0: 1.0}, scores=(-1, 1)
    )
    assert (e.estimate, e.p_value, e.n) == (0.0, 1.0, 20)
    assert (e.ci_low, e.ci_high) == (pytest.approx(-0.336866, abs=1e-6), pytest.approx(0.336866, abs=1e-6))
    assert "20 independent clusters" in e.reason


def test_clusters_count_and_not_rows() -> None:
    topic = np.repeat(np.arange(10), 50)
    # u = 1 - .025 ** (1/10) = 1 - e ** -.3688879 = .308498
    assert paired(np.zeros(500), 1.0, [topic]).ci_high == pytest.approx(0.308498, abs=1e-6)
    # sizes 3, 1, 1, 1: 36 / 12 = 3 clusters count; u = 1 - .025 ** (1/3) = 1 - .292402
    uneven = np.array([0, 0, 0, 1, 2, 3])
    assert effective_clusters(np.zeros(6), {0: 1.0}, values=np.zeros(6), clusters=[uneven]) == pytest.approx(3)
    assert paired(np.zeros(6), 1.0, [uneven]).ci_high == pytest.approx(0.707598, abs=1e-6)


def test_of_groups_and_of_clusterings_the_smallest_counts() -> None:
    groups = np.repeat(["a", "b"], [40, 10])
    e = contrast_estimate(np.full(50, 0.3), groups, GAP, rates=False)
    bounded = with_no_change_limits(e, np.full(50, 0.3), groups, GAP, scores=(0, 1))
    assert math.isnan(e.ci_low)
    assert bounded.ci_high == pytest.approx(0.308498, abs=1e-6)  # ten of group b
    name, scenario = np.tile(np.arange(20), 5), np.repeat(np.arange(5), 20)
    values = np.zeros(100)
    assert effective_clusters(np.zeros(100), {0: 1.0}, values=values, clusters=[name, scenario]) == 5
    values[:20] = np.nan  # a scenario without answers
    assert effective_clusters(np.zeros(100), {0: 1.0}, values=values, clusters=[name, scenario]) == 4


def test_answers_that_differ_by_scenario_and_not_by_group() -> None:
    scenario, groups = np.tile(np.arange(12), 2), np.repeat(["a", "b"], 12)
    scores = np.tile(np.linspace(-1, 1, 12), 2)
    e = contrast_estimate(scores, groups, GAP, clusters=[scenario], rates=False)
    bounded = with_no_change_limits(e, scores, groups, GAP, scores=(-1, 1), clusters=[scenario])
    assert math.isnan(e.ci_low)
    assert bounded.ci_high == pytest.approx(2 * no_event_limit(12))


def test_against_the_mean_of_others_the_reach_is_that_of_two_groups() -> None:
    groups = np.repeat(["a", "b", "c"], 10)
    coefficients = {"a": 1.0, "b": -0.5, "c": -0.5}
    e = contrast_estimate(np.zeros(30), groups, coefficients, rates=False)
    bounded = with_no_change_limits(e, np.zeros(30), groups, coefficients, scores=(0, 1))
    assert bounded.ci_high == pytest.approx(0.308498, abs=1e-6)


def test_what_is_left_alone() -> None:
    varied = mean_estimate(np.array([0.0, 1, 0, -1, 0, 0]), rates=False)
    everywhere = mean_estimate(np.full(8, 0.2), rates=False)  # a change, the same in all
    nothing = Estimate.not_estimable("no answers")
    one_cluster = mean_estimate(np.zeros(8), clusters=[np.zeros(8)], rates=False)
    for e, n in ((varied, 6), (everywhere, 8), (one_cluster, 8)):
        assert with_no_change_limits(e, np.zeros(n), np.zeros(n), {0: 1.0}, scores=(0, 1)) == e
    assert math.isnan(with_no_change_limits(nothing, [], [], {0: 1.0}, scores=(0, 1)).ci_low)
    still = mean_estimate(np.zeros(8), rates=False)
    unbounded = with_no_change_limits(still, np.zeros(8), np.zeros(8), {0: 1.0}, scores=(-math.inf, math.inf))
    assert math.isnan(unbounded.ci_low)
    with pytest.raises(SettingsError, match="n above 0"):
        no_event_limit(0)


@pytest.mark.parametrize("sizes", [np.full(30, 6), np.arange(1, 31)], ids=["even", "uneven"])
@pytest.mark.parametrize("chance", [0.02, 0.08, 0.12, 0.125, 0.2])
def test_a_model_that_changes_rarely_is_missed_as_rarely_as_promised(chance: float, sizes: np.ndarray) -> None:
    """The worst that a change can be: the whole range, always down, in all prompts of a scenario at once.

    The limits miss where no scenario happens to change though the gap, ``chance``, lies beyond them; for thirty even
    scenarios they reach .1157, and the chance of none is .025 there, .018 at .125 and .0012 at .2.
    """
    rng = np.random.default_rng(7)
    topic = np.repeat(np.arange(30), sizes)
    still = paired(np.zeros(len(topic)), 1.0, [topic])
    none_changed = ~(rng.random((4000, 30)) < chance).any(axis=1)
    missed = none_changed.mean() if chance > still.ci_high else 0.0
    assert missed <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 4000)
    if len(set(sizes)) == 1:
        assert still.ci_high == pytest.approx(0.1157, abs=1e-4)  # 1 - .025 ** (1/30)
    else:
        assert still.ci_high > 0.1157  # fewer clusters count
