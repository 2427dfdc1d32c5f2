"""Returns and advantages on padded responses. All functions are pure; a mask's True means the token counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Total = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes that train together."""


def same(values: Tensor) -> Tensor:
    """The sum over a single process."""
    return values


class Advantages(NamedTuple):
    """advantages, returns: (batch, response_len), 0 where the mask is False."""

    advantages: Tensor
    returns: Tensor


def generalized_advantage_estimate(
    rewards: Tensor, values: Tensor, response_mask: Tensor, *, gamma: float, gae_lambda: float
) -> Advantages:
    """GAE over one response per row: ``A_t = sum_l (gamma*lambda)^l * delta_{t+l}`` (Schulman et al. 2016).

    rewards, values: (batch, response_len). The value after the last counted token is 0: a response is a whole episode.
    """
    rewards, values = rewards * response_mask, values * response_mask
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * next_values - values
    advantages = discounted_sums(deltas.T, gamma * gae_lambda).T * response_mask
    return Advantages(advantages, advantages + values)


def discounted_sums(terms: Tensor, discount: float, goes_on: Tensor | None = None) -> Tensor:
    """``S_t = x_t + discount * S_{t+1}`` along the first dimension; 0 follows the last term.

    ``goes_on``: like ``terms``, False where an episode ends, so that nothing after it is added; None: nowhere.
    """
    sums, running = torch.zeros_like(terms), torch.zeros_like(terms[0])
    for t in range(len(terms) - 1, -1, -1):
        later = discount * running  # before the flag: a float times a flag would be single precision
        running = terms[t] + (later if goes_on is None else later * goes_on[t])
        sums[t] = running
    return sums


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` where ``mask`` is True; 0 if nothing counts."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def standardize(x: Tensor, mask: Tensor, *, eps: float = 1e-8, total: Total = same) -> Tensor:
    """Mean 0 and standard deviation 1 over the counted entries; 0 elsewhere.

    ``total`` sums over the processes that hold parts of a batch; mean and deviation are those of the whole.
    """
    n = total(mask.sum()).clamp(min=1)
    mean = total((x * mask).sum()) / n
    variance = total((((x - mean) * mask) ** 2).sum()) / n
    return (x - mean) * torch.rsqrt(variance + eps) * mask


def rescale(x: Tensor, mask: Tensor, *, eps: float = 1e-8, total: Total = same) -> Tensor:
    """Standard deviation 1 over the counted entries, their signs kept; 0 elsewhere. No mean is taken off."""
    n = total(mask.sum()).clamp(min=1)
    mean = total((x * mask).sum()) / n
    variance = total((((x - mean) * mask) ** 2).sum()) / n
    return x * torch.rsqrt(variance + eps) * mask


def token_rewards(scores: Tensor, log_ratio: Tensor, response_mask: Tensor, *, kl_coef: float) -> Tensor:
    """(batch, response_len): ``-kl_coef * log_ratio`` at every counted token, plus the score at the last one.

    scores: (batch,). log_ratio: log policy - log reference at the sampled tokens, nats; its mean is the k1 estimate of
    the KL divergence (Ziegler et al. 2019).
    """
    rewards = -kl_coef * log_ratio * response_mask
    last = response_mask.long().sum(-1) - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards
