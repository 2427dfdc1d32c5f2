from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.objectives import Objective, mean_one
from rlhf_fair.training.reward.preference import PairData, bradley_terry_loss
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.weighting import WeightedMean

rewards = st.floats(-20, 20)
shares = st.floats(0, 1)


def loss(difference: float, p_a: float) -> float:
    return float(
        bradley_terry_loss(torch.tensor(difference, dtype=torch.float64), torch.tensor(p_a, dtype=torch.float64))
    )


def batch_loss(data: Objective, rewards: list[list[float]]) -> tuple[float, dict[str, float]]:
    """Loss and metrics of all rows as one batch; ``rewards`` by column."""
    outputs = torch.tensor(rewards)[:, :, None]
    rows = torch.arange(outputs.shape[1])
    losses = data.row_losses(outputs, rows)
    value = WeightedMean(data.weight, len(rows)).reduce(losses, rows, lambda total: total)
    return float(value), data.metrics(outputs, rows)


def test_worked_by_hand() -> None:
    assert loss(0.0, 1.0) == pytest.approx(math.log(2))  # equal rewards: one bit of surprise
    assert loss(1.0, 1.0) == pytest.approx(math.log(1 + math.exp(-1)))  # .3133
    assert loss(1.0, 0.0) == pytest.approx(math.log(1 + math.e))  # 1.3133
    assert loss(2.0, 0.25) == pytest.approx(0.25 * math.log(1 + math.exp(-2)) + 0.75 * math.log(1 + math.exp(2)))


@given(rewards, shares)
def test_swapping_the_sides_changes_nothing(difference: float, p_a: float) -> None:
    assert loss(difference, p_a) == pytest.approx(loss(-difference, 1 - p_a))


def test_a_margin_asks_for_a_lead() -> None:
    leads = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    found = bradley_terry_loss(leads, torch.tensor(1.0), torch.tensor(1.0))
    # a lead of 1 where 1 is asked for is worth no lead: ln 2; then ln(1 + e), ln(1 + e^2)
    assert found.tolist() == pytest.approx([math.log(2), math.log(1 + math.e), math.log(1 + math.e**2)])
    # seen from b, the same
    assert bradley_terry_loss(-leads, torch.tensor(0.0), torch.tensor(1.0)).tolist() == pytest.approx(found.tolist())


@given(st.floats(-5, 5), shares)
def test_gradient_agrees_with_finite_differences(difference: float, p_a: float) -> None:
    d = torch.tensor(difference, dtype=torch.float64, requires_grad=True)
    bradley_terry_loss(d, torch.tensor(p_a, dtype=torch.float64)).backward()
    step = 1e-5
    numeric = (loss(difference + step, p_a) - loss(difference - step, p_a)) / (2 * step)
    assert float(d.grad) == pytest.approx(numeric, abs=1e-6)


@pytest.mark.parametrize("p_a", [0.1, 0.5, 0.8])
def test_a_soft_label_is_best_met_at_its_logit(p_a: float) -> None:
    best = math.log(p_a / (1 - p_a))
    assert loss(best, p_a) < min(loss(best - 0.01, p_a), loss(best + 0.01, p_a))
    # there the loss is the label's entropy
    assert loss(best, p_a) == pytest.approx(-p_a * math.log(p_a) - (1 - p_a) * math.log(1 - p_a))


def test_batch_loss_is_weighted_and_accuracy_leaves_ties_out() -> None:
    data = PairData(["a"] * 3, ["b"] * 3, np.array([1.0, 0.5, 0.0]), np.array([2.0, 0.0, 1.0]))
    value, metrics = batch_loss(data, [[0.0, 3.0, 1.0], [0.0, 0.0, 0.0]])
    # weights 2, 0, 1 have mean 1; losses ln 2, (unused), ln(1 + e)
    assert value == pytest.approx((2 * math.log(2) + math.log(1 + math.e)) / 3)
    assert metrics["accuracy"] == 0.25  # row 1 is undecided by the model: a half, row 3 wrong, row 2 a tie


def test_rating_loss_by_hand() -> None:
    data = RatingData(["a", "b"], np.array([1.0, -1.0]), np.array([3.0, 1.0]))
    value, metrics = batch_loss(data, [[0.0, 1.0]])
    # weights 1.5 and .5; squared errors 1 and 4: (1.5 + 2) / 2
    assert value == pytest.approx(1.75)
    assert metrics["mean_absolute_error"] == pytest.approx(1.5)


def test_weights_have_mean_one() -> None:
    assert mean_one(np.array([1.0, 3.0]), 2).tolist() == [0.5, 1.5]
    assert mean_one(None, 2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("p_a", [[1.2, 0.0], [math.nan, 0.0], [0.5]])
def test_labels_out_of_range_are_refused(p_a: list[float]) -> None:
    with pytest.raises(RowError):
        PairData(["a", "b"], ["c", "d"], np.array(p_a))
