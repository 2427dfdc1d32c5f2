from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.ppo.advantages import (
    generalized_advantage_estimate,
    masked_mean,
    rescale,
    standardize,
    token_rewards,
)

LENGTH = 6
ROWS = st.lists(st.lists(st.floats(-10, 10), min_size=LENGTH, max_size=LENGTH), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**31)


def some_mask(rows: int, seed: int) -> torch.Tensor:
    """Responses end at different places: counted tokens first, then padding."""
    lengths = torch.randint(1, LENGTH + 1, (rows, 1), generator=torch.Generator().manual_seed(seed))
    return torch.arange(LENGTH) < lengths


def test_gae_by_hand() -> None:
    # gamma 1/2, lambda 1/2; rewards 1 0 4, values 2 4 2, and 0 after the end
    # delta_3 = 4 + 0      - 2 = 2      A_3 = 2
    # delta_2 = 0 + 2 / 2  - 4 = -3     A_2 = -3 + 2 / 4     = -2.5
    # delta_1 = 1 + 4 / 2  - 2 = 1      A_1 = 1 - 2.5 / 4    = 0.375
    # returns = A + value = 2.375 1.5 4
    rewards, values = torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[2.0, 4.0, 2.0]])
    found = generalized_advantage_estimate(
        rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.5, gae_lambda=0.5
    )
    assert found.advantages.tolist() == [[0.375, -2.5, 2.0]]
    assert found.returns.tolist() == [[2.375, 1.5, 4.0]]


def test_what_lies_behind_the_mask_is_no_part_of_the_episode() -> None:
    rewards, values = torch.tensor([[1.0, 0.0, 4.0, 99.0]]), torch.tensor([[2.0, 4.0, 2.0, -99.0]])
    mask = torch.tensor([[True, True, True, False]])
    found = generalized_advantage_estimate(rewards, values, mask, gamma=0.5, gae_lambda=0.5)
    assert found.advantages.tolist() == [[0.375, -2.5, 2.0, 0.0]]
    assert found.returns.tolist() == [[2.375, 1.5, 4.0, 0.0]]


@given(ROWS, SEEDS, st.floats(0.1, 1))
def test_lambda_1_gives_returns_to_go_minus_value(rows: list[list[float]], seed: int, gamma: float) -> None:
    rewards = torch.tensor(rows, dtype=torch.float64)
    mask = some_mask(len(rows), seed)
    values = torch.randn(rewards.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = generalized_advantage_estimate(rewards, values, mask, gamma=gamma, gae_lambda=1.0)
    counted = rewards * mask
    to_go = torch.stack([sum(gamma ** (s - t) * counted[:, s] for s in range(t, LENGTH)) for t in range(LENGTH)], dim=1)
    torch.testing.assert_close(found.advantages, (to_go - values) * mask)
    torch.testing.assert_close(found.returns, to_go * mask)


@given(ROWS, SEEDS)
def test_lambda_0_gives_one_step_errors(rows: list[list[float]], seed: int) -> None:
    rewards = torch.tensor(rows, dtype=torch.float64)
    mask = some_mask(len(rows), seed)
    values = torch.randn(rewards.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * mask
    found = generalized_advantage_estimate(rewards, values, mask, gamma=0.9, gae_lambda=0.0)
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    torch.testing.assert_close(found.advantages, (rewards + 0.9 * following - values) * mask)


@given(ROWS, SEEDS)
def test_standardized_has_mean_0_and_sd_1_over_the_counted(rows: list[list[float]], seed: int) -> None:
    x = torch.tensor(rows, dtype=torch.float64) + torch.arange(LENGTH)  # never constant
    mask = some_mask(len(rows), seed)
    mask[:, :2] = True
    done = standardize(x, mask)
    counted = done[mask]
    variance = x[mask].var(correction=0).item()
    assert counted.mean().item() == pytest.approx(0, abs=1e-9)
    assert counted.var(correction=0).item() == pytest.approx(variance / (variance + 1e-8), abs=1e-9)
    assert (done[~mask] == 0).all()


def test_rescaling_by_hand_keeps_the_signs() -> None:
    # 1 5: mean 3, deviations -2 2, sd 2; both stay positive, where standardizing gives -1 and 1
    x, mask = torch.tensor([1.0, 5.0, 99.0]), torch.tensor([True, True, False])
    torch.testing.assert_close(rescale(x, mask), torch.tensor([0.5, 2.5, 0.0]))
    torch.testing.assert_close(standardize(x, mask), torch.tensor([-1.0, 1.0, 0.0]))


def test_shares_of_two_processes_are_standardized_as_one_batch() -> None:
    x, mask = torch.tensor([[1.0, 5.0], [7.0, 99.0]]), torch.tensor([[True, True], [True, False]])
    parts = [(x[row] * mask[row], mask[row]) for row in (0, 1)]
    sums = iter([mask.sum(), (x * mask).sum(), (((x - 13 / 3) * mask) ** 2).sum()])  # what an all-reduce would give
    first = standardize(*parts[0], total=lambda mine: next(sums).to(mine.dtype))
    torch.testing.assert_close(first, standardize(x, mask)[0])


def test_standardizing_a_constant_gives_zeros() -> None:
    assert standardize(torch.full((2, 3), 7.0), torch.ones(2, 3, dtype=torch.bool)).tolist() == [[0.0] * 3] * 2


@given(ROWS, st.floats(-100, 100), st.floats(0.1, 10))
def test_standardizing_forgets_shift_and_scale(rows: list[list[float]], shift: float, scale: float) -> None:
    x = torch.tensor(rows, dtype=torch.float64) + torch.arange(LENGTH)
    mask = torch.ones_like(x, dtype=torch.bool)
    torch.testing.assert_close(standardize(x * scale + shift, mask), standardize(x, mask), atol=1e-5, rtol=1e-5)


def test_masked_mean_of_nothing_is_zero() -> None:
    x, mask = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    assert masked_mean(x, mask).item() == 3.5
    assert masked_mean(x, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_the_score_is_paid_at_the_last_counted_token() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    log_ratio = torch.tensor([[0.5, -1.0, 9.0], [0.0, 0.0, 2.0], [0.0, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([10.0, 20.0, 30.0]), log_ratio, mask, kl_coef=0.1)
    # -0.1 * log_ratio where counted, plus the score
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 10.1, 0.0], [0.0, 0.0, 19.8], [30.0, 0.0, 0.0]]))


def test_rewards_of_a_row_sum_to_score_minus_the_price_of_its_kl() -> None:
    generator = torch.Generator().manual_seed(3)
    log_ratio, scores = torch.randn(5, LENGTH, generator=generator), torch.randn(5, generator=generator)
    mask = some_mask(5, 3)
    before = log_ratio.clone()
    rewards = token_rewards(scores, log_ratio, mask, kl_coef=0.2)
    torch.testing.assert_close(rewards.sum(-1), scores - 0.2 * (log_ratio * mask).sum(-1))
    assert torch.equal(log_ratio, before)
