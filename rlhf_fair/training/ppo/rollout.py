"""One rollout: sample responses, score them, and keep what the update needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.models.causal_lm import Completion, decode
from rlhf_fair.models.token_sampling import pad_left, sample_tokens
from rlhf_fair.training.ppo.policy import PolicyWithValue, reference_logprobs

RewardFunction = Callable[..., NDArray[np.float64]]
"""``reward(prompts, completions, **columns) -> (n,)``: any callable; columns are the prompt table's other columns."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of one step with the columns that travel along to the reward and to the fairness penalty."""

    texts: Sequence[str]
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Rollout:
    """Everything sampled in one step. Token tensors are (batch, response_len); ``sequence`` has the prompt before."""

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


@torch.no_grad()  # type: ignore[untyped-decorator]
def roll_out(
    policy: PolicyWithValue,
    reference: Any,
    tokenizer: Any,
    batch: PromptBatch,
    *,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> Rollout:
    """Sample one response per prompt and evaluate it under policy, critic and reference.

    The log-probabilities of the policy are those of sampling itself; the critic costs one forward pass.
    """
    prompt_ids, prompt_mask = pad_left(tokenizer(list(batch.texts))["input_ids"], tokenizer.pad_token_id)
    sampled = sample_tokens(
        policy.language_model,
        prompt_ids,
        prompt_mask,
        torch.rand((len(batch.texts), max_new_tokens), generator=generator),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        temperature=temperature,
    )
    longest = int(sampled.response_mask.sum(-1).max())
    responses, mask = sampled.tokens[:, :longest], sampled.response_mask[:, :longest]
    sequence = torch.cat([prompt_ids, responses], dim=1)
    attention_mask = torch.cat([prompt_mask, mask], dim=1)
    values = policy.values(sequence, attention_mask, longest)
    return Rollout(
        batch=batch,
        completions=decode(tokenizer, sampled),
        sequence=sequence,
        attention_mask=attention_mask,
        responses=responses,
        response_mask=mask,
        logprobs=sampled.logprobs[:, :longest],
        ref_logprobs=reference_logprobs(reference, sequence, attention_mask, responses, temperature),
        values=values * mask,
    )
