"""A critic of its own: a reward model whose scalar head is read at every position instead of the last one.

A value function that starts from the reward model knows from the first step which beginnings lead to good ends
(Stiennon et al. 2020). The trunk must be causal: an encoder would read the future that it is to predict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.loading import load_reward_model
from rlhf_fair.models.reward_heads import RewardHeads, declared_heads
from rlhf_fair.models.trunk import positions_of, trunk_of
from rlhf_fair.training.ppo.policy import ValueHead
from rlhf_fair.training.reward.head import reward_head


class RewardCritic(nn.Module):  # type: ignore[misc]
    """Values of (sequence, attention_mask, length): before each of the last ``length`` tokens, (batch, length)."""

    def __init__(self, trunk: Any, head: ValueHead) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        self.streams = head.streams

    @classmethod
    def load(
        cls, source: str | Path, tokenizer: Any, *, mean: float = 0.0, sd: float = 1.0, streams: int = 1
    ) -> RewardCritic:
        """Open a reward-model directory for the policy whose ``tokenizer`` is given.

        mean, sd: of the reward model's scores where the reward is ``(score - mean) / sd``. streams: the first is the
        reward's; others, such as the fairness penalty's, start at 0.

        Raises
        ------
        ModelLoadError
            It is no reward model, an encoder, reads other tokens than the policy, or its reward is no linear function
            of its heads' outputs.
        """
        loaded = load_reward_model(source)
        if loaded.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ModelLoadError(f"critic {source}: its tokens are not those of the policy, so it cannot read answers")
        trunk = trunk_of(loaded.model)
        if trunk is None:
            raise ModelLoadError(f"critic {source}: {type(loaded.model).__name__} has no trunk below its head")
        _check_causal(trunk, str(source))
        heads = declared_heads(loaded.model.config, str(source))
        weights = _linear_weights(heads, str(source))
        if heads.offsets:
            mean += float(weights @ torch.tensor(heads.offsets))
        return cls(trunk, _value_head(reward_head(loaded.model), weights, mean, sd, streams))

    def forward(self, sequence: Tensor, attention_mask: Tensor, length: int) -> Tensor:
        """(batch, length) reward units, or (batch, length, streams)."""
        ids, attention = sequence[:, :-1], attention_mask[:, :-1].long()
        positions = positions_of(self.trunk, attention)
        output = self.trunk(input_ids=ids, attention_mask=attention, use_cache=False, **positions)
        values: Tensor = self.head(output.last_hidden_state[:, -length:])
        return values


def _value_head(head: nn.Linear, weights: Tensor, mean: float, sd: float, streams: int) -> ValueHead:
    """``(weights @ outputs - mean) / sd`` as a linear layer of its own."""
    value_head = ValueHead(head.in_features, streams)
    with torch.no_grad():
        value_head.linear.weight[0] = weights @ head.weight / sd
        bias = 0.0 if head.bias is None else weights @ head.bias
        value_head.linear.bias[0] = (bias - mean) / sd
    return value_head


def _linear_weights(heads: RewardHeads, source: str) -> Tensor:
    """How much each head counts; a pessimistic combination starts from the mean of its heads."""
    n = len(heads.names)
    if heads.kind == "classes":
        raise ModelLoadError(f"critic {source}: a reward of classes is no linear function of its heads; use another")
    if heads.combine == "weighted":
        return torch.tensor(heads.weights, dtype=torch.float32)
    if heads.kind in ("one", "distribution"):
        return torch.eye(n)[0]
    return torch.full((n,), 1 / n)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _check_causal(trunk: Any, source: str) -> None:
    ids = torch.tensor([[1, 2], [1, 3]])
    first = trunk(input_ids=ids).last_hidden_state[:, 0].float()
    if bool((first[0] - first[1]).abs().max() > 1e-4 * first.abs().max()):
        raise ModelLoadError(
            f"critic {source}: what follows a token changes what is known at it (an encoder); a critic needs a decoder"
        )
