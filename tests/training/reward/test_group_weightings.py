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
    """Two groups, x with 3 and y with 2 of 5 rows, so shares .6 and .4; step size 1/2."""
    groups = np.array([0, 0, 0, 1, 1])
    dro = GroupDRO(groups, ("x", "y"), None, step_size=0.5)
    # batch 1: losses 1 and 3 of x, 4 of y. loss_x = 4 / (3 x .6) = 20/9, loss_y = 4 / (3 x .4) = 10/3
    value = dro.reduce(torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0, 1, 3]), alone)
    assert float(value) == pytest.approx(20 / 9 / 2 + 10 / 3 / 2)
    assert dro.metrics() == {"q[x]": 0.5, "q[y]": 0.5}  # moves after the step
    dro.after_step()
    # q_y / q_x = e^((30/9 - 20/9) / 2) = e^(5/9)
    q_x = 1 / (1 + math.exp(5 / 9))
    assert dro.metrics() == pytest.approx({"q[x]": q_x, "q[y]": 1 - q_x})
    # batch 2 has x alone, loss 2: loss_x = 2 / .6 = 10/3, loss_y = 0
    value = dro.reduce(torch.tensor([2.0]), torch.tensor([2]), alone)
    assert float(value) == pytest.approx(q_x * 10 / 3)
    dro.after_step()
    # q_y / q_x = e^(5/9 - 5/3) = e^(-10/9)
    assert dro.metrics()["q[x]"] == pytest.approx(1 / (1 + math.exp(-10 / 9)))


def test_a_rare_group_that_fares_worse_is_raised_however_rare_it_is() -> None:
    rng = np.random.default_rng(0)
    groups = (rng.permutation(1000) < 20).astype(np.int64)  # 2 %
    dro = GroupDRO(groups, ("many", "rare"), None, step_size=0.05)
    losses = torch.where(torch.as_tensor(groups) == 1, 0.9, 0.5)
    mass = np.zeros(2)
    for _ in range(3):
        for rows in torch.as_tensor(rng.permutation(1000)).split(16):
            value = losses[rows].clone().requires_grad_()
            dro.reduce(value, rows, alone).backward()
            assert value.grad is not None
            for g in (0, 1):
                mass[g] += float(value.grad[torch.as_tensor(groups)[rows] == g].sum())
            dro.after_step()
    steps = 3 * 63
    # q ratio is e^(.05 x (.9 - .5) x steps), up to the last batch of an epoch, which is smaller and counts as much
    assert dro.metrics()["q[rare]"] == pytest.approx(1 / (1 + math.exp(-0.05 * 0.4 * steps)), abs=0.02)
    assert mass[1] > mass[0]


def test_micro_batches_of_dro_add_up() -> None:
    groups, losses = np.array([0, 0, 1, 0, 1, 0]), torch.arange(6.0)
    whole, parts = (GroupDRO(groups, ("x", "y"), None, step_size=0.1) for _ in range(2))
    value = whole.reduce(losses, torch.arange(6), alone)
    pieces = [parts.reduce(losses[rows], rows, alone) * len(rows) / 6 for rows in torch.arange(6).split(2)]
    assert float(sum(pieces)) == pytest.approx(float(value))
    whole.after_step()
    parts.after_step()
    assert whole.metrics() == pytest.approx(parts.metrics())


def test_dro_goes_on_from_a_saved_state() -> None:
    def fresh() -> GroupDRO:
        return GroupDRO(np.array([0, 1]), ("x", "y"), None, step_size=1.0)

    whole, part = fresh(), fresh()
    losses, rows = torch.tensor([1.0, 2.0]), torch.tensor([0, 1])
    part.reduce(losses, rows, alone)
    part.after_step()
    resumed = fresh()
    resumed.load_state_dict(part.state_dict())
    for one in (whole, whole, resumed):
        one.reduce(losses, rows, alone)
        one.after_step()
    assert torch.equal(whole.q, resumed.q)


def test_rows_of_unknown_group_keep_their_share() -> None:
    dro = GroupDRO(np.array([0, 1, -1, -1]), ("x", "y"), None, step_size=0.01)
    value = dro.reduce(torch.tensor([1.0, 1.0, 5.0, 7.0]), torch.arange(4), alone)
    # known half: each group's loss is 1 / (4 / 4) = 1, and q sums to 1; unknown half: (5 + 7) / 4
    assert float(value) == pytest.approx(0.5 * 1 + 3)


def test_small_groups_can_be_adjusted_for() -> None:
    dro = GroupDRO(np.array([0] * 4 + [1]), ("x", "y"), None, step_size=1.0, adjustment=2.0)
    dro.reduce(torch.tensor([0.0, 0.0]), torch.tensor([0, 4]), alone)
    dro.after_step()
    # losses 0 + 2/sqrt(4) and 0 + 2/sqrt(1): q ~ e : e^2
    assert dro.metrics()["q[y]"] == pytest.approx(math.e / (1 + math.e))


def test_the_gradient_is_that_of_the_reweighted_mean() -> None:
    dro = GroupDRO(np.array([0, 0, 1]), ("x", "y"), np.array([1.0, 3.0, 2.0]), step_size=0.3)
    losses = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    dro.reduce(losses, torch.arange(3), alone).backward()
    # all rows are there, so group losses are group means: within x the weights 1 : 3 hold, across groups q = 1/2 each
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([0.5 / 4, 0.5 * 3 / 4, 0.5])


def test_a_group_without_rows_is_refused() -> None:
    with pytest.raises(SettingsError, match="group 'z' has no training row"):
        GroupDRO(np.array([0, 1]), ("x", "y", "z"), None)
