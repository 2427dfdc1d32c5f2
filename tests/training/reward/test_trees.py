from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import approx_fprime

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.reward.classification import ClassData
from rlhf_fair.training.reward.objectives import Objective
from rlhf_fair.training.reward.ordinal import OrdinalData
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.settings import TreeSettings
from rlhf_fair.training.reward.trees import EmbeddedRows, grow, pair_gradient, pair_loss

PLAIN = TreeSettings(rounds=300, learning_rate=0.3, leaves=4, min_rows=1, bagging=1, features=1, early_stopping=0)
"""Every row and every number in every tree, so that what trees converge to can be worked out by hand."""


def rows(objective: Objective, features: Sequence[float], weight: Sequence[float] | None = None) -> EmbeddedRows:
    n = len(objective.columns[0])
    own = np.ones(n) if weight is None else np.array(weight, dtype=float)
    return EmbeddedRows(objective, np.array(features, dtype=np.float32)[:, None], own / own.mean())


def pairs(p_a: Sequence[float]) -> PairData:
    return PairData(["a"] * len(p_a), ["b"] * len(p_a), np.array(p_a))


def names(n: int) -> list[str]:
    return [str(number) for number in range(n)]


def test_pair_loss_and_its_derivatives_by_hand() -> None:
    # Equal scores: loss ln 2, sigmoid(0) - 1 = -1/2 for the preferred text, curvature 1/4. A tie has no slope there.
    scores = np.zeros(4)
    assert pair_loss(scores, np.array([1.0, 0.5]), np.ones(2)) == pytest.approx(math.log(2))
    first, second = pair_gradient(scores, np.array([1.0, 0.5]), np.array([1.0, 3.0]))
    assert first.tolist() == [-0.5, 0.0, 0.5, 0.0]
    assert second.tolist() == [0.25, 0.75, 0.25, 0.75]


@given(
    arrays(float, 6, elements=st.floats(-4, 4)),
    arrays(float, 3, elements=st.floats(0, 1)),
    arrays(float, 3, elements=st.floats(0.1, 5)),
)
def test_derivatives_of_pairs_agree_with_finite_differences(
    scores: NDArray[np.float64], p_a: NDArray[np.float64], weight: NDArray[np.float64]
) -> None:
    def total(x: NDArray[np.float64]) -> float:
        return pair_loss(x, p_a, weight) * float(weight.sum())

    first, second = pair_gradient(scores, p_a, weight)
    assert first == pytest.approx(approx_fprime(scores, total, 1e-6), abs=1e-4)
    step = 1e-4
    for place, value in enumerate(second):
        moved = np.zeros(6)
        moved[place] = step
        slopes = [pair_gradient(scores + sign * moved, p_a, weight)[0][place] for sign in (1, -1)]
        assert (slopes[0] - slopes[1]) / (2 * step) == pytest.approx(value, abs=1e-5)


@given(arrays(float, 8, elements=st.floats(-30, 30)), st.floats(-100, 100))
def test_only_differences_of_scores_count(scores: NDArray[np.float64], shift: float) -> None:
    p_a, weight = np.array([1.0, 0.0, 0.5, 0.9]), np.ones(4)
    assert pair_loss(scores + shift, p_a, weight) == pytest.approx(pair_loss(scores, p_a, weight), abs=1e-9)
    assert pair_gradient(scores, p_a, weight)[0].sum() == pytest.approx(0, abs=1e-12)


def test_pairs_of_extreme_scores_have_finite_losses() -> None:
    scores = np.array([1e4, -1e4])
    assert pair_loss(scores, np.array([0.0]), np.ones(1)) == pytest.approx(2e4)
    assert np.isfinite(pair_gradient(scores, np.array([0.0]), np.ones(1))).all()


@pytest.mark.parametrize(
    ("p_a", "weight", "share"),
    [
        ([0.8] * 40, None, 0.8),  # soft labels
        ([1.0, 0.0] * 20, [1.0, 3.0] * 20, 0.25),  # weights: 1 of 4 in favour
        ([1.0, 0.5] * 20, None, 0.75),  # a tie is half a vote
    ],
)
def test_trees_of_pairs_reach_the_log_odds_of_the_votes(
    p_a: list[float], weight: list[float] | None, share: float
) -> None:
    # Bradley-Terry with two kinds of texts has its minimum where the difference is ln(share / (1 - share)).
    n = len(p_a)
    grown = grow(rows(pairs(p_a), [1.0] * n + [0.0] * n, weight), None, PLAIN)
    a, b = grown.booster.predict(np.array([[1.0], [0.0]]), raw_score=True)
    assert a - b == pytest.approx(math.log(share / (1 - share)), abs=1e-3)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert grown.curve[-1]["loss"] == pytest.approx(entropy, abs=1e-5)


def test_trees_of_ratings_reach_weighted_means() -> None:
    # At 0: (1 * 0 + 3 * 1) / 4 = .75; at 1: (4 + 6) / 2 = 5. Squared errors, weight of 6 in all:
    # (1 * .75² + 3 * .25² + 1 + 1) / 6 = (.5625 + .1875 + 2) / 6 = .4583
    data = RatingData(names(4), np.array([0.0, 1.0, 4.0, 6.0]))
    grown = grow(rows(data, [0, 0, 1, 1], [1, 3, 1, 1]), None, PLAIN)
    assert grown.booster.predict(np.array([[0.0], [1.0]])) == pytest.approx([0.75, 5.0], abs=1e-4)
    assert grown.curve[-1]["loss"] == pytest.approx(2.75 / 6, abs=1e-4)


def test_trees_of_classes_reach_the_shares_of_each_cell() -> None:
    labels = np.array([0] * 30 + [2] * 10 + [1] * 20 + [2] * 20)  # at 0: 3/4, 0, 1/4; at 1: 0, 1/2, 1/2
    grown = grow(rows(ClassData(names(80), labels, 3), [0] * 40 + [1] * 40), None, PLAIN)
    found = grown.booster.predict(np.array([[0.0], [1.0]]))
    assert found == pytest.approx(np.array([[0.75, 0, 0.25], [0, 0.5, 0.5]]), abs=5e-3)


def test_the_round_of_the_lowest_validation_loss_is_kept() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for n in (200, 100):
        features = rng.standard_normal((n, 5)).astype(np.float32)
        target = features[:, 0] + 2 * rng.standard_normal(n)  # more noise than signal, so that trees overfit soon
        parts.append(EmbeddedRows(RatingData(names(n), target), features, np.ones(n)))
    settings = PLAIN.model_copy(update={"early_stopping": 20})
    grown = grow(parts[0], parts[1], settings)
    losses = [row["validation_loss"] for row in grown.curve]
    assert grown.best_round == 1 + int(np.argmin(losses))
    assert len(losses) == grown.best_round + 20 < 300
    assert parts[1].objective.columns[0] != parts[0].objective.columns[0]
    assert losses[grown.best_round - 1] == pytest.approx(
        np.mean((grown.booster.predict(parts[1].features) - np.asarray(parts[1].objective.target)) ** 2)  # type: ignore[attr-defined]
    )


def test_equal_seeds_give_equal_trees() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((100, 8)).astype(np.float32)
    part = EmbeddedRows(RatingData(names(100), rng.standard_normal(100)), features, np.ones(100))
    settings = PLAIN.model_copy(update={"bagging": 0.5, "features": 0.5, "rounds": 20})
    texts = [
        grow(part, None, settings.model_copy(update={"seed": seed})).booster.model_to_string() for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_too_few_texts_for_a_leaf_is_an_error_and_no_constant_reward() -> None:
    data = RatingData(names(10), np.arange(10.0))
    with pytest.raises(SettingsError, match="10 texts with min_rows = 20"):
        grow(rows(data, np.arange(10.0).tolist()), None, TreeSettings(early_stopping=0))


def test_what_trees_cannot_learn_is_an_error() -> None:
    with pytest.raises(SettingsError, match="OrdinalData"):
        grow(rows(OrdinalData(["a", "b"], np.array([0, 1]), 2), [0, 1]), None, PLAIN)
