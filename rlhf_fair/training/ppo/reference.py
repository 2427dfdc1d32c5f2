"""The policy before training, from which the KL divergence is measured."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from rlhf_fair.training.ppo.policy import reference_logprobs


class Reference:
    """A frozen copy of a language model, or the model itself while its low-rank additions are switched off.

    ``rows`` at a time pass through it; None: all of them.
    """

    def __init__(self, model: Any, *, additions: bool, rows: int | None = None) -> None:
        self.additions = additions
        self.model = model if additions else copy.deepcopy(model).eval().requires_grad_(False)
        self.rows = rows

    def logprobs(self, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float) -> Tensor:
        """(batch, response_len) log-probabilities of ``responses``, the last tokens of ``sequence``, nats."""
        size = self.rows or len(sequence)
        parts = zip(sequence.split(size), attention_mask.split(size), responses.split(size), strict=True)
        with self._untrained():
            return torch.cat([reference_logprobs(self.model, *part, temperature) for part in parts])

    def _untrained(self) -> AbstractContextManager[None]:
        switched_off: AbstractContextManager[None] = self.model.disable_adapter() if self.additions else nullcontext()
        return switched_off
