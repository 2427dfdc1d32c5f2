"""One rollout: sample responses and keep what the update needs, with as few passes through the model as can be.

Sampling itself yields the log-probabilities of the policy and, where the critic is a head on its trunk, the values. The
reference costs one pass, a critic apart another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.models.causal_lm import Completion, decode
from rlhf_fair.models.sampling_check import check_same
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import SampledTokens, ends_of, pad_left, sample_tokens
from rlhf_fair.models.trunk import plain_model
from rlhf_fair.training.ppo.loss import Evaluation
from rlhf_fair.training.ppo.policy import PolicyWithValue
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.settings import PPOSettings

RewardFunction = Callable[..., NDArray[np.float64]]
"""``reward(prompts, completions, **columns) -> (n,)``: any callable; columns are the prompt table's other columns."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of one step with the columns that travel along to the reward and to the fairness penalty."""

    texts: Sequence[str]
    columns: Mapping[str, Sequence[Any]]

    def part(self, rows: slice) -> PromptBatch:
        """Some of the prompts."""
        return PromptBatch(self.texts[rows], {name: values[rows] for name, values in self.columns.items()})


@dataclass(frozen=True)
class Rollout:
    """Everything sampled in one step. Token tensors are (batch, response_len); ``sequence`` has the prompt before.

    values: (batch, response_len), or (batch, response_len, streams); 0 where not counted.
    """

    batch: PromptBatch
    completions: list[Completion]
    sequence: Tensor
    attention_mask: Tensor
    responses: Tensor
    response_mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """log policy - log reference at the sampled tokens, nats, 0 where not counted."""
        return (self.logprobs - self.ref_logprobs) * self.response_mask

    def evaluate(self, model: Any, rows: Tensor, temperature: float, *, entropy: bool) -> Evaluation:
        """What ``model``, a `PolicyWithValue`, says now of some rows, without the padding that none of them needs."""
        first = int(self.attention_mask[rows].any(0).to(torch.uint8).argmax())
        length = int(self.response_mask[rows].sum(-1).max())
        surplus = self.responses.shape[1] - length
        stop = self.sequence.shape[1] - surplus
        evaluation: Evaluation = model(
            self.sequence[rows, first:stop],
            self.attention_mask[rows, first:stop],
            self.responses[rows, :length],
            temperature,
            entropy,
        )
        return evaluation


@torch.no_grad()  # type: ignore[untyped-decorator]
def roll_out(
    policy: PolicyWithValue,
    reference: Reference,
    tokenizer: Any,
    batch: PromptBatch,
    uniforms: Tensor,
    settings: PPOSettings,
    *,
    check: bool = False,
) -> Rollout:
    """Sample one response per prompt and evaluate it under policy, critic and reference.

    uniforms: (batch, longest response) random numbers in [0, 1) that choose the tokens. check: compare what the policy
    said of the tokens while they were sampled with what one pass over the whole says.

    Raises
    ------
    ModelLoadError
        The two differ: the model does not continue a text from keys and values that it was handed.
    """
    device = input_device(policy.language_model)
    encoded = pad_left(tokenizer(list(batch.texts))["input_ids"], tokenizer.pad_token_id)
    prompt_ids, prompt_mask = (tensor.to(device) for tensor in encoded)
    sampled = sample_tokens(
        policy.language_model,
        prompt_ids,
        prompt_mask,
        uniforms.to(device),
        eos_token_id=ends_of(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        temperature=settings.temperature,
        read=policy.value_head,
    )
    text = _joined(prompt_ids, prompt_mask, sampled)
    rows = settings.rows_at_once(text.sequence.shape[1], device.type) or len(text.sequence)
    logprobs, values = _of_the_policy(policy, sampled, text, settings, rows=rows, check=check)
    before = reference.logprobs(*text[:3], settings.temperature, rows=rows)
    return Rollout(batch, decode(tokenizer, sampled), *text, logprobs, before, values)


class _Text(NamedTuple):
    """Prompts with their responses, without what is padding in all of them; as in `Rollout`."""

    sequence: Tensor
    attention_mask: Tensor
    responses: Tensor
    response_mask: Tensor


def _joined(prompt_ids: Tensor, prompt_mask: Tensor, sampled: SampledTokens) -> _Text:
    longest = int(sampled.response_mask.sum(-1).max())
    responses, mask = sampled.tokens[:, :longest], sampled.response_mask[:, :longest]
    return _Text(torch.cat([prompt_ids, responses], dim=1), torch.cat([prompt_mask, mask], dim=1), responses, mask)


def _of_the_policy(
    policy: PolicyWithValue, sampled: SampledTokens, text: _Text, settings: PPOSettings, *, rows: int, check: bool
) -> tuple[Tensor, Tensor]:
    """The policy's log-probabilities and the critic's values: as sampled, or of one pass over all in low precision.

    Both as in `Rollout`.
    """
    sequence, attention_mask, responses, mask = text
    longest, exact = responses.shape[1], settings.precision == "no"
    logprobs, values = sampled.logprobs[:, :longest], sampled.readings
    again = check or not exact
    now = policy.evaluate(sequence, attention_mask, responses, settings.temperature, rows=rows) if again else None
    if check and now is not None:
        exact = exact and next(policy.language_model.parameters()).dtype == torch.float32
        name = type(plain_model(policy.language_model)).__name__
        check_same((logprobs - now.logprobs)[mask].abs(), name, exact=exact)
    if now is not None and settings.precision != "no":
        # one token at a time rounds differently from all at once: in low precision enough to be clipped for nothing
        logprobs, values = now.logprobs * mask, now.values
    elif values is None:
        values = policy.critic_values(sequence, attention_mask, longest, rows=rows)
    values = values[:, :longest]
    return logprobs, values * (mask[..., None] if values.dim() > mask.dim() else mask)
