"""The last linear layer of a sequence classifier: how it starts, and what it reads."""

from __future__ import annotations

import math
from typing import Any

import torch

from rlhf_fair.errors import SettingsError


def reward_head(model: Any) -> torch.nn.Linear:
    """The last linear layer with as many outputs as the model has labels."""
    outputs = model.config.num_labels
    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == outputs]
    if not heads:
        raise SettingsError(f"{type(model).__name__} has no linear layer of {outputs} outputs as its head")
    return heads[-1]


def init_reward_head(model: Any, generator: torch.Generator) -> None:
    """Weights N(0, 1/sqrt(d + 1)) as standard deviation, bias 0; d is the hidden size. Stiennon et al. 2020."""
    head = reward_head(model)
    with torch.no_grad():
        drawn = torch.randn(head.weight.shape, generator=generator) / math.sqrt(head.in_features + 1)
        head.weight.copy_(drawn)
        if head.bias is not None:
            head.bias.zero_()


def freeze_trunk(model: Any) -> None:
    """Leave the reward head as the only part that learns."""
    model.requires_grad_(False)
    reward_head(model).requires_grad_(True)


def set_dropout(model: Any, probability: float) -> None:
    """Set every dropout of the model, those that attention keeps as a number included."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = probability


class FeatureTap:
    """Hears what the reward head reads while the model runs: one vector for each text.

    Decoders give their head every position; the one that counts is the last real token.
    """

    def __init__(self, model: Any) -> None:
        self._heard: torch.Tensor | None = None
        self.width = reward_head(model).in_features
        reward_head(model).register_forward_pre_hook(self._hear)

    def _hear(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._heard = inputs[0]

    def features(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """(batch, width) of the batch that has just passed; right padding, mask 1 = a real token."""
        assert self._heard is not None, "no batch has passed"
        if self._heard.dim() == 2:
            return self._heard.float()
        last = attention_mask.sum(dim=1) - 1
        return self._heard[torch.arange(len(last), device=last.device), last].float()
