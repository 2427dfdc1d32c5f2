"""One rollout: sample responses and keep what the update needs, with as few passes through the model as can be.

Sampling itself yields the log-probabilities of the policy and, where the critic is a head on its trunk, the values. The
reference costs one pass, a critic apart another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.causal_lm import Completion, decode
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import ends_of, pad_left, sample_tokens
from rlhf_fair.models.trunk import plain_model
from rlhf_fair.training.ppo.loss import Evaluation
from rlhf_fair.training.ppo.policy import PolicyWithValue
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.settings import PPOSettings

LARGEST_DIFFERENCE = 1e-2
"""Nats by which a token's log-probability may differ between sampling and one pass over the whole, in float32."""
LARGEST_MEAN_DIFFERENCE = 0.1
"""Nats, as a mean over tokens, in lower precision, where single tokens differ by much more."""

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
    ids, mask = pad_left(tokenizer(list(batch.texts))["input_ids"], tokenizer.pad_token_id)
    prompt_ids, prompt_mask = ids.to(device), mask.to(device)
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
    longest = int(sampled.response_mask.sum(-1).max())
    responses, mask = sampled.tokens[:, :longest], sampled.response_mask[:, :longest]
    sequence = torch.cat([prompt_ids, responses], dim=1)
    attention_mask = torch.cat([prompt_mask, mask], dim=1)
    rows = settings.rows_at_once(sequence.shape[1], device.type) or len(sequence)
    logprobs, values = sampled.logprobs[:, :longest], sampled.readings
    again = check or settings.precision != "no"
    now = policy.evaluate(sequence, attention_mask, responses, settings.temperature, rows=rows) if again else None
    if check and now is not None:
        kind = next(policy.language_model.parameters()).dtype
        exact = settings.precision == "no" and kind == torch.float32
        _check_same((logprobs - now.logprobs)[mask].abs(), type(plain_model(policy.language_model)).__name__, exact)
    if now is not None and settings.precision != "no":
        # one token at a time rounds differently from all at once: in low precision enough to be clipped for nothing
        logprobs, values = now.logprobs * mask, now.values
    elif values is None:
        values = policy.critic_values(sequence, attention_mask, longest, rows=rows)
    values = values[:, :longest]
    return Rollout(
        batch=batch,
        completions=decode(tokenizer, sampled),
        sequence=sequence,
        attention_mask=attention_mask,
        responses=responses,
        response_mask=mask,
        logprobs=logprobs,
        ref_logprobs=reference.logprobs(sequence, attention_mask, responses, settings.temperature, rows=rows),
        values=values * (mask[..., None] if values.dim() > mask.dim() else mask),
    )


def _check_same(apart: Tensor, name: str, exact: bool) -> None:
    """``apart``: (tokens,) nats between what a model said while sampling and what it says of the whole."""
    found, limit = (apart.max(), LARGEST_DIFFERENCE) if exact else (apart.mean(), LARGEST_MEAN_DIFFERENCE)
    if float(found) > limit:
        raise ModelLoadError(
            f"model {name}: log-probabilities of sampled tokens differ by {float(found):.3g} nats from those of one "
            f"pass over the whole text, where rounding makes at most {limit:g}: it does not go on from "
            "past_key_values (models with a recurrent state do not), so that its samples are not its own; allowed: "
            "models with attention caches"
        )
