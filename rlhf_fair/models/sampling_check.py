"""Whether a model samples its own answers: what it says of a token must not depend on how its text was handed over.

`sample_tokens` hands a model one token at a time, with keys and values of those before. A model that keeps a state of
another kind, such as a state-space model, may drop them without a word, and then samples as if each token were alone.
"""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import torch
from torch import Tensor

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import pad_left, sample_tokens
from rlhf_fair.models.trunk import plain_model, positions_of

LARGEST_DIFFERENCE = 1e-2
"""Nats by which a token's log-probability may differ between sampling and one pass over the whole, in float32."""
LARGEST_MEAN_DIFFERENCE = 0.1
"""Nats, as a mean over tokens, in lower precision, where single tokens differ by much more."""
TRIAL_PROMPTS, TRIAL_TOKENS = ((1, 2, 3), (2,)), 3
"""Two texts of different lengths, so that one is padded."""

_checked: weakref.WeakSet[Any] = weakref.WeakSet()


def check_sampling(model: Any) -> None:
    """Let the model say a few tokens, once in its life, and hold them against one pass over the whole.

    Raises
    ------
    ModelLoadError
        The two differ, or the model takes no keys and values.
    """
    if model in _checked:
        return
    plain = plain_model(model)
    if "past_key_values" not in inspect.signature(plain.forward).parameters:
        raise ModelLoadError(_refusal(type(plain).__name__, "its forward pass takes no past_key_values"))
    exact = next(model.parameters()).dtype == torch.float32
    check_same(_apart(model), type(plain).__name__, exact=exact)
    _checked.add(model)


def check_same(apart: Tensor, name: str, *, exact: bool) -> None:
    """``apart``: (tokens,) nats between what a model said while sampling and what it says of the whole.

    exact: all was computed in float32.
    """
    found, limit = (apart.max(), LARGEST_DIFFERENCE) if exact else (apart.mean(), LARGEST_MEAN_DIFFERENCE)
    if float(found) > limit:
        why = (
            f"log-probabilities of sampled tokens differ by {float(found):.3g} nats from those of one pass over the "
            f"whole text, where rounding makes at most {limit:g}"
        )
        raise ModelLoadError(_refusal(name, why))


@torch.no_grad()  # type: ignore[untyped-decorator]
def _apart(model: Any) -> Tensor:
    """(tokens,) nats between both ways."""
    device = input_device(model)
    ids, mask = (tensor.to(device) for tensor in pad_left(TRIAL_PROMPTS, pad_token_id=0))
    uniforms = torch.full((len(ids), TRIAL_TOKENS), 0.5, device=device)
    sampled = sample_tokens(model, ids, mask, uniforms, eos_token_id=-1, pad_token_id=0)
    whole = torch.cat([ids, sampled.tokens], dim=1)
    attention = torch.cat([mask, sampled.response_mask], dim=1).long()
    output = model(input_ids=whole, attention_mask=attention, use_cache=False, **positions_of(model, attention))
    logits = output.logits[:, -TRIAL_TOKENS - 1 : -1].float()
    logprobs = logits.log_softmax(-1).gather(-1, sampled.tokens.to(logits.device)[..., None])[..., 0]
    return (sampled.logprobs.to(logits.device) - logprobs).abs().flatten()


def _refusal(name: str, why: str) -> str:
    return (
        f"model {name}: {why}: it does not go on from past_key_values (models with a recurrent state do not), so that "
        "its samples are not its own; allowed: models with attention caches"
    )
