"""A causal language model with a value head, evaluated at the positions that choose the response's tokens alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rlhf_fair.models.trunk import hidden_width, positions_of, tapped_trunk
from rlhf_fair.training.ppo.loss import Evaluation, token_entropy


class Reading(NamedTuple):
    """At the positions before each of the last tokens. hidden: (batch, length, width). logits: (..., vocabulary)."""

    hidden: Tensor
    logits: Tensor


class ValueHead(nn.Module):  # type: ignore[misc]
    """Values of hidden states, one per reward stream. Its weights start at 0; the trainer starts its bias at the
    mean return of the first rollout, so that first advantages are returns less their mean."""

    def __init__(self, width: int, streams: int = 1) -> None:
        super().__init__()
        self.streams = streams
        self.linear = nn.Linear(width, streams)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (...) values, or (..., streams) where there are several; float32 in reward units."""
        values: Tensor = self.linear(hidden.to(self.linear.weight.dtype)).float()
        return values[..., 0] if self.streams == 1 else values


class PolicyWithValue(nn.Module):  # type: ignore[misc]
    """The policy being trained and its critic: a head on the policy's own trunk, or a network apart.

    critic: a module of (sequence, attention_mask, length) -> values before each of the last ``length`` tokens.
    """

    def __init__(self, language_model: Any, *, streams: int = 1, critic: nn.Module | None = None) -> None:
        super().__init__()
        self.language_model = language_model
        self.critic = critic
        self.value_head = ValueHead(hidden_width(language_model), streams) if critic is None else None
        if self.value_head is not None:
            self.value_head.to(next(language_model.parameters()).device)

    def forward(
        self, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float, entropy: bool = False
    ) -> Evaluation:
        """Evaluate ``responses`` (batch, response_len), the last tokens of ``sequence`` (batch, prompt + response)."""
        length = responses.shape[1]
        reading = read(self.language_model, sequence, attention_mask, length)
        if self.value_head is not None:
            values = self.value_head(reading.hidden)
        else:
            assert self.critic is not None
            values = self.critic(sequence, attention_mask, length)
        logits = _tempered(reading.logits, temperature)
        return Evaluation(chosen_logprobs(logits, responses), values, token_entropy(logits) if entropy else None)

    def evaluate(
        self, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float, *, rows: int
    ) -> Evaluation:
        """`forward` without gradients, ``rows`` at a time."""
        parts = zip(sequence.split(rows), attention_mask.split(rows), responses.split(rows), strict=True)
        with torch.no_grad():
            found = [self(*part, temperature) for part in parts]
        return Evaluation(torch.cat([one.logprobs for one in found]), torch.cat([one.values for one in found]))

    def critic_values(self, sequence: Tensor, attention_mask: Tensor, length: int, *, rows: int) -> Tensor:
        """Values of a critic apart before each of the last ``length`` tokens, ``rows`` at a time; without gradients."""
        assert self.critic is not None, "a head's values come with the policy's own pass"
        parts = zip(sequence.split(rows), attention_mask.split(rows), strict=True)
        with torch.no_grad():
            return torch.cat([self.critic(ids, mask, length) for ids, mask in parts])


def chosen_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """(batch, length) ln softmax(``logits``) at ``tokens``, nats. logits: (batch, length, vocabulary)."""
    # fused: of what is as wide as the vocabulary, one tensor is kept for the gradient
    return -cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)


@torch.no_grad()  # type: ignore[untyped-decorator]
def reference_logprobs(
    model: Any, sequence: Tensor, attention_mask: Tensor, responses: Tensor, temperature: float, *, rows: int
) -> Tensor:
    """(batch, response_len) log-probabilities of ``responses``, the last tokens of ``sequence``, under a frozen model.

    In nats. ``rows`` pass through the model at a time.
    """
    found = []
    parts = zip(sequence.split(rows), attention_mask.split(rows), responses.split(rows), strict=True)
    for ids, attention, chosen in parts:
        reading = read(model, ids, attention, chosen.shape[1])
        found.append(chosen_logprobs(_tempered(reading.logits, temperature), chosen))
    return torch.cat(found)


def read(model: Any, sequence: Tensor, attention_mask: Tensor, length: int) -> Reading:
    """Run a language model over ``sequence`` and hand its head the positions that predict the last ``length`` tokens.

    The last token predicts nothing and stays out. The hidden states are narrowed between trunk and head, so whatever
    the head does (a projection, scaling, a soft cap) stays the model's.
    """
    ids, attention = sequence[:, :-1], attention_mask[:, :-1].long()
    with tapped_trunk(model, length) as tap:
        output = model(
            input_ids=ids, attention_mask=attention, use_cache=False, **positions_of(model, attention), **tap.options
        )
    return Reading(tap.last(output, length), output.logits[:, -length:])


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    logits = logits.float()
    return logits if temperature == 1 else logits / temperature
