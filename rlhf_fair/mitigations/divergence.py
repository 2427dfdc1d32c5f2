"""How far a policy has moved from the SFT model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rlhf_fair.mitigations.policies import ModelPolicy
from rlhf_fair.models.sampling_check import check_sampling
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import ends_of, item_uniforms, pad_left, sample_tokens
from rlhf_fair.training.ppo.policy import reference_logprobs

BATCH = 256


def kl_samples(policy: ModelPolicy, reference: ModelPolicy, prompts: pd.DataFrame, *, seed: int) -> NDArray[np.float64]:
    """(n,) ln policy(answer) - ln reference(answer) of one sampled answer per prompt, nats per answer.

    The mean is an unbiased estimate of KL(policy || reference), 0 where they are equal; single values may be negative.
    The token that ends an answer counts as one of it.
    """
    check_sampling(policy.model.model)
    ids = prompts["prompt_id"].astype(str).tolist()
    parts = [
        _log_ratios(policy, reference, prompts["prompt"].tolist()[at : at + BATCH], ids[at : at + BATCH], seed)
        for at in range(0, len(ids), BATCH)
    ]
    return np.concatenate(parts)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _log_ratios(
    policy: ModelPolicy, reference: ModelPolicy, prompts: list[str], ids: list[str], seed: int
) -> NDArray[np.float64]:
    tokenizer = policy.model.tokenizer
    device = input_device(policy.model.model)
    encoded = pad_left(tokenizer(prompts)["input_ids"], tokenizer.pad_token_id)
    prompt_ids, prompt_mask = (tensor.to(device) for tensor in encoded)
    sampled = sample_tokens(
        policy.model.model,
        prompt_ids,
        prompt_mask,
        torch.from_numpy(item_uniforms(ids, policy.max_new_tokens, seed)).to(device),
        eos_token_id=ends_of(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        temperature=policy.temperature,
    )
    under_reference = reference_logprobs(
        reference.model.model,
        torch.cat([prompt_ids, sampled.tokens], dim=1),
        torch.cat([prompt_mask, sampled.response_mask], dim=1),
        sampled.tokens,
        policy.temperature,
        rows=len(ids),
    )
    difference = (sampled.logprobs - under_reference) * sampled.response_mask
    return np.asarray(difference.sum(-1).double().cpu().numpy())
