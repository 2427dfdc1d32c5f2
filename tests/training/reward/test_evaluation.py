from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.reward.evaluation import (
    correlation,
    noise_ceiling,
    preference_accuracy,
    split_by_key,
    within_source_correlation,
)


@given(st.lists(st.sampled_from([f"text {n}" for n in range(30)]), min_size=1), st.integers(0, 5))
def test_equal_texts_share_a_side(keys: list[str], seed: int) -> None:
    side = split_by_key(keys, validation=0.2, test=0.3, seed=seed)
    assert len({(key, part) for key, part in zip(keys, side, strict=True)}) == len(set(keys))


def test_split_has_the_asked_shares() -> None:
    side = split_by_key([str(n) for n in range(1000)], validation=0.1, test=0.2, seed=0)
    assert [int((side == part).sum()) for part in ("train", "validation", "test")] == [700, 100, 200]


def test_interval_of_a_correlation_agrees_with_fisher() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(400)
    y = 0.6 * x + 0.8 * rng.standard_normal(400)
    found = correlation(x, y)
    # normal data: z = atanh r has standard error 1/sqrt(n - 3)
    z, half = math.atanh(found.estimate), 1.96 / math.sqrt(397)
    assert found.ci_low == pytest.approx(math.tanh(z - half), abs=0.02)
    assert found.ci_high == pytest.approx(math.tanh(z + half), abs=0.02)


def test_a_constant_has_no_correlation() -> None:
    for value in (1.0, 0.1):  # the mean of equal tenths is not always a tenth, so their SD is not always 0
        found = correlation([value] * 30, np.arange(30))
        assert math.isnan(found.estimate)
        assert found.reason


def test_within_sources_by_hand() -> None:
    x, y = [1, 2, 3, 4, 11, 12, 13, 14], [1, 2, 3, 4, -2, -3, -1, -4]
    source = ["a"] * 4 + ["b"] * 4
    found = within_source_correlation(x, y, source)
    # a: r = 1. b: deviations -1.5 -.5 .5 1.5 and .5 -.5 1.5 -1.5 have products -.75 .25 .75 -2.25, so r = -2/5.
    assert found.estimate == pytest.approx((1 - 0.4) / 2)
    assert found.n == 8


def test_a_difference_between_sources_is_no_skill_within_them() -> None:
    rng = np.random.default_rng(0)
    source = np.repeat(["a", "b"], 500)
    level = np.where(source == "a", 0.0, 5.0)
    x, y = level + rng.standard_normal(1000), level + rng.standard_normal(1000)
    assert correlation(x, y).estimate > 0.8
    within = within_source_correlation(x, y, source)
    assert within.ci_low < 0 < within.ci_high


@given(st.floats(0.1, 10), st.floats(-10, 10), st.floats(0.1, 10), st.floats(-10, 10))
def test_within_sources_the_scale_of_each_is_free(a: float, b: float, c: float, d: float) -> None:
    rng = np.random.default_rng(0)
    source = np.repeat(["a", "b"], 50)
    x, y = rng.standard_normal((2, 100))
    moved = np.where(source == "a", a * x + b, c * x + d)
    one, other = (within_source_correlation(v, y, source) for v in (x, moved))
    assert (one.estimate, one.ci_low) == (pytest.approx(other.estimate), pytest.approx(other.ci_low))


def test_of_one_source_it_is_the_plain_correlation() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(300)
    y = x + rng.standard_normal(300)
    within, plain = within_source_correlation(x, y, ["a"] * 300), correlation(x, y)
    assert within.estimate == pytest.approx(plain.estimate)
    assert (within.ci_low, within.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), abs=0.02)


def test_a_source_of_one_rating_leaves_nothing_to_average() -> None:
    found = within_source_correlation([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 0, 0, 0, 0], [*"aaaabbbb"])
    assert math.isnan(found.estimate)
    assert "'b'" in found.reason


def test_accuracy_leaves_ties_out() -> None:
    found = preference_accuracy([1, -1, 2, 0.5], [1, 1, 0.5, 0.8], list("abcd"))
    assert (found.estimate, found.n) == (pytest.approx(2 / 3), 3)


def test_a_constant_reward_is_a_coin_whichever_side_is_the_better() -> None:
    for p_a in ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.9, 0.5]):
        found = preference_accuracy([0.0] * 4, p_a, list("abcd"))
        assert found.estimate == 0.5
    # equal, right, wrong, right: (.5 + 1 + 0 + 1) / 4
    found = preference_accuracy([0.0, 1.0, 1.0, -1.0], [1, 1, 0, 0], list("abcd"))
    assert found.estimate == pytest.approx(0.625)


def ratings(reliable: float, n_items: int = 4000, raters: int = 6) -> pd.DataFrame:
    """Each rating is a true value plus noise; ``reliable`` is the true values' share of one rating's variance."""
    rng = np.random.default_rng(1)
    item = np.repeat(np.arange(n_items), raters)
    truth = rng.standard_normal(n_items) * math.sqrt(reliable)
    value = truth[item] + rng.standard_normal(len(item)) * math.sqrt(1 - reliable)
    return pd.DataFrame({"item_id": item.astype(str), "value": value, "weight": 1.0})


@pytest.mark.parametrize("reliable", [0.2, 0.5])
def test_ceiling_is_the_root_of_the_reliability_of_the_mean(reliable: float) -> None:
    # Spearman-Brown for the mean of 6 raters: 6 r / (1 + 5 r)
    expected = math.sqrt(6 * reliable / (1 + 5 * reliable))
    assert noise_ceiling(ratings(reliable), rng=np.random.default_rng(0), repeats=10) == pytest.approx(
        expected, abs=0.01
    )


def test_pure_noise_has_a_ceiling_near_zero_and_one_rater_each_has_none() -> None:
    assert noise_ceiling(ratings(0.0), rng=np.random.default_rng(0), repeats=10) < 0.2
    assert math.isnan(noise_ceiling(ratings(0.5, raters=1), rng=np.random.default_rng(0)))
