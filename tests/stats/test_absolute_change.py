from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlhf_fair.records import Estimate
from rlhf_fair.stats.absolute_change import absolute_change, growth_p_value, size_change
from rlhf_fair.stats.intervals import t_interval

NUMBERS = st.floats(-10, 10).map(lambda x: round(x, 3))


@given(NUMBERS, NUMBERS)
def test_it_is_the_change_of_the_absolute_value(a, b):
    assert size_change(b - a, b + a) == pytest.approx(abs(b) - abs(a), abs=1e-9)


def test_where_the_side_is_known_the_interval_is_that_of_the_difference_turned():
    # a gap of -0.50 shrinks to -0.30: the change is +0.2 [0.1, 0.3], and the size falls by as much
    difference, total = t_interval(0.2, 0.05, math.inf), t_interval(-0.8, 0.05, math.inf)
    e = absolute_change(difference, total)
    assert (e.estimate, e.ci_low, e.ci_high) == pytest.approx((-0.2, -difference.ci_high, -difference.ci_low))
    assert e.p_value == pytest.approx(difference.p_value)


def test_a_sure_change_between_gaps_of_unknown_side_says_nothing_of_their_size():
    difference, total = t_interval(0.05, 0.005, math.inf), t_interval(-0.05, 0.1, math.inf)
    e = absolute_change(difference, total)
    assert difference.p_value < 0.001
    assert e.ci_low < 0 < e.ci_high
    assert e.p_value == pytest.approx(total.p_value)


@given(NUMBERS, NUMBERS, st.floats(0.01, 5), st.floats(0.01, 5))
def test_interval_and_p_value_agree_and_the_swap_turns_the_sign(d, s, error_d, error_s):
    difference, total = t_interval(d, error_d, 20), t_interval(s, error_s, 20)
    e = absolute_change(difference, total)
    assert e.ci_low <= e.estimate <= e.ci_high
    assume(abs(e.p_value - 0.05) > 1e-6)
    assert (e.p_value < 0.05) == (e.ci_low > 0 or e.ci_high < 0)
    swapped = absolute_change(t_interval(-d, error_d, 20), total)
    assert (swapped.estimate, swapped.ci_low, swapped.ci_high) == pytest.approx((-e.estimate, -e.ci_high, -e.ci_low))


@given(NUMBERS, NUMBERS, st.floats(0.01, 5), st.floats(0.01, 5), st.floats(0, 3))
def test_growth_beyond_a_margin_is_shown_exactly_where_the_interval_lies_beyond(d, s, error_d, error_s, margin):
    difference, total = t_interval(d, error_d, 20), t_interval(s, error_s, 20)
    p = growth_p_value(difference, total, margin=margin, alpha=0.05)
    assume(abs(p - 0.05) > 1e-6)
    assert (p < 0.05) == (absolute_change(difference, total).ci_low > margin)


def test_the_interval_covers_where_the_side_is_open():
    # a = 0 or 0.1, b = 0.1 or 0.2, each measured with a standard error of 0.1 and a correlation of 0.6
    rng = np.random.default_rng(0)
    for a, b in ((0.0, 0.0), (0.0, 0.1), (0.1, 0.2)):
        drawn = rng.multivariate_normal([a, b], 0.01 * np.array([[1, 0.6], [0.6, 1]]), size=4000)
        errors = 0.1 * math.sqrt(2 * 0.4), 0.1 * math.sqrt(2 * 1.6)
        hits = 0
        for x, y in drawn.tolist():
            e = absolute_change(t_interval(y - x, errors[0], math.inf), t_interval(y + x, errors[1], math.inf))
            hits += e.ci_low <= abs(b) - abs(a) <= e.ci_high
        assert hits / 4000 > 0.94  # three standard errors of 0.0034 below 0.95


def test_without_an_interval_there_is_none():
    flat = Estimate(estimate=0.0, reason="the same whichever clusters are left out")
    e = absolute_change(flat, t_interval(1.0, 0.1, 20))
    assert (e.estimate, e.reason) == (0, flat.reason)
    assert math.isnan(e.ci_low)
    assert math.isnan(e.p_value)
    assert math.isnan(growth_p_value(flat, flat, margin=0.1, alpha=0.05))
