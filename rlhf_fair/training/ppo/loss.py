"""The clipped surrogate objective and the clipped value loss (Schulman et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_fair.training.ppo.advantages import masked_mean


class PPOLoss(NamedTuple):
    """policy, value: scalar losses to minimise. clip_fraction: share of tokens clipped. approx_kl: nats per token."""

    policy: Tensor
    value: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor


def ppo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    response_mask: Tensor,
    *,
    clip_range: float,
    value_clip_range: float,
) -> PPOLoss:
    """All tensors (batch, response_len); log-probabilities in nats; means run over counted tokens."""
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    near = old_values + (values - old_values).clamp(-value_clip_range, value_clip_range)
    value_error = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    with torch.no_grad():
        clip_fraction = masked_mean(((ratio - 1).abs() > clip_range).float(), response_mask)
        approx_kl = masked_mean(ratio - 1 - log_ratio, response_mask)  # k3: unbiased and never negative
    return PPOLoss(
        policy=-masked_mean(surrogate, response_mask),
        value=0.5 * masked_mean(value_error, response_mask),
        clip_fraction=clip_fraction,
        approx_kl=approx_kl,
    )


def token_entropy(logits: Tensor) -> Tensor:
    """(batch, response_len) entropy of the next-token distribution, nats."""
    logprobs = torch.log_softmax(logits, -1)
    return -(logprobs.exp() * logprobs).sum(-1)
