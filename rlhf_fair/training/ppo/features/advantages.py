"""Advantages of fixed-length rollouts in which episodes end, begin and are cut off."""

from __future__ import annotations

from torch import Tensor

from rlhf_fair.training.ppo.advantages import Advantages, discounted_sums


def episodic_advantage_estimate(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Advantages:
    """GAE over rollouts that hold several episodes (Schulman et al. 2016). All tensors: (horizon, environments).

    ``next_values``: value of the state that followed, before any reset. ``terminated``: the task itself ended there, so
    nothing more can be earned. ``truncated``: a time limit cut the episode off, so the state that followed keeps its
    value, and only the sum over later steps stops (Pardo et al. 2018). The end of the rollout is a cut of that kind.
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    advantages = discounted_sums(deltas, gamma * gae_lambda, ~(terminated | truncated))
    return Advantages(advantages, advantages + values)
