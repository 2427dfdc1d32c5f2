"""Logits at chosen positions only: a vocabulary-wide head is most of the work where few tokens are scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 64 * 2**20
"""Most memory of one float32 copy of logits."""


def input_device(model: Any) -> torch.device:
    """Where token ids have to lie; with a device map, the device of the embedding."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def selected_logits(model: Any, rows: Tensor, positions: Tensor, **inputs: Any) -> Tensor:
    """(n, vocabulary) logits at (``rows[i]``, ``positions[i]``) of a language model's output for ``inputs``.

    The hidden states are narrowed between the model's body and its own head, so whatever the head does (a projection,
    scaling, a soft cap) stays the model's. A model whose body does not hand over hidden states computes all logits.
    """
    with _narrowed(model, rows, positions) as narrowed:
        logits: Tensor = model(**inputs).logits
    if narrowed:
        return logits[0]
    return logits[rows.to(logits.device), positions.to(logits.device)]


def logprobs_of(logits: Tensor, index: Tensor, targets: Tensor) -> Tensor:
    """(m,) float32 ln softmax(``logits[index[j]]``)[``targets[j]``], nats; logits: (n, vocabulary) of any dtype."""
    index, targets = index.to(logits.device), targets.to(logits.device)
    values = torch.empty(len(index), device=logits.device)
    chunk = max(1, CHUNK_BYTES // (4 * logits.shape[-1]))
    for start, part in zip(range(0, len(logits), chunk), logits.split(chunk), strict=True):
        asked = (index >= start) & (index < start + chunk)
        # fused, unlike logsumexp: a third of its time on a CPU
        values[asked] = part.float().log_softmax(-1)[index[asked] - start, targets[asked]]
    return values


@contextmanager
def _narrowed(model: Any, rows: Tensor, positions: Tensor) -> Iterator[list[bool]]:
    """While open, the body hands its head one row with the chosen hidden states; the list is filled where it did."""
    done: list[bool] = []

    def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None:
            return None
        output.last_hidden_state = hidden[rows.to(hidden.device), positions.to(hidden.device)][None]
        done.append(True)
        return output

    body = getattr(model, "base_model", model)
    handle = body.register_forward_hook(narrow) if body is not model else None
    try:
        yield done
    finally:
        if handle is not None:
            handle.remove()
