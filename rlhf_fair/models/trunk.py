"""The part of a language model below its head, reached without leaving the model's own forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from rlhf_fair.errors import ModelLoadError


def plain_model(model: Any) -> Any:
    """The transformers model inside additions of peft."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def trunk_of(model: Any) -> Any | None:
    """The part of a transformers model below its head; None where it has none of its own."""
    plain = plain_model(model)
    trunk = getattr(plain, "base_model", plain)
    return None if trunk is plain else trunk


def positions_of(model: Any, attention_mask: Tensor) -> dict[str, Tensor]:
    """``position_ids`` counted from the first real token, since padding is on the left; empty for a model without."""
    forward = getattr(plain_model(model), "forward", None)
    if forward is not None and "position_ids" not in inspect.signature(forward).parameters:
        return {}
    return {"position_ids": (attention_mask.long().cumsum(-1) - 1).clamp(min=0)}


def head_of(model: Any) -> Any | None:
    """The layer that turns hidden states into logits; None where it is not known."""
    return getattr(plain_model(model), "get_output_embeddings", lambda: None)()


def hidden_width(model: Any) -> int:
    """Width of the hidden states that the head reads; some OPT models project them to that of the embeddings first."""
    config = model.config.get_text_config()
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


class Tap:
    """Holds what the trunk said last. heard: whether a trunk or a head is there that will be heard."""

    def __init__(self, heard: bool) -> None:
        self.heard = heard
        self.hidden: Tensor | None = None

    @property
    def options(self) -> dict[str, bool]:
        """What the model must be told so that `last` finds its hidden states."""
        return {} if self.heard else {"output_hidden_states": True}

    def last(self, output: Any, length: int) -> Tensor:
        """(batch, length, width) hidden states at the last positions of a pass."""
        if self.hidden is not None:
            return self.hidden[:, -length:]
        hidden = getattr(output, "hidden_states", None)
        if not hidden:
            raise ModelLoadError(f"model: neither its trunk nor its head let hidden states be read ({type(output)})")
        last: Tensor = hidden[-1]
        return last[:, -length:]


@contextmanager
def tapped_trunk(model: Any, length: int) -> Iterator[Tap]:
    """While open, the trunk hands its head the last ``length`` positions alone, and these can be read.

    Whatever the head does with them (a projection, scaling, a soft cap) stays the model's.
    """
    trunk, head = trunk_of(model), head_of(model)
    tap = Tap(trunk is not None or head is not None)

    def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = tap.hidden = output.last_hidden_state[:, -length:]
        return output

    def narrow_input(_module: Any, inputs: Any) -> Any:
        if not inputs:
            return None
        narrowed = inputs[0][:, -length:]
        if tap.hidden is None:  # a model whose forward pass goes round its trunk, as OPT's does
            tap.hidden = narrowed
        return (narrowed, *inputs[1:])

    handles = [] if trunk is None else [trunk.register_forward_hook(narrow)]
    handles += [] if head is None else [head.register_forward_pre_hook(narrow_input)]
    try:
        yield tap
    finally:
        for handle in handles:
            handle.remove()
