from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.ppo.loss import Episodes, Evaluation, PPOLoss, ppo_loss, token_entropy


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers])


def loss(**changes: torch.Tensor) -> PPOLoss:
    """Everything zero but for ``changes``; clip .2, value clip .2."""
    length = next(iter(changes.values())).shape[1]
    names = ("logprobs", "old_logprobs", "advantages", "values", "old_values", "returns")
    tensors: dict[str, Any] = {name: torch.zeros(1, length) for name in names}
    tensors["mask"] = torch.ones(1, length, dtype=torch.bool)
    tensors |= changes
    now = Evaluation(tensors.pop("logprobs"), tensors.pop("values"))
    old = Episodes(tensors.pop("old_logprobs"), tensors.pop("old_values"), **tensors)
    return ppo_loss(now, old, clip_range=0.2, value_clip_range=0.2)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.5, 2.0, 2.4, 0.0),  # 1.2 * 2: good, and already far enough
        (1.5, -2.0, -3.0, -3.0),  # 1.5 * -2: bad, and more likely than before: no clip
        (0.5, 2.0, 1.0, 1.0),  # .5 * 2: good, and less likely than before: no clip
        (0.5, -2.0, -1.6, 0.0),  # .8 * -2: bad, and already far enough
        (1.1, 2.0, 2.2, 2.2),
        (1.0, -2.0, -2.0, -2.0),
    ],
)
def test_the_four_cases_of_the_clip(ratio: float, advantage: float, objective: float, slope: float) -> None:
    logprobs = row(math.log(ratio)).requires_grad_()
    found = loss(logprobs=logprobs, advantages=row(advantage))
    assert found.policy.item() == pytest.approx(-objective, rel=1e-6)
    found.policy.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(-slope, rel=1e-6)  # d ratio / d logprob = ratio


def test_at_ratio_1_the_gradient_is_that_of_plain_policy_gradient() -> None:
    logprobs = row(-1.0, -2.0, -0.5).requires_grad_()
    loss(logprobs=logprobs, old_logprobs=logprobs.detach(), advantages=row(3.0, -6.0, 9.0)).policy.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[-1.0, 2.0, -3.0]]  # -A / 3 tokens


@pytest.mark.parametrize(
    ("value", "old", "target", "expected"),
    [
        (0.5, 0.0, 1.0, 0.32),  # clipped to .2: max(.25, .64) / 2
        (0.5, 0.0, 0.0, 0.125),  # clipped to .2: max(.25, .04) / 2
        (0.1, 0.0, 1.0, 0.405),  # within the range: .81 / 2
        (-0.5, 0.0, -1.0, 0.32),
    ],
)
def test_the_value_may_move_by_the_clip_range_only(value: float, old: float, target: float, expected: float) -> None:
    found = loss(values=row(value), old_values=row(old), returns=row(target))
    assert found.value.item() == pytest.approx(expected, rel=1e-6)


def test_clip_fraction_counts_either_side() -> None:
    logprobs = row(math.log(1.5), math.log(0.5), 0.0, math.log(1.1))
    assert loss(logprobs=logprobs).clip_fraction.item() == 0.5


def test_approx_kl_by_hand() -> None:
    # ratio 2: 2 - 1 - ln 2 = .3069; ratio 1: 0; mean .1534
    found = loss(logprobs=row(math.log(2), 0.0)).approx_kl.item()
    assert found == pytest.approx((1 - math.log(2)) / 2, rel=1e-5)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8))
def test_approx_kl_is_never_negative(log_ratios: list[float]) -> None:
    assert loss(logprobs=row(*log_ratios)).approx_kl.item() >= -1e-6


def test_uncounted_tokens_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    names = ("logprobs", "old_logprobs", "advantages", "values", "old_values", "returns")
    short = {name: torch.randn(1, 3, generator=generator) for name in names}
    long = {name: torch.cat([tensor, torch.full((1, 2), 5.0)], dim=1) for name, tensor in short.items()}
    padded = loss(**long, mask=torch.tensor([[True, True, True, False, False]]))
    torch.testing.assert_close(tuple(padded), tuple(loss(**short)), equal_nan=True)


def test_entropy_of_known_distributions() -> None:
    # uniform over 4: ln 4; (1/2, 1/4, 1/4): 1.5 bits
    logits = torch.tensor([[[0.0] * 4, [math.log(2), 0.0, 0.0, -math.inf]]])
    logits = logits.clamp(min=-1e4)
    torch.testing.assert_close(token_entropy(logits), row(math.log(4), 1.5 * math.log(2)))
