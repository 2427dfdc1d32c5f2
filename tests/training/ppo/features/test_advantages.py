from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.ppo.advantages import Advantages, generalized_advantage_estimate
from rlhf_fair.training.ppo.features.advantages import episodic_advantage_estimate

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1)


def column(*numbers: float) -> torch.Tensor:
    """One environment."""
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def flags(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)[:, None]


def estimate(terminated: torch.Tensor, truncated: torch.Tensor, next_values: torch.Tensor) -> Advantages:
    """Rewards 1 0 4, values 2 4 2, gamma and lambda 1/2."""
    rewards, values = column(1, 0, 4), column(2, 4, 2)
    return episodic_advantage_estimate(rewards, values, next_values, terminated, truncated, gamma=0.5, gae_lambda=0.5)


def test_a_rollout_within_one_episode_by_hand() -> None:
    # the state after the rollout is worth 6
    # delta_3 = 4 + 6 / 2 - 2 = 5     A_3 = 5
    # delta_2 = 0 + 2 / 2 - 4 = -3    A_2 = -3 + 5 / 4     = -1.75
    # delta_1 = 1 + 4 / 2 - 2 = 1     A_1 = 1 - 1.75 / 4   = 0.5625
    found = estimate(flags(0, 0, 0), flags(0, 0, 0), column(4, 2, 6))
    assert found.advantages.squeeze().tolist() == [0.5625, -1.75, 5.0]
    assert found.returns.squeeze().tolist() == [2.5625, 2.25, 7.0]


def test_after_a_termination_nothing_is_worth_anything() -> None:
    # the second step ends the task: delta_2 = 0 - 4 = -4 = A_2, whatever came after
    # A_1 = 1 - 4 / 4 = 0, and the third step begins anew: A_3 = 4 + 6 / 2 - 2 = 5
    found = estimate(flags(0, 1, 0), flags(0, 0, 0), column(4, 100, 6))
    assert found.advantages.squeeze().tolist() == [0.0, -4.0, 5.0]


def test_a_truncated_episode_keeps_the_value_of_where_it_was_cut() -> None:
    # cut after the second step, where 8 was to be expected: delta_2 = 0 + 8 / 2 - 4 = 0 = A_2
    # A_1 = 1 + 0 / 4 = 1; the third step is of another episode and does not reach back
    found = estimate(flags(0, 0, 0), flags(0, 1, 0), column(4, 8, 6))
    assert found.advantages.squeeze().tolist() == [1.0, 0.0, 5.0]


def test_a_step_that_both_ends_and_is_cut_has_ended() -> None:
    both = estimate(flags(0, 1, 0), flags(0, 1, 0), column(4, 8, 6))
    ended = estimate(flags(0, 1, 0), flags(0, 0, 0), column(4, 8, 6))
    assert torch.equal(both.advantages, ended.advantages)


@given(SEEDS, SHARES, SHARES)
def test_episodes_in_one_rollout_are_those_of_rollouts_of_their_own(seed: int, gamma: float, gae_lambda: float) -> None:
    """Oracle: the estimate for language models, in which every row is one whole episode."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 5, (3,), generator=generator).tolist()
    n = sum(lengths)
    rewards, values = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
    ends = torch.zeros(n, 1, dtype=torch.bool)
    ends[torch.tensor(lengths).cumsum(0) - 1] = True
    following = torch.cat([values[1:], values[:1]])  # what comes after an end is not looked at
    found = episodic_advantage_estimate(
        rewards, values, following, ends, torch.zeros_like(ends), gamma=gamma, gae_lambda=gae_lambda
    )
    for r, v, a in zip(*(x[:, 0].split(lengths) for x in (rewards, values, found.advantages)), strict=True):
        whole = generalized_advantage_estimate(
            r[None], v[None], torch.ones(1, len(r), dtype=torch.bool), gamma=gamma, gae_lambda=gae_lambda
        )
        torch.testing.assert_close(a, whole.advantages[0])


@given(SEEDS)
def test_with_lambda_1_a_cut_is_worth_the_discounted_rewards_and_the_value_behind(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    last = torch.randn(1, 2, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(6, 2, dtype=torch.bool)
    found = episodic_advantage_estimate(
        rewards, values, torch.cat([values[1:], last]), nothing, nothing, gamma=0.9, gae_lambda=1.0
    )
    for t in range(6):
        to_go = sum(0.9 ** (s - t) * rewards[s] for s in range(t, 6)) + 0.9 ** (6 - t) * last[0]
        torch.testing.assert_close(found.returns[t], to_go)


def test_environments_do_not_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values, following = torch.randn(3, 5, 4, generator=generator)
    ends, cuts = torch.rand(2, 5, 4, generator=generator) < 0.3
    together = episodic_advantage_estimate(rewards, values, following, ends, cuts, gamma=0.9, gae_lambda=0.8)
    for k in range(4):
        one = [x[:, k : k + 1] for x in (rewards, values, following, ends, cuts)]
        alone = episodic_advantage_estimate(*one, gamma=0.9, gae_lambda=0.8)
        torch.testing.assert_close(together.advantages[:, k : k + 1], alone.advantages)
