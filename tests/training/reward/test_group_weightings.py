from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.reward.group_balance import balanced_weights
from rlhf_fair.training.reward.group_dro import GroupDRO


def alone(values: torch.Tensor) -> torch.Tensor:
    return values


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.integers(0, 5))
def test_balanced_groups_weigh_the_same(codes: list[int], seed: int) -> None:
    groups = np.array(codes)
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(groups))
    found = balanced_weights(groups, weight)
    assert found.mean() == pytest.approx(1)
    sums = [found[groups == g].sum() for g in set(codes) if g >= 0]
    assert sums == pytest.approx([sums[0]] * len(sums)) if sums else True
    # unknown rows keep their share of all weight, and inside a group ratios stay
    assert found[groups < 0].sum() / found.sum() == pytest.approx(weight[groups < 0].sum() / weight.sum())
    for g in set(codes):
        assert np.ptp(found[groups == g] / weight[groups == g]) == pytest.approx(0, abs=1e-9)


def test_dro_trace_by_hand() -> None:
    """Two groups, three batches; step size 1/2."""
    groups = np.array([0, 0, 0, 1, 1])
    dro = GroupDRO(groups, ("x", "y"), None, step_size=0.5)
    # batch 1: losses 1 and 3 of x, 4 of y. Group losses 2 and 4: q ~ e^1 : e^2, so q_y = e/(1 + e) = .7311
    value = dro.reduce(torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0, 1, 3]), alone)
    q_y = math.e / (1 + math.e)
    assert dro.metrics() == pytest.approx({"q[x]": 1 - q_y, "q[y]": q_y})
    assert float(value) == pytest.approx((1 - q_y) * 2 + q_y * 4)
    # batch 2 has x alone, loss 2: q ~ .2689 e : .7311 = .7311 : .7311
    value = dro.reduce(torch.tensor([2.0]), torch.tensor([2]), alone)
    assert dro.metrics() == pytest.approx({"q[x]": 0.5, "q[y]": 0.5})
    assert float(value) == pytest.approx(1.0)  # half of x's 2; y is not there
    # batch 3: x fares worse by ln 4 in units of loss: q ~ e^(ln 4 / 2) : 1 = 2 : 1
    dro.reduce(torch.tensor([math.log(4), 0.0]), torch.tensor([0, 4]), alone)
    assert dro.metrics() == pytest.approx({"q[x]": 2 / 3, "q[y]": 1 / 3})


def test_dro_goes_on_from_a_saved_state() -> None:
    def fresh() -> GroupDRO:
        return GroupDRO(np.array([0, 1]), ("x", "y"), None, step_size=1.0)

    whole, part = fresh(), fresh()
    losses, rows = torch.tensor([1.0, 2.0]), torch.tensor([0, 1])
    part.reduce(losses, rows, alone)
    resumed = fresh()
    resumed.load_state_dict(part.state_dict())
    for one in (whole, whole, resumed):
        one.reduce(losses, rows, alone)
    assert torch.equal(whole.q, resumed.q)


def test_rows_of_unknown_group_keep_their_share() -> None:
    dro = GroupDRO(np.array([0, 1, -1, -1]), ("x", "y"), None, step_size=0.01)
    value = dro.reduce(torch.tensor([1.0, 1.0, 5.0, 7.0]), torch.arange(4), alone)
    # known half: q-mean 1; unknown half: (5 + 7) / 4
    assert float(value) == pytest.approx(0.5 * 1 + 3)


def test_small_groups_can_be_adjusted_for() -> None:
    dro = GroupDRO(np.array([0] * 4 + [1]), ("x", "y"), None, step_size=1.0, adjustment=2.0)
    dro.reduce(torch.tensor([0.0, 0.0]), torch.tensor([0, 4]), alone)
    # losses 0 + 2/sqrt(4) and 0 + 2/sqrt(1): q ~ e : e^2
    assert dro.metrics()["q[y]"] == pytest.approx(math.e / (1 + math.e))


def test_the_gradient_is_that_of_the_reweighted_mean() -> None:
    dro = GroupDRO(np.array([0, 0, 1]), ("x", "y"), np.array([1.0, 3.0, 2.0]), step_size=0.3)
    losses = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    dro.reduce(losses, torch.arange(3), alone).backward()
    q = dro.q.tolist()
    # within x the weights 1 : 3 hold, across groups q
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([q[0] / 4, q[0] * 3 / 4, q[1]])


def test_a_group_without_rows_is_refused() -> None:
    with pytest.raises(SettingsError, match="group 'z' has no training row"):
        GroupDRO(np.array([0, 1]), ("x", "y", "z"), None)
