"""Likelihoods under a causal model: of a continuation given its context, or of chosen tokens of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.continuation import bordered, text_start, tokens_of
from rlhf_fair.models.counterpart import check_tokens, chosen_positions
from rlhf_fair.models.loading import position_limit
from rlhf_fair.models.requests import Likelihood, LogLikelihood, Progress, PseudoLogLikelihood
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_logprobs import token_logprobs


def continuation_likelihoods(
    model: Any, tokenizer: Any, requests: Sequence[LogLikelihood], limits: BatchLimits, progress: Progress | None = None
) -> list[Likelihood | None]:
    """ln P(continuation | context) of each request; None where both together exceed the model's window."""
    rows = bordered(tokenizer, requests)
    scored = _scored(model, [row.tokens for row in rows], [row.start for row in rows], limits, progress)
    return [None if values is None else Likelihood(float(values.sum()), len(values)) for values in scored]


def text_likelihoods(
    model: Any,
    tokenizer: Any,
    requests: Sequence[PseudoLogLikelihood],
    limits: BatchLimits,
    progress: Progress | None = None,
) -> list[Likelihood | None]:
    """Sum of ln P(token | the tokens before it) over the chosen tokens of each text; None where it exceeds the window.

    A counterpart only says which tokens count; its length does not matter.
    """
    check_tokens(requests)
    if not requests:
        return []
    start = text_start(tokenizer)
    texts = tokens_of(tokenizer, [request.text for request in requests])
    counterparts = tokens_of(tokenizer, [request.counterpart for request in requests])
    scored = _scored(model, [(*start, *ids) for ids in texts], [len(start)] * len(texts), limits, progress)
    answers: list[Likelihood | None] = []
    for request, ids, other, values in zip(requests, texts, counterparts, scored, strict=True):
        chosen = chosen_positions(ids, other, request.tokens)
        answers.append(None if values is None else Likelihood(float(values[chosen].sum()), len(chosen)))
    return answers


@torch.inference_mode()  # type: ignore[untyped-decorator]
def reads_ahead(model: Any) -> bool:
    """True where what follows a token changes what is predicted behind it: an encoder that was loaded as a decoder."""
    ids = torch.tensor([[1, 2], [1, 3]], device=input_device(model))
    first = model(input_ids=ids, use_cache=False).logits[:, 0].float()
    return bool((first[0] - first[1]).abs().max() > 1e-4 * first.abs().max())


def _scored(
    model: Any,
    sequences: Sequence[tuple[int, ...]],
    starts: Sequence[int],
    limits: BatchLimits,
    progress: Progress | None,
) -> list[NDArray[np.float64] | None]:
    """Log probabilities from each start to the end; None for what exceeds the window. Equal sequences run once."""
    window = position_limit(model)
    earliest: dict[tuple[int, ...], int] = {}
    asked: Counter[tuple[int, ...]] = Counter()
    for tokens, start in zip(sequences, starts, strict=True):
        # the last token is predicted, never read, so a window of n predicts n + 1 tokens
        if start < len(tokens) and (window is None or len(tokens) - 1 <= window):
            earliest[tokens] = min(start, earliest.get(tokens, start))
            asked[tokens] += 1
    distinct = list(earliest)
    if progress is not None and asked.total() < len(sequences):
        progress(len(sequences) - asked.total())

    def done(indices: Sequence[int]) -> None:
        if progress is not None:
            progress(sum(asked[distinct[index]] for index in indices))

    scores = token_logprobs(model, distinct, list(earliest.values()), limits=limits, on_done=done)
    found = dict(zip(distinct, scores, strict=True))
    answers: list[NDArray[np.float64] | None] = []
    for tokens, start in zip(sequences, starts, strict=True):
        if tokens in found:
            answers.append(found[tokens][start - earliest[tokens] :])
        else:
            answers.append(np.empty(0) if start == len(tokens) else None)
    return answers
