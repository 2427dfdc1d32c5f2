"""The clipped surrogate objective and the clipped value loss (Schulman et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """What policy and critic say now of actions taken earlier.

    logprobs, entropy: (batch, length) nats; entropy is None where nobody asked for it. values: (batch, length), or
    (batch, length, streams) where several critics look at several rewards; reward units.
    """

    logprobs: Tensor
    values: Tensor
    entropy: Tensor | None = None


class Episodes(NamedTuple):
    """What an update learns from: one row per episode, one column per action; an action is a token or a decision.

    logprobs: nats, of the policy that acted. values, returns: reward units, with streams as in `Evaluation`.
    mask: True counts.
    """

    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    mask: Tensor

    def part(self, rows: Tensor, length: int) -> Episodes:
        """Some rows, and of each the first ``length`` actions."""
        return Episodes(*(tensor[rows, :length] for tensor in self))


class PPOLoss(NamedTuple):
    """policy, value: scalar losses to minimise. entropy: mean, nats per action (NaN if not asked for).

    clip_fraction: share of actions clipped. approx_kl: nats per action.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor


def ppo_loss(
    now: Evaluation, old: Episodes, *, clip_range: float, value_clip_range: float, n_actions: Tensor | None = None
) -> PPOLoss:
    """Means over counted actions; values of several streams have a loss each, which add up.

    ``n_actions`` divides instead of the number of actions counted here, so that the losses of the parts of a minibatch
    add up to that of the whole, whatever the lengths in each part.
    """
    count = old.mask.sum().clamp(min=1) if n_actions is None else n_actions
    log_ratio = torch.where(old.mask, now.logprobs - old.logprobs, 0.0)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    surrogate = torch.minimum(ratio * old.advantages, clipped * old.advantages)
    near = old.values + (now.values - old.values).clamp(-value_clip_range, value_clip_range)
    value_error = torch.maximum((now.values - old.returns) ** 2, (near - old.returns) ** 2)
    value_mask = old.mask[..., None] if now.values.dim() > old.mask.dim() else old.mask
    with torch.no_grad():
        clip_fraction = ((ratio - 1).abs() > clip_range).sum() / count
        approx_kl = (ratio - 1 - log_ratio).sum() / count  # k3: unbiased and never negative
    return PPOLoss(
        policy=-(surrogate * old.mask).sum() / count,
        value=0.5 * (value_error * value_mask).sum() / count,
        entropy=count * torch.nan if now.entropy is None else (now.entropy * old.mask).sum() / count,
        clip_fraction=clip_fraction,
        approx_kl=approx_kl,
    )


def token_entropy(logits: Tensor) -> Tensor:
    """(batch, response_len) entropy of the next-token distribution, nats."""
    logprobs = torch.log_softmax(logits, -1)
    return -(logprobs.exp() * logprobs).sum(-1)
