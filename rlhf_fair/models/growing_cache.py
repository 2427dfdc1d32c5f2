"""Keys and values of a text that grows to a known length: written in place instead of copied at every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def growing_cache(config: Any, length: int) -> DynamicCache:
    """A cache with room for ``length`` tokens; layers of another kind than full attention stay as transformers has
    them."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(length) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """``keys`` and ``values``: (batch, heads, tokens so far, head size), views of buffers with room for ``room``."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.keys: Tensor | None
        self.values: Tensor | None
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind those before; beyond the room, grow as any other cache does."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self.room:
            self._buffers = None
            grown: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return grown
        if self._buffers is None or len(self._buffers[0]) != len(key_states):
            before = (self.keys, self.values) if start else (None, None)
            self._buffers = (self._buffer(key_states, before[0]), self._buffer(value_states, before[1]))
        keys, values = self._buffers
        keys[:, :, start:end], values[:, :, start:end] = key_states, value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Other rows from now on: the buffers are laid anew at the next token."""
        super().reorder_cache(beam_idx)
        self._buffers = None

    def _buffer(self, states: Tensor, before: Tensor | None) -> Tensor:
        batch, heads, _, size = states.shape
        buffer = torch.empty((batch, heads, self.room, size), dtype=states.dtype, device=states.device)
        if before is not None:
            buffer[:, :, : before.shape[-2]] = before
        return buffer
