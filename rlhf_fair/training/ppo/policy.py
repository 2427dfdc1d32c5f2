"""A causal language model with a value head on its trunk, evaluated on response positions only."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Evaluation(NamedTuple):
    """logprobs, entropy: (batch, response_len) nats. values: (batch, response_len), reward units."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor


class PolicyWithValue(nn.Module):  # type: ignore[misc]
    """The policy being trained and its critic.

    The value head starts at zero, so the first advantages are the plain returns.
    """

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        hidden = language_model.config.get_text_config().hidden_size
        self.value_head = nn.Linear(hidden, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float) -> Evaluation:
        """Evaluate ``responses`` (batch, response_len), the last tokens of ``sequence`` (batch, prompt + response)."""
        length = responses.shape[1]
        output = _forward(self.language_model, sequence, attention_mask, length + 1, hidden=True)
        logprobs = torch.log_softmax(output.logits[:, :-1].float() / temperature, -1)
        chosen = logprobs.gather(-1, responses[..., None])[..., 0]
        entropy = -(logprobs.detach().exp() * logprobs.detach()).sum(-1)
        return Evaluation(chosen, entropy, self._values(output.hidden_states[-1], length))

    def values(self, sequence: Tensor, attention_mask: Tensor, length: int) -> Tensor:
        """(batch, length) values before each of the last ``length`` tokens, without the vocabulary projection."""
        output = _forward(self.language_model, sequence, attention_mask, 1, hidden=True)
        return self._values(output.hidden_states[-1], length)

    def _values(self, hidden: Tensor, length: int) -> Tensor:
        values: Tensor = self.value_head(hidden[:, -length - 1 : -1].float())[..., 0]
        return values


@torch.no_grad()  # type: ignore[untyped-decorator]
def reference_logprobs(
    model: Any, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float
) -> Tensor:
    """(batch, response_len) log-probabilities of ``responses`` under the frozen reference, nats."""
    logits = _forward(model, sequence, attention_mask, responses.shape[1] + 1, hidden=False).logits[:, :-1].float()
    return torch.log_softmax(logits / temperature, -1).gather(-1, responses[..., None])[..., 0]


def _forward(model: Any, sequence: Tensor, attention_mask: Tensor, n_logits: int, *, hidden: bool) -> Any:
    positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
    return model(
        input_ids=sequence,
        attention_mask=attention_mask.long(),
        position_ids=positions,
        use_cache=False,
        logits_to_keep=n_logits,
        output_hidden_states=hidden,
    )
