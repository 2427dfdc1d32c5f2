"""What a model makes of a pair before its last layer: features of one response minus those of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_model import RewardModel, batches, encode, pad

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairFeatures:
    """``differences``: (n, d), a minus b. ``head``: (d,) the reward model's own last layer, whose product with a
    difference is the reward of a minus that of b; zeros for an encoder, which has no preference."""

    differences: Floats
    head: Floats


def encoder_features(
    encoder: Encoder, texts_a: Sequence[str], texts_b: Sequence[str], *, progress: Progress | None = None
) -> PairFeatures:
    """Embeddings. Texts too long are cut at their beginning: two answers to one prompt differ at the end."""
    side, encoder.tokenizer.truncation_side = encoder.tokenizer.truncation_side, "left"
    try:
        vectors = encoder.embeddings([*texts_a, *texts_b], progress=progress).astype(np.float64)
    finally:
        encoder.tokenizer.truncation_side = side
    return PairFeatures(vectors[: len(texts_a)] - vectors[len(texts_a) :], np.zeros(vectors.shape[1]))


def reward_features(
    reward: RewardModel, texts_a: Sequence[str], texts_b: Sequence[str], *, progress: Progress | None = None
) -> PairFeatures:
    """What goes into the last layer of a reward model, and that layer's weights."""
    head = _scalar_head(reward.model)
    vectors = _last_layer_inputs(reward, head, [*texts_a, *texts_b], progress)
    weights = head.weight[0].detach().double().cpu().numpy()
    return PairFeatures(vectors[: len(texts_a)] - vectors[len(texts_a) :], weights)


def _scalar_head(model: Any) -> Any:
    found = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 1]
    if len(found) != 1:
        raise ModelLoadError(f"reward model {type(model).__name__}: {len(found)} layers with one output; needed: 1")
    return found[0]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _last_layer_inputs(
    reward: RewardModel, head: Any, texts: Sequence[str], progress: Progress | None, batch_size: int = 64
) -> Floats:
    """(n, d) in the order of ``texts``; equal texts are read once."""
    distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    times = np.bincount(where, minlength=len(distinct))
    tokens = encode(reward.tokenizer, list(distinct), reward.max_length)
    vectors = np.empty((len(tokens), head.in_features))
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        for rows in batches(tokens, range(len(tokens)), batch_size):
            batch = pad([tokens[row] for row in rows], reward.tokenizer.pad_token_id, reward.device)
            reward.model(**batch)
            vectors[rows] = _pooled(seen.pop(), batch["input_ids"], reward.model.config.pad_token_id).cpu().numpy()
            if progress is not None:
                progress(int(times[rows].sum()))
    finally:
        hook.remove()
    return vectors[where]


def _pooled(inputs: torch.Tensor, input_ids: torch.Tensor, pad_token_id: int | None) -> torch.Tensor:
    """(batch, d): where the layer runs on every token, its input at the last that is no padding, as in transformers."""
    if inputs.dim() == 2:
        return inputs.double()
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    real = (input_ids != pad_token_id).long() if pad_token_id is not None else torch.ones_like(input_ids)
    last = (places * real).argmax(dim=1)
    return inputs[torch.arange(len(inputs), device=inputs.device), last].double()
