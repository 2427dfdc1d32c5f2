from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.representation import (
    demographic_representation,
    expected_total_variation,
    stereotypical_association,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def one_word_texts(counts: list[int]) -> pd.DataFrame:
    """A text of one term for every count of every group."""
    return pd.DataFrame(np.repeat(np.eye(len(counts)), counts, axis=0), columns=[f"g{i}" for i in range(len(counts))])


def test_shares_and_total_variation_by_hand() -> None:
    # 7, 2 and 1 of 10: |.7 - 1/3| + |.2 - 1/3| + |.1 - 1/3| = .7333, half of it .3667
    result = demographic_representation(one_word_texts([7, 2, 1]), rng=rng())
    assert result.total_variation.plug_in == pytest.approx(0.3667, abs=1e-4)
    assert [e.estimate for e in result.shares.values()] == pytest.approx([0.7, 0.2, 0.1])
    # 7 of 10 independent words: standard error sqrt(.7 · .3/9), as of any mean
    assert result.shares["g0"].standard_error == pytest.approx(math.sqrt(0.21 / 9))
    assert result.counts == {"g0": 7, "g1": 2, "g2": 1}
    given_target = demographic_representation(
        one_word_texts([7, 2, 1]), target={"g2": 0.1, "g0": 0.7, "g1": 0.2}, rng=rng()
    )
    assert given_target.total_variation.plug_in == pytest.approx(0)
    assert given_target.total_variation.corrected.p_value == 1


def test_share_is_a_ratio_of_sums_clustered_by_text() -> None:
    # Shares 4/6, not the mean of 1, 0 and 1/3 over texts. Deviations c - n·2/3: 1, -2/3, -1/3; totals 3, 1, 2 of 6.
    counts = pd.DataFrame({"a": [3.0, 0.0, 1.0], "b": [0.0, 1.0, 1.0]})
    share = demographic_representation(counts, rng=rng()).shares["a"]
    assert share.estimate == pytest.approx(4 / 6)
    # Jackknife: leaving out text 1, 2 or 3 the share is 1/3, 4/5, 3/4; squared distances to 2/3 times (3 - 1)/3.
    squares = (1 / 3 - 2 / 3) ** 2 + (4 / 5 - 2 / 3) ** 2 + (3 / 4 - 2 / 3) ** 2
    assert share.standard_error == pytest.approx(math.sqrt(2 / 3 * squares))


@pytest.mark.parametrize(("n", "target"), [(1, (0.5, 0.5)), (4, (0.5, 0.5)), (5, (0.2, 0.3, 0.5)), (6, (1 / 3,) * 3)])
def test_expected_total_variation_is_the_enumerated_one(n: int, target: tuple[float, ...]) -> None:
    exact = 0.0
    for counts in product(range(n + 1), repeat=len(target)):
        if sum(counts) == n:
            distance = 0.5 * sum(abs(c / n - t) for c, t in zip(counts, target, strict=True))
            exact += float(distributions.multinomial.pmf(counts, n, target)) * distance
    assert expected_total_variation(n, np.array(target)) == pytest.approx(exact)


def test_design_effect_of_independent_words_and_of_repeated_ones() -> None:
    single = one_word_texts([30, 20])
    # s² / (n - 1) over s² / n: 50/49
    assert demographic_representation(single, rng=rng()).design_effect == pytest.approx(50 / 49)
    # every word said five times: five times the variance
    assert demographic_representation(single * 5, rng=rng()).design_effect == pytest.approx(5 * 50 / 49)
    together = demographic_representation(single, clusters=[np.arange(50) // 2], rng=rng())
    assert together.design_effect == pytest.approx(2 * 25 / 24, rel=0.1)


@pytest.mark.parametrize("texts", [25, 100])
@pytest.mark.parametrize("groups", [2, 4])
def test_at_equal_shares_the_plug_in_is_biased_and_the_corrected_is_not(texts: int, groups: int) -> None:
    draw = np.random.default_rng(texts + groups)
    found = []
    for _ in range(300):
        # about four words a text, whose shares differ between texts around equal ones
        shares = draw.dirichlet(np.full(groups, 4.0), texts)
        counts = np.array([draw.multinomial(n, p) for n, p in zip(1 + draw.poisson(3, texts), shares, strict=True)])
        tv = demographic_representation(pd.DataFrame(counts.astype(float)), rng=draw).total_variation
        found.append((tv.plug_in, tv.corrected.estimate, tv.corrected.p_value < 0.05, tv.corrected.ci_low == 0))
    plug_in, corrected, rejected, covered = np.array(found, dtype=float).T
    error = corrected.std() / math.sqrt(300)
    assert plug_in.mean() > 8 * error
    assert abs(corrected.mean()) < 3 * error
    assert rejected.mean() < 0.09  # 5 % of 300, three standard errors above
    assert covered.mean() > 0.92


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_interval_covers_the_true_distance(shift: float) -> None:
    draw = np.random.default_rng(9)
    p = np.array([1 / 3 + shift, 1 / 3, 1 / 3 - shift])
    hits = 0
    for _ in range(200):
        counts = pd.DataFrame(draw.multinomial(3, p, 40).astype(float))
        e = demographic_representation(counts, rng=draw).total_variation.corrected
        hits += e.ci_low <= shift <= e.ci_high
    assert hits / 200 > 0.91  # at least 95 %; three standard errors below


@given(st.lists(st.integers(0, 12), min_size=2, max_size=5).filter(lambda c: sum(c) > 2))
def test_range_and_order_of_groups(counts: list[int]) -> None:
    one = demographic_representation(one_word_texts(counts), rng=rng())
    other = demographic_representation(one_word_texts(counts[::-1]), rng=rng())
    tv = one.total_variation
    assert 0 <= tv.plug_in <= 1 - 1 / len(counts) + 1e-12
    assert tv.corrected.estimate <= tv.plug_in + 1e-12
    assert 0 <= tv.corrected.ci_low <= tv.plug_in <= tv.corrected.ci_high
    assert tv.plug_in == pytest.approx(other.total_variation.plug_in)
    assert tv.corrected.estimate == pytest.approx(other.total_variation.corrected.estimate)


def test_texts_are_counted() -> None:
    counts = pd.DataFrame({"a": [1, 0, np.nan, 2, 0], "b": [0, 0, np.nan, 1, 3]})
    result = demographic_representation(counts, rng=rng())
    assert (result.n_with_terms, result.n_without_terms, result.n_missing) == (3, 1, 1)
    nothing = demographic_representation(pd.DataFrame({"a": [0, 0], "b": [0, 0]}), rng=rng())
    assert "no group terms" in nothing.total_variation.corrected.reason
    assert "no group terms" in nothing.shares["a"].reason
    one_text = demographic_representation(pd.DataFrame({"a": [3], "b": [1]}), rng=rng())
    assert one_text.total_variation.plug_in == pytest.approx(0.25)
    assert math.isnan(one_text.total_variation.corrected.ci_low)
    assert one_text.total_variation.corrected.reason


def test_a_group_never_mentioned_is_not_taken_for_certain() -> None:
    tv = demographic_representation(one_word_texts([3, 0]), rng=rng()).total_variation
    assert tv.plug_in == 0.5
    assert tv.corrected.p_value > 0.1  # 2 of 8 patterns are as extreme
    assert tv.corrected.ci_low < 0.2


def test_association_averages_over_words_by_hand() -> None:
    # nurse: texts 0 1, terms a 3, b 1: TV 1/4. doctor: texts 1 2 3, a 2, b 4: TV 1/6. Average 5/24. pilot: one text.
    counts = pd.DataFrame({"a": [2.0, 1, 1, 0, 1], "b": [0.0, 1, 1, 2, 0]})
    words = pd.DataFrame({"nurse": [1, 2, 0, 0, 0], "doctor": [0, 1, 1, 1, 0], "pilot": [0, 0, 0, 0, 1]})
    result = stereotypical_association(counts, words, rng=rng())
    assert result.plug_in == pytest.approx({"nurse": 1 / 4, "doctor": 1 / 6})
    assert result.average.plug_in == pytest.approx(5 / 24)
    assert result.counts == {"nurse": 4, "doctor": 6}
    assert result.left_out == ("pilot",)


def test_association_is_found_where_planted_and_only_there() -> None:
    draw = np.random.default_rng(3)
    word = draw.integers(0, 6, 600)
    words = pd.DataFrame(np.eye(6)[word], columns=list("uvwxyz"))
    planted = []
    for tilt in (0.0, 0.3):
        # words u, v, w lean to a; x, y, z lean to b: each TV is the tilt
        share = np.where(word < 3, 0.5 + tilt, 0.5 - tilt)
        a = draw.binomial(2, share)
        counts = pd.DataFrame({"a": a, "b": 2 - a}).astype(float)
        planted.append(stereotypical_association(counts, words, rng=draw).average)
        assert planted[-1].corrected.ci_low <= tilt <= planted[-1].corrected.ci_high
    assert planted[0].corrected.p_value > 0.01 > planted[1].corrected.p_value
    assert planted[0].plug_in > 0.02 > abs(planted[0].corrected.estimate)
    assert planted[1].corrected.estimate == pytest.approx(0.3, abs=0.06)


def test_association_beyond_the_overall_shares() -> None:
    counts = pd.DataFrame({"a": [3.0] * 8 + [0.0] * 2, "b": [1.0] * 8 + [4.0] * 2})
    words = pd.DataFrame({"x": [1, 1, 1, 1, 0, 0, 0, 0, 1, 0], "y": [0, 0, 0, 0, 1, 1, 1, 1, 0, 1]})
    overall = {"a": 0.6, "b": 0.4}
    assert stereotypical_association(counts, words, rng=rng()).average.plug_in == pytest.approx(0.1)
    assert stereotypical_association(counts, words, target=overall, rng=rng()).average.plug_in == pytest.approx(0)


def test_no_word_with_two_texts_says_so() -> None:
    counts = pd.DataFrame({"a": [1.0, 1], "b": [0.0, 1]})
    result = stereotypical_association(counts, pd.DataFrame({"x": [1, 0]}), rng=rng())
    assert "no target word" in result.average.corrected.reason
    assert result.left_out == ("x",)


def test_faults_are_named() -> None:
    counts = one_word_texts([2, 2])
    with pytest.raises(SettingsError, match="sum to 1"):
        demographic_representation(counts, target={"g0": 0.5, "g1": 0.6}, rng=rng())
    with pytest.raises(SettingsError, match=r"target names \['g0'\]"):
        demographic_representation(counts, target={"g0": 1.0}, rng=rng())
    with pytest.raises(SettingsError, match="needs two or more"):
        demographic_representation(counts[["g0"]], rng=rng())
    with pytest.raises(RowError, match="negative"):
        demographic_representation(-counts, rng=rng())
    with pytest.raises(RowError, match="words has 1 rows, counts 4"):
        stereotypical_association(counts, pd.DataFrame({"x": [1]}), rng=rng())
