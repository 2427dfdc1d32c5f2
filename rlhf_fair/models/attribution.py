"""Integrated gradients of a reward: which tokens of a text it comes from (Sundararajan, Taly & Yan 2017), by captum.

The path runs straight through the space of token embeddings, from the embeddings of one token sequence to those of
another of the same length; positions, masks and the place where the reward is read stay those of the end. What the
tokens get adds up to the difference of the two rewards (completeness), up to the error of the sum over steps.

Two kinds of start are in use. `neutral_ids` has a token without meaning in every place: attributions then speak of one
text, and depend on that choice. Another text of the same length needs no such choice: attributions then speak of the
difference between the two texts, and a token that both have in one place gets exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.reward_heads import LOG_SD_RANGE, RewardHeads
from rlhf_fair.models.reward_model import RewardModel, pad

NEARLY_ZERO = 1e-3
"""Embeddings shorter than this share of the median length count as 0."""


@dataclass(frozen=True)
class Steps:
    """How finely a path is summed up: Gauss-Legendre nodes, doubled until the sum is complete.

    tolerance: largest gap between the sum of attributions and the difference of rewards, unit of the reward.
    first, most: nodes of the first and of the last attempt. tokens_per_pass: padded tokens that are differentiated at
    once, which bounds the memory; a longer text runs by itself, node by node.
    """

    tolerance: float
    first: int = 16
    most: int = 256
    tokens_per_pass: int = 2048

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise SettingsError(f"tolerance is {self.tolerance}; allowed: a number above 0")
        if not 1 <= self.first <= self.most or self.tokens_per_pass < 1:
            raise SettingsError(
                f"steps are {self.first} to {self.most}, {self.tokens_per_pass} tokens; allowed: from 1"
            )


@dataclass(frozen=True)
class ReadText:
    """A text as the model reads it. ``frame``: True for tokens that the tokenizer put around it, such as [CLS].

    ``offsets``: the characters of each token. ``cut``: the text goes on behind the last token that the model reads.
    """

    ids: tuple[int, ...]
    frame: tuple[bool, ...]
    offsets: tuple[tuple[int, int], ...]
    cut: bool


@dataclass(frozen=True)
class PathAttribution:
    """``values``: (n_tokens,) what each token adds to the reward on the way from the start to the end of a path."""

    values: NDArray[np.float64]
    start_reward: float
    end_reward: float
    steps: int

    @property
    def residue(self) -> float:
        """Difference of the rewards less the sum of the attributions; 0 = complete."""
        return self.end_reward - self.start_reward - float(self.values.sum())


def read_texts(reward_model: RewardModel, texts: Sequence[str]) -> list[ReadText]:
    """Tokens, frames and characters of each text.

    Raises
    ------
    ModelLoadError
        The tokenizer is one of the slow ones, which do not say where in the text their tokens stand.
    """
    tokenizer = reward_model.tokenizer
    if not tokenizer.is_fast:
        raise ModelLoadError("attributions need a fast tokenizer (tokenizer.json), which says where its tokens stand")
    if not texts:
        return []
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "padding": False, "verbose": False}
    found = tokenizer(list(texts), truncation=True, max_length=reward_model.max_length, **options)
    longer = tokenizer(list(texts), truncation=True, max_length=reward_model.max_length + 1, padding=False)["input_ids"]
    columns = zip(found["input_ids"], found["special_tokens_mask"], found["offset_mapping"], longer, strict=True)
    return [
        ReadText(tuple(ids), tuple(map(bool, frame)), tuple(map(tuple, offsets)), len(more) > len(ids))
        for ids, frame, offsets, more in columns
    ]


def neutral_token(reward_model: RewardModel) -> str:
    """The token that stands for "some word": the mask where there is one, else padding, else another special token.

    A model that was trained to fill in masks has learnt to read a mask as a word that is not known. Padding it never
    read: its embedding is arbitrary, though the same for all texts. A token whose embedding is 0, as that of padding
    often is, is passed over: root-mean-square norms jump there, so that no sum over steps is complete (in a tiny Llama
    it missed a difference of 0.6 by 2.9 after 512 steps).
    """
    tokenizer = reward_model.tokenizer
    names = ("mask_token", "pad_token", "unk_token", "eos_token", "bos_token")
    tokens = [str(token) for token in (getattr(tokenizer, name, None) for name in names) if token is not None]
    lengths = torch.linalg.vector_norm(reward_model.model.get_input_embeddings().weight.detach(), dim=1).float().cpu()
    least = NEARLY_ZERO * lengths.median()
    for token in tokens:
        at = tokenizer.convert_tokens_to_ids(token)
        if at < len(lengths) and lengths[at] > least:
            return token
    return str(tokenizer.pad_token)


def neutral_ids(text: ReadText, neutral: int) -> tuple[int, ...]:
    """The text's frame around the neutral token: specials are kept, so that they get no attribution of their own."""
    return tuple(token if frame else neutral for token, frame in zip(text.ids, text.frame, strict=True))


def integrated_gradients(
    reward_model: RewardModel, starts: Sequence[Sequence[int]], ends: Sequence[Sequence[int]], steps: Steps
) -> list[PathAttribution]:
    """Attributions along the straight path from ``starts[i]`` to ``ends[i]``, token ids of the same length.

    A path whose sum is not complete within ``steps.tolerance`` is gone again with twice the steps, up to
    ``steps.most``. Results depend neither on the order nor on what else is asked for, up to the rounding of float32.

    Raises
    ------
    SettingsError
        captum is not installed; or two sequences of a path differ in length, or are empty.
    """
    for start, end in zip(starts, ends, strict=True):
        if len(start) != len(end) or not len(end):
            raise SettingsError(f"a path leads from {len(start)} to {len(end)} tokens; allowed: equally many, from 1")
    method = _captum()
    found: dict[int, PathAttribution] = {}
    pending, n_steps = list(range(len(ends))), steps.first
    with _constant_weights(reward_model.model):
        while pending:
            for batch in _batches(pending, ends, steps.tokens_per_pass):
                pairs = [starts[row] for row in batch], [ends[row] for row in batch]
                found |= zip(batch, _attributions(reward_model, method, *pairs, n_steps, steps), strict=True)
            if n_steps == steps.most:
                break
            n_steps = min(2 * n_steps, steps.most)
            pending = [row for row in pending if abs(found[row].residue) > steps.tolerance]
    return [found[row] for row in range(len(ends))]


def _attributions(
    reward_model: RewardModel,
    method: Any,
    starts: Sequence[Sequence[int]],
    ends: Sequence[Sequence[int]],
    n_steps: int,
    steps: Steps,
) -> Iterator[PathAttribution]:
    """One batch of paths with ``n_steps`` nodes each."""
    padding, device = reward_model.tokenizer.pad_token_id, reward_model.device
    batch, first = pad(ends, padding, device), pad(starts, padding, device)["input_ids"]
    table = reward_model.model.get_input_embeddings()
    with torch.no_grad():
        start, end = table(first), table(batch["input_ids"])

    def rewards(embeddings: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        with _embeddings_are(table, embeddings):
            logits = reward_model.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return scalar_reward(reward_model.heads, logits)

    others = (batch["input_ids"], batch["attention_mask"])
    at_once = max(len(ends), steps.tokens_per_pass // end.shape[1])
    values = method(rewards).attribute(
        end, start, additional_forward_args=others, n_steps=n_steps, internal_batch_size=at_once
    )
    with torch.no_grad():
        from_, to = (rewards(embeddings, *others).double().cpu().tolist() for embeddings in (start, end))
    by_token = values.detach().double().sum(-1).cpu().numpy()
    for row, ids in enumerate(ends):
        yield PathAttribution(by_token[row, : len(ids)], from_[row], to[row], n_steps)


def scalar_reward(heads: RewardHeads, outputs: Tensor) -> Tensor:
    """(n,) rewards of ``outputs`` (n, heads), differentiable: the twin of `RewardHeads.reward`."""
    if heads.offsets:
        outputs = outputs - outputs.new_tensor(heads.offsets)
    match heads.combine:
        case "first":
            return outputs[:, 0]
        case "min":
            return outputs.min(dim=1).values
        case "mean":
            return outputs.mean(dim=1)
        case "weighted" | "expected":
            shares = outputs if heads.combine == "weighted" else outputs.softmax(dim=1)
            return shares @ outputs.new_tensor(heads.weights)
    if heads.kind == "distribution":
        return outputs[:, 0] - heads.penalty * (2 * outputs[:, 1].clamp(*LOG_SD_RANGE)).exp()
    return outputs.mean(dim=1) - heads.penalty * outputs.var(dim=1, correction=0)


def _batches(rows: Sequence[int], ends: Sequence[Sequence[int]], most_tokens: int) -> Iterator[list[int]]:
    """Rows of similar length together, as many as one node of each path fits into a pass."""
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: (len(ends[row]), tuple(ends[row]))):
        if batch and (len(batch) + 1) * len(ends[row]) > most_tokens:  # sorted, so this one is the longest so far
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@contextmanager
def _embeddings_are(table: Any, embeddings: Tensor) -> Iterator[None]:
    """Inside, the embedding layer answers with ``embeddings``, whatever it is asked.

    The model is still given the token ids, unlike with ``inputs_embeds`` alone: decoders look there for the last token
    of a padded text, and some encoders for their positions.
    """
    handle = table.register_forward_hook(lambda _module, _inputs, _output: embeddings)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _constant_weights(model: Any) -> Iterator[None]:
    """Inside, nothing is kept for gradients of the weights, which are not asked for."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)


def _captum() -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise SettingsError("attributions need captum: pip install 'rlhf-fair[explain]'") from error
    return IntegratedGradients
