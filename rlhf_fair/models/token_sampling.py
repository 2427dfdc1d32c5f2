"""Sampling tokens from a causal model, every row from its own stream of random numbers.

Sampling draws each item's randomness from (seed, item id) alone, so an answer does not depend on the order of the
items or on the batch they fall into.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.growing_cache import growing_cache
from rlhf_fair.models.trunk import positions_of, tapped_trunk

BLOCK = 256
"""Tokens whose probabilities are summed up first when one is drawn."""


@dataclass(frozen=True)
class SampledTokens:
    """Sampled responses, right-padded.

    tokens: (batch, response_len) int64. response_mask: (batch, response_len) bool, True up to and including the
    token that ends it. logprobs: (batch, response_len) nats under the sampling temperature, 0 where not counted.
    readings: what ``read`` of `sample_tokens` made of the hidden states that chose each token, 0 where not counted.
    """

    tokens: Tensor
    response_mask: Tensor
    logprobs: Tensor
    readings: Tensor | None = None


def item_uniforms(ids: Sequence[str], length: int, seed: int) -> NDArray[np.float32]:
    """(len(ids), length) uniform numbers in [0, 1), each row determined by its id and ``seed`` alone."""
    rows = [np.random.default_rng((seed, zlib.crc32(i.encode()))).random(length, dtype=np.float32) for i in ids]
    return np.stack(rows) if rows else np.zeros((0, length), dtype=np.float32)


def ends_of(tokenizer: Any) -> frozenset[int]:
    """Tokens by which an answer ends: those that a `ChatTokenizer` names as ends of a turn, else the end of text.

    Raises
    ------
    ModelLoadError
        The tokenizer has none, so that no answer would ever be finished.
    """
    named = getattr(tokenizer, "ends", None)
    found = frozenset(named if named is not None else [tokenizer.eos_token_id]) - {None}
    if not found:
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        raise ModelLoadError(f"tokenizer {name}: it has no eos_token, so no answer would end; name one in its config")
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]
def sample_tokens(
    model: Any,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    uniforms: Tensor,
    *,
    eos_token_id: int | Collection[int],
    pad_token_id: int,
    temperature: float = 1.0,
    read: Callable[[Tensor], Tensor] | None = None,
) -> SampledTokens:
    """Sample one response per row by inverting the cumulative distribution at ``uniforms``.

    prompt_ids, prompt_mask: (batch, prompt_len), padded on the left. uniforms: (batch, response_len) in [0, 1);
    its width is the length limit. eos_token_id: the tokens that end a response. temperature: > 0, divides the logits;
    0 takes the most likely token. read: a function of hidden states, (rows, width) -> (rows, ...), such as a value
    head: its answers cost no pass of their own.
    """
    batch, limit = uniforms.shape
    device = prompt_ids.device
    ends = torch.tensor([eos_token_id] if isinstance(eos_token_id, int) else sorted(eos_token_id), device=device)
    tokens = torch.full((batch, limit), pad_token_id, dtype=torch.long, device=device)
    mask = torch.zeros((batch, limit), dtype=torch.bool, device=device)
    logprobs = torch.zeros((batch, limit), device=device)
    readings: Tensor | None = None
    cache = growing_cache(model.config, prompt_ids.shape[1] + limit)
    # samples of one prompt read it once
    distinct, copies = prompt_ids.masked_fill(~prompt_mask.bool(), -1).unique(dim=0, return_inverse=True)
    attention, step_ids = (distinct >= 0).long(), distinct.clamp(min=0)
    running = torch.arange(batch, device=device)
    for step in range(limit):
        logits, reading = _next(model, step_ids, attention, cache, read)
        logits = logits.float().to(device)
        if step == 0:
            cache.reorder_cache(copies)
            logits, attention = logits[copies], attention[copies]
            reading = reading if reading is None else reading[copies]
        choice, logprob = _choose(logits, uniforms[running, step], temperature)
        tokens[running, step], mask[running, step], logprobs[running, step] = choice, True, logprob
        if reading is not None:
            readings = reading.new_zeros((batch, limit, *reading.shape[1:])) if readings is None else readings
            readings[running, step] = reading
        going_on = torch.isin(choice, ends, invert=True).nonzero()[:, 0]
        if not len(going_on):
            break
        if len(going_on) < len(running):
            cache.reorder_cache(going_on)
            running, choice, attention = running[going_on], choice[going_on], attention[going_on]
        step_ids = choice[:, None]
        attention = torch.cat([attention, attention.new_ones(len(running), 1)], dim=1)
    return SampledTokens(tokens, mask, logprobs, readings)


def _next(
    model: Any, ids: Tensor, attention: Tensor, cache: Any, read: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor | None]:
    """(rows, vocabulary) logits of the next token, and what ``read`` makes of the hidden states they come from."""
    positions = {name: p[:, -ids.shape[1] :] for name, p in positions_of(model, attention).items()}
    inputs = {"input_ids": ids, "attention_mask": attention, "past_key_values": cache, "use_cache": True, **positions}
    if read is None:
        return model(**inputs, logits_to_keep=1).logits[:, -1], None
    with tapped_trunk(model, 1) as tap:
        output = model(**inputs, **tap.options)
    return output.logits[:, -1], read(tap.last(output, 1)[:, 0]).to(ids.device)


def _choose(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(batch,) token of each row and its log probability, nats.

    The cumulative distribution is inverted in two steps, a block of tokens and a token within it, since running sums
    over a whole vocabulary cost more than a small model does.
    """
    if temperature == 0:
        choice = logits.argmax(-1)
        return choice, torch.zeros_like(uniform)
    probabilities = (logits / temperature).softmax(-1)
    vocabulary = probabilities.shape[-1]
    block, rest = _invert(_block_sums(probabilities), uniform)
    within = block[:, None] * BLOCK + torch.arange(BLOCK, device=logits.device)
    there = probabilities.gather(-1, within.clamp(max=vocabulary - 1)).where(within < vocabulary, 0.0)
    choice = (block * BLOCK + _invert(there, rest)[0]).clamp(max=vocabulary - 1)
    return choice, probabilities.gather(-1, choice[:, None])[:, 0].log()


def _block_sums(probabilities: Tensor) -> Tensor:
    """(batch, ceil(vocabulary / BLOCK)) sums of `BLOCK` neighbours; the last block may be shorter."""
    whole = probabilities.shape[-1] // BLOCK * BLOCK
    sums = probabilities[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1)
    return torch.cat([sums, probabilities[:, whole:].sum(-1, keepdim=True)], dim=-1)


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of weights, the entry in which the share ``uniform`` of their sum is reached, and the share of this
    entry that it takes, in [0, 1). An entry of weight 0 is never reached."""
    cumulative = weights.cumsum(-1)
    # of the last entry, since rounding may leave the total just under 1
    target = (uniform * cumulative[:, -1])[:, None]
    entry = torch.searchsorted(cumulative, target, right=True).clamp(max=weights.shape[-1] - 1)
    weight = weights.gather(-1, entry)
    share = (target - (cumulative.gather(-1, entry) - weight)) / weight
    return entry[:, 0], share[:, 0].clamp(0, 1 - 2**-24)


def pad_left(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """(batch, longest) ids and bool mask, padding before the text so that all rows end together."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[index, longest - len(row) :] = True
    return ids, mask
