"""How much one forward pass of a model may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rlhf_fair.models.selected_logits import input_device

T = TypeVar("T")


@dataclass(frozen=True)
class BatchLimits:
    """What one forward pass may hold; a single sequence that exceeds a limit runs by itself.

    tokens: padded tokens. logits_mib: logits of one pass. share_prefixes: False runs every sequence in full.
    """

    tokens: int = 2048
    logits_mib: int = 256
    share_prefixes: bool = True

    @classmethod
    def for_model(cls, model: Any) -> BatchLimits:
        """A CPU is busy with small batches and slows down when they leave its caches; a GPU is not."""
        return cls() if input_device(model).type == "cpu" else cls(tokens=32768, logits_mib=2048)

    def most_logits(self, vocabulary: int) -> int:
        """Positions whose logits (of four bytes) fit."""
        return max(1, self.logits_mib * 2**20 // (4 * vocabulary))

    def runs(self, items: Sequence[T], lengths: Sequence[int], *, most: int | None = None) -> Iterator[list[T]]:
        """``items``, whose ``lengths`` rise, cut where padding to the longest would exceed the tokens of a pass.

        >>> list(BatchLimits(tokens=6).runs("abcd", [1, 2, 3, 9]))
        [['a', 'b'], ['c'], ['d']]
        """
        run: list[T] = []
        for item, length in zip(items, lengths, strict=True):
            if run and ((len(run) + 1) * length > self.tokens or len(run) == most):
                yield run
                run = []
            run.append(item)
        if run:
            yield run
