from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.classification import ClassData
from rlhf_fair.training.reward.distributional import DistributionalRatings, gaussian_loss, probit_preference_loss
from rlhf_fair.training.reward.ordinal import OrdinalData, cumulative_logit_loss

THRESHOLDS = torch.tensor([-1.0, 1.0], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_three_grades_by_hand() -> None:
    reward = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)
    found = cumulative_logit_loss(reward, torch.tensor([0, 1, 2]), THRESHOLDS).exp().reciprocal()
    # P(lowest) = sigmoid(-1.5), P(lowest or middle) = sigmoid(0.5)
    assert found.tolist() == pytest.approx([sigmoid(-1.5), sigmoid(0.5) - sigmoid(-1.5), 1 - sigmoid(0.5)])


def test_two_grades_are_a_logistic_regression() -> None:
    reward = torch.linspace(-3, 3, 7, dtype=torch.float64)
    found = cumulative_logit_loss(reward, torch.ones(7, dtype=torch.long), torch.zeros(1, dtype=torch.float64))
    assert found.tolist() == pytest.approx((-torch.nn.functional.logsigmoid(reward)).tolist())


@given(st.floats(-30, 30), st.integers(0, 2))
def test_ordinal_gradient_agrees_with_finite_differences(value: float, grade: int) -> None:
    def loss(reward: float) -> float:
        one = torch.tensor([reward], dtype=torch.float64)
        return float(cumulative_logit_loss(one, torch.tensor([grade]), THRESHOLDS))

    reward = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    cumulative_logit_loss(reward, torch.tensor([grade]), THRESHOLDS).sum().backward()
    step = 1e-5
    assert float(reward.grad) == pytest.approx((loss(value + step) - loss(value - step)) / (2 * step), abs=1e-5)


def test_thresholds_start_at_the_grades_own_shares_and_always_rise() -> None:
    data = OrdinalData(["t"] * 7, np.array([0, 0, 0, 1, 1, 2, 2]), 3)
    # shares with one more of each: 4, 3, 3 of 10, so P(<= 0) = .4, P(<= 1) = .7
    assert torch.sigmoid(data.thresholds).tolist() == pytest.approx([0.4, 0.7])
    with torch.no_grad():
        data.spacing.copy_(torch.tensor([2.0, -8.0]))
    assert data.thresholds[1] > data.thresholds[0]


def test_ordinal_accuracy_takes_the_most_probable_grade() -> None:
    data = OrdinalData(["t"] * 4, np.array([0, 1, 2, 2]), 3)
    with torch.no_grad():
        data.spacing.copy_(torch.tensor([-1.0, math.log(2)]))  # thresholds -1 and 1: at 0 the middle has .46
    outputs = torch.tensor([[[-9.0], [0.0], [9.0], [-9.0]]])
    assert data.metrics(outputs, torch.arange(4)) == {"accuracy": 0.75}


def test_class_loss_is_cross_entropy() -> None:
    data = ClassData(["t", "u"], np.array([0, 2]), 3)
    outputs = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    # ln 3; then ln(e + 2) - 0
    assert data.row_losses(outputs, torch.arange(2)).tolist() == pytest.approx([math.log(3), math.log(math.e + 2)])
    assert data.metrics(outputs, torch.arange(2)) == {"accuracy": 0.5}


def test_gaussian_loss_is_least_at_the_spread_of_the_ratings() -> None:
    ratings = torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64)
    grid = torch.linspace(-1, 2, 3001, dtype=torch.float64)
    losses = gaussian_loss(torch.tensor(3.0), grid[:, None], ratings).mean(dim=1)
    # the maximum-likelihood SD of 1, 3, 5 is sqrt(8/3)
    assert float(grid[losses.argmin()].exp()) == pytest.approx(math.sqrt(8 / 3), rel=1e-3)
    assert float(gaussian_loss(torch.tensor(3.0), torch.tensor(0.0), torch.tensor(5.0))) == 2.0


def test_pairs_of_distributions_by_scipy() -> None:
    mean, log_sd = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [math.log(2.0)]])
    found = probit_preference_loss(mean, log_sd, torch.tensor([0.7]), torch.tensor([0.0]))
    p = norm.cdf(1 / math.sqrt(5))  # variances 1 and 4
    assert float(found) == pytest.approx(-0.7 * math.log(p) - 0.3 * math.log(1 - p), rel=1e-5)


def test_disagreement_shows_as_spread_where_the_mean_is_the_same() -> None:
    """One text is rated 1 and 5 by halves of the people, the other 2 and 4; both means are 3."""
    target = np.array([1.0, 5.0, 2.0, 4.0])
    data = DistributionalRatings(["split", "split", "mild", "mild"], target)
    assert data.heads == 2
    heads = torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([heads], lr=0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        data.row_losses(heads[torch.tensor([0, 0, 1, 1])][None], torch.arange(4)).mean().backward()
        optimizer.step()
    assert heads.detach()[:, 0].tolist() == pytest.approx([3, 3], abs=0.01)
    # standard deviations of 1 and 5, and of 2 and 4: 2 and 1
    assert heads.detach()[:, 1].exp().tolist() == pytest.approx([2, 1], rel=0.01)


@pytest.mark.parametrize("grade", [[0, 3], [-1, 0]])
def test_grades_out_of_range_are_refused(grade: list[int]) -> None:
    with pytest.raises(RowError):
        OrdinalData(["a", "b"], np.array(grade), 3)
    with pytest.raises(RowError):
        ClassData(["a", "b"], np.array(grade), 3)
