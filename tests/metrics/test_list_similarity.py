from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import jaccard_score

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.list_similarity import (
    SIMILARITIES,
    RankedLists,
    Similarity,
    exposure,
    jaccard,
    prag,
    rank_biased_overlap,
    serp,
    within_and_between,
)

LISTS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True), min_size=2, max_size=5)


def of(measure: Similarity, first: str, second: str) -> float:
    return float(measure(RankedLists.of([first, second]))[0, 1])


def test_coding_keeps_the_first_place_and_the_depth() -> None:
    lists = RankedLists.of([["x", "y", "x", "z"], ["z"]], depth=2)
    assert lists.ranks.tolist() == [[1, 2, np.inf], [np.inf, np.inf, 1]]
    assert lists.sizes.tolist() == [2, 1]


@given(LISTS)
def test_jaccard_is_that_of_scikit_learn(names: list[list[str]]) -> None:
    lists = RankedLists.of(names)
    found = jaccard(lists)
    for i, one in enumerate(lists.present):
        for k, other in enumerate(lists.present):
            assert found[i, k] == pytest.approx(jaccard_score(one, other))


@pytest.mark.parametrize(
    ("first", "second", "at_9", "at_5"),
    [  # extrapolated values of the package rbo 0.1.3 from PyPI, an implementation of the same paper
        ("abcde", "edcba", 0.7377750000000001, 0.15104166666666666),
        ("abcde", "acfbg", 0.647335, 0.7927083333333335),
        ("abcdefg", "badxf", 0.6780966428571429, 0.4225446428571428),
        ("ab", "abcde", 1.0, 1.0),
        ("abc", "xyz", 0.0, 0.0),
    ],
)
def test_rank_biased_overlap_against_another_implementation(first: str, second: str, at_9: float, at_5: float) -> None:
    lists = RankedLists.of([first, second])
    assert rank_biased_overlap(lists)[0, 1] == pytest.approx(at_9)
    assert rank_biased_overlap(lists, 0.5)[1, 0] == pytest.approx(at_5)


def test_serp_and_prag_by_hand() -> None:
    # common a, b, c at places 1, 2, 3 of five: (5 + 4 + 3) / 15
    assert of(serp, "abcde", "acfbg") == pytest.approx(12 / 15)
    # from the other side a, c, b at 1, 2, 4: (5 + 4 + 2) / 15
    assert of(serp, "acfbg", "abcde") == pytest.approx(11 / 15)
    # of the ten pairs of abcde, (b, c) is the other way round and of (d, e) the upper item is missing
    assert of(prag, "abcde", "acfbg") == pytest.approx(8 / 10)
    # acfbg: (a, any) 4 stand; (c, f) and (c, g) stand; (c, b) is reversed; f is missing: 2 fall; (b, g) stands
    assert of(prag, "acfbg", "abcde") == pytest.approx(7 / 10)
    assert np.isnan(of(prag, "a", "abc"))  # one item makes no pair


def test_serp_is_not_what_the_authors_code_gives() -> None:
    # their weights run from K + 1 down to 2, over 2 K (K + 1): 65 / 220 for equal lists of ten
    own = sum(10 - i + 1 for i in range(10)) * 0.5 / (10 * 11)
    assert own == pytest.approx(0.295, abs=1e-3)
    assert of(serp, "abcdefghij", "abcdefghij") == 1


@given(st.permutations("abcdefg"), st.permutations("abcdefg"))
def test_prag_of_the_same_items_is_kendalls_tau_on_another_scale(first: list[str], second: list[str]) -> None:
    tau = kendalltau([first.index(x) for x in "abcdefg"], [second.index(x) for x in "abcdefg"]).statistic
    assert prag(RankedLists.of([first, second]))[0, 1] == pytest.approx((1 + tau) / 2)


@pytest.mark.parametrize("name", SIMILARITIES)
@given(LISTS)
def test_every_similarity_lies_between_0_and_1_and_is_1_for_equal_lists(name: str, names: list[list[str]]) -> None:
    lists = RankedLists.of([*names, names[0]])
    found = SIMILARITIES[name](lists)
    known = found[np.isfinite(found)]
    assert (known >= -1e-12).all()
    assert (known <= 1 + 1e-12).all()
    if len(names[0]) > 1:
        assert found[0, -1] == pytest.approx(1)
    if name in ("jaccard", "rbo"):
        assert found == pytest.approx(found.T, nan_ok=True)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_an_empty_list_is_not_compared(name: str) -> None:
    found = SIMILARITIES[name](RankedLists.of(["ab", "", "ab"]))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == 1


def test_means_within_and_between_sources_by_hand() -> None:
    similarity = np.array([[9, 0.2, 0.4, 0.6], [0.2, 9, 0.5, 0.7], [0.4, 0.5, 9, 0.1], [0.6, 0.7, 0.1, 9]])
    found = within_and_between(similarity, np.array([0, 0, 1, 1]), 3)
    # within 0: 0.2; within 1: 0.1; between: (0.4 + 0.6 + 0.5 + 0.7) / 4; no list of source 2
    assert found[:2, :2] == pytest.approx(np.array([[0.2, 0.55], [0.55, 0.1]]))
    assert np.isnan(found[2]).all()


def test_without_an_effect_within_and_between_have_the_same_expectation() -> None:
    """Exchangeable lists: over all ways to call two of four lists neutral, both means average to the same number."""
    similarity = rank_biased_overlap(RankedLists.of(["abcd", "badc", "efab", "cghd"]))
    labels = sorted(set(permutations([0, 0, 1, 1])))
    means = np.mean([within_and_between(similarity, np.array(one), 2) for one in labels], axis=0)
    assert means == pytest.approx(np.full((2, 2), means[0, 0]))
    assert 0 < means[0, 0] < 0.7  # and it is not 1


def test_exposure_by_hand() -> None:
    # 1 / log2(2), 1 / log2(3), 1 / log2(4)
    assert exposure(np.array([1, 2, 3, np.inf])) == pytest.approx([1, 0.6309298, 0.5, 0])


def test_settings_out_of_range() -> None:
    with pytest.raises(SettingsError, match="depth is 0"):
        RankedLists.of(["ab"], depth=0)
    with pytest.raises(SettingsError, match=r"persistence is 1\.0"):
        rank_biased_overlap(RankedLists.of(["ab"]), 1.0)
