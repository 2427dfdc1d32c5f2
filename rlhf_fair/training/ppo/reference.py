"""The policy before training, from which the KL divergence is measured."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from rlhf_fair.training.ppo.policy import reference_logprobs


class Reference:
    """A frozen copy of a language model, or the model itself while its low-rank additions are switched off."""

    def __init__(self, model: Any, *, additions: bool) -> None:
        self.additions = additions
        self.model = model if additions else copy.deepcopy(model).eval().requires_grad_(False)

    def logprobs(
        self, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float, *, rows: int
    ) -> Tensor:
        """(batch, response_len) log-probabilities of ``responses``, the last tokens of ``sequence``, nats.

        ``rows`` pass through the model at a time.
        """
        with self._untrained():
            logprobs: Tensor = reference_logprobs(
                self.model, sequence, attention_mask, responses, temperature, rows=rows
            )
        return logprobs

    def _untrained(self) -> AbstractContextManager[None]:
        switched_off: AbstractContextManager[None] = self.model.disable_adapter() if self.additions else nullcontext()
        return switched_off
