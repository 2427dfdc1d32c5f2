"""Disagreement within groups and between them: by hand, against the analysis of variance, and its laws."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.agreement import krippendorff_alpha
from rlhf_fair.stats.group_disagreement import (
    chance_distances,
    disagreement_share,
    furthest_pairs,
    item_disagreement,
)
from rlhf_fair.stats.item_splits import Draws, split_p_value
from rlhf_fair.stats.rating_counts import RatingCounts

NOMINAL = 1 - np.eye(3)
SQUARES = (np.arange(5)[:, None] - np.arange(5)[None, :]) ** 2.0


def counts_of(*groups: list[int], values: int = 5) -> np.ndarray:
    """(G, V, 1) of one item."""
    return np.array([np.bincount(group, minlength=values) for group in groups], dtype=float)[:, :, None]


def crowd(seed: int, items: int = 30, raters: int = 24, shift: float = 0.0, mood: float = 0.7) -> RatingCounts:
    """Three groups; group ``c`` is moved by ``shift`` on the first item."""
    rng = np.random.default_rng(seed)
    item, rater = (axis.ravel() for axis in np.indices((items, raters)))
    group = np.array(list("abc"))[np.arange(raters) % 3]
    latent = rng.normal(0, 1, items)[item] + rng.normal(0, mood, raters)[rater] + rng.normal(0, 1, len(item))
    latent += shift * ((group[rater] == "c") & (item == 0))
    value = np.clip(np.round(latent + 2), 0, 4)
    kept = rng.random(len(item)) < 0.8
    return RatingCounts.of(item[kept], rater[kept], value[kept], group[rater][kept])


def test_by_hand() -> None:
    # x says 0 0 1, y says 1 1; squared distances. Inside x: pairs 00, 01, 01, so 2/3; inside y: 0.
    # across: 6 pairs, 4 of distance 1: 2/3. between = 2/3 - (2/3 + 0)/2 = 1/3, with 2 * 3/5 * 2/5 = 12/25 of it: 4/25.
    # within = 3/5 * 2/3 + 2/5 * 0 = 2/5
    found = item_disagreement(counts_of([0, 0, 1], [1, 1]), SQUARES)
    assert found.inside[:, 0] == pytest.approx([2 / 3, 0])
    assert found.within[0] == pytest.approx(2 / 5)
    assert found.between[0] == pytest.approx(4 / 25)
    assert (found.raters[0], found.groups[0]) == (5, 2)
    pair = furthest_pairs(counts_of([0, 0, 1], [1, 1]), SQUARES, np.ones((2, 1), dtype=bool))[0]
    assert pair is not None
    assert pair.distance == pytest.approx(1 / 3)


@given(seed=st.integers(0, 10_000))
def test_at_level_interval_it_is_the_law_of_total_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.integers(0, 5, n).tolist() for n in rng.integers(2, 7, 3)]
    found = item_disagreement(counts_of(*groups), SQUARES)
    n = np.array([len(group) for group in groups])
    mean, variance = (np.array([f(group) for group in groups]) for f in (np.mean, lambda g: np.var(g, ddof=1)))
    share = n / n.sum()
    # the squared distance of two group means is too large by the variances of both
    apart = [(mean[g] - mean[h]) ** 2 - variance[g] / n[g] - variance[h] / n[h] for g, h in combinations(range(3), 2)]
    weight = [2 * share[g] * share[h] for g, h in combinations(range(3), 2)]
    assert found.within[0] == pytest.approx(2 * share @ variance)
    assert found.between[0] == pytest.approx(np.dot(weight, apart))


def test_unbiased_over_all_deals_of_the_raters() -> None:
    # every way to deal seven ratings to groups of four and three: between is 0 on average, exactly
    values, found = [0, 0, 1, 3, 4, 4, 2], []
    for chosen in combinations(range(7), 4):
        rest = [values[k] for k in range(7) if k not in chosen]
        found.append(item_disagreement(counts_of([values[k] for k in chosen], rest), SQUARES).between[0])
    assert np.mean(found) == pytest.approx(0, abs=1e-12)


def test_another_groups_ratings_copied_are_at_no_distance() -> None:
    # 1000 ratings each, the same: between is 0 less the sampling variance that copies do not have
    rng = np.random.default_rng(0)
    same = rng.integers(0, 5, 1000).tolist()
    found = item_disagreement(counts_of(same, same), SQUARES)
    assert found.between[0] == pytest.approx(-found.within[0] / 2 / 1000, rel=1e-6)


def test_one_group_or_one_rater_is_not_compared() -> None:
    for counts in (counts_of([0, 1, 2], []), counts_of([0, 1, 2], [4])):
        found = item_disagreement(counts, SQUARES)
        assert np.isnan([found.within[0], found.between[0]]).all()
        assert found.raters[0] == 0
        assert furthest_pairs(counts, SQUARES, np.ones((2, 1), dtype=bool)) == [None]


def test_within_and_between_are_what_alpha_calls_observed() -> None:
    # all raters on all items and groups of equal size: the mean distance of two raters counts pairs inside a group
    # by (n_g - 1) of n_g; with that put right, the sum is D_o / D_e = 1 - alpha
    rng = np.random.default_rng(1)
    item, rater = (axis.ravel() for axis in np.indices((40, 12)))
    value, group = rng.integers(0, 5, len(item)), np.array(list("ab"))[rater % 2]
    ratings = RatingCounts.of(item, rater, value, group)
    found = disagreement_share(ratings, chance_distances(ratings, "interval"), permutations=0, rng=rng)
    within, across = found.within, found.within + 2 * found.between  # two groups of equal size: between / (2 / 4)
    alpha = krippendorff_alpha(item, value, level="interval").alpha
    assert (5 * within + 6 * across) / 11 == pytest.approx(1 - alpha)


def test_no_split_raises_five_percent_though_raters_have_moods() -> None:
    share_p, item_p = [], []
    for seed in range(200):
        ratings, rng = crowd(seed, items=8), np.random.default_rng(seed)
        distance = chance_distances(ratings, "ordinal")
        share_p.append(disagreement_share(ratings, distance, permutations=99, rng=rng).p_value)
        item_p.append(split_p_value(ratings.tally()[:, :, 0], distance, draws=Draws(20, 999), rng=rng))
    # 200 tests at 5 %: more than 18 has a chance of .4 %, fewer than 3 of .2 %
    for p in (np.array(share_p), np.array(item_p)):
        assert 3 <= np.sum(p <= 0.05) <= 18


def test_a_planted_split_is_found_where_it_is() -> None:
    ratings = crowd(0, shift=4.0, raters=48)
    distance, counts = chance_distances(ratings, "interval"), ratings.tally()
    p = [split_p_value(counts[:, :, k], distance, rng=np.random.default_rng(k)) for k in range(30)]
    assert np.argmin(p) == 0
    assert p[0] < 0.001
    pair = furthest_pairs(counts, distance, np.ones((3, 30), dtype=bool))[0]
    assert pair is not None
    assert "c" in {ratings.names[pair.first], ratings.names[pair.second]}


@pytest.mark.parametrize("groups", [([0, 0, 1], [2, 2, 1]), ([0, 1, 1, 2], [2, 2]), ([0, 0], [1, 1], [0, 2, 2])])
def test_item_p_by_listing_every_deal(groups: tuple[list[int], ...]) -> None:
    values, sizes = [v for group in groups for v in group], [len(group) for group in groups]
    ends = np.cumsum(sizes)[:-1]

    def within(order: tuple[int, ...]) -> float:
        parts = [part.tolist() for part in np.split(np.array(order), ends)]
        return float(item_disagreement(counts_of(*parts, values=3), NOMINAL).within[0])

    exact = np.mean([within(order) <= within(tuple(values)) + 1e-9 for order in permutations(values)])
    table = counts_of(*groups, values=3)[:, :, 0]
    found = split_p_value(table, NOMINAL, draws=Draws(5000, 20_000), rng=np.random.default_rng(0))
    # standard error of 20,000 draws at p = .5 is .0035
    assert found == pytest.approx(exact, abs=0.012)


def test_draws_stop_early_and_p_can_get_small() -> None:
    rng = np.random.default_rng(0)
    apart = np.array([[15.0, 0, 0], [0, 0, 15]])
    assert split_p_value(apart, NOMINAL, draws=Draws.for_tests(5000), rng=rng) == pytest.approx(1 / 200_001)
    assert split_p_value(np.array([[3.0, 0, 0], [4, 0, 0]]), NOMINAL, rng=rng) == 1
    assert np.isnan(split_p_value(np.array([[3.0, 2, 0], [1, 0, 0]]), NOMINAL, rng=rng))
    with pytest.raises(SettingsError, match="enough 9, most 3"):
        Draws(9, 3)


@given(seed=st.integers(0, 10_000))
def test_order_and_names_of_groups_change_nothing(seed: int) -> None:
    ratings = crowd(seed, items=5)
    counts, distance = ratings.tally(), chance_distances(ratings, "ordinal")
    first, turned = item_disagreement(counts, distance), item_disagreement(counts[::-1], distance)
    assert turned.between == pytest.approx(first.between, nan_ok=True)
    assert turned.inside[::-1] == pytest.approx(first.inside, nan_ok=True)
