"""Advantages of fixed-length rollouts in which episodes end, begin and are cut off."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_fair.training.ppo.advantages import Advantages


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
    goes_on = ~(terminated | truncated)
    advantages = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        running = (
            deltas[t] + gamma * gae_lambda * running * goes_on[t]
        )  # a float times a flag would be single precision
        advantages[t] = running
    return Advantages(advantages, advantages + values)
