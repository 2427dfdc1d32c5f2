"""The part of a language model below its head, reached without leaving the model's own forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


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


class Tap:
    """Holds what the trunk said last. trunk: None where a model has none of its own, and then nothing is heard."""

    def __init__(self, trunk: Any | None) -> None:
        self.trunk = trunk
        self.hidden: Tensor | None = None

    @property
    def options(self) -> dict[str, bool]:
        """What the model must be told so that `last` finds its hidden states."""
        return {} if self.trunk is not None else {"output_hidden_states": True}

    def last(self, output: Any, length: int) -> Tensor:
        """(batch, length, width) hidden states at the last positions of a pass."""
        hidden: Tensor = output.hidden_states[-1] if self.hidden is None else self.hidden
        return hidden[:, -length:]


@contextmanager
def tapped_trunk(model: Any, length: int) -> Iterator[Tap]:
    """While open, the trunk hands its head the last ``length`` positions alone, and these can be read.

    Whatever the head does with them (a projection, scaling, a soft cap) stays the model's.
    """
    tap = Tap(trunk_of(model))

    def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = tap.hidden = output.last_hidden_state[:, -length:]
        return output

    handle = None if tap.trunk is None else tap.trunk.register_forward_hook(narrow)
    try:
        yield tap
    finally:
        if handle is not None:
            handle.remove()
