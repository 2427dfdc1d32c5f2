"""What a term that is added to the loss gets to see, and what it must provide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from rlhf_fair.training.reward.weighting import Across

Tokenize = Callable[[Sequence[str]], list[list[int]]]
"""The model's tokenizer: ids of each text, cut at the longest length."""


@dataclass(frozen=True)
class Step:
    """One batch on its way through the model.

    ``outputs``: (columns, batch, heads), with gradients. ``features``: (columns, batch, width), what the head reads;
    None unless a term asks for it. ``rows``: (batch,) numbers of the training rows. ``score``: further token rows
    through the same model, (n, heads). ``rng``: a stream of this step's own, equal in a resumed run. ``progress``: the
    share of the training done, in [0, 1).
    """

    outputs: torch.Tensor
    features: torch.Tensor | None
    rows: torch.Tensor
    score: Callable[[Sequence[Sequence[int]]], torch.Tensor]
    rng: np.random.Generator
    progress: float
    across: Across


class Term(Protocol):
    """A penalty beside the objective's loss. It may have parameters of its own and a state."""

    @property
    def needs_features(self) -> bool:
        """Whether `Step.features` must be there."""

    def prepare(self, tokenize: Tokenize, width: int, device: torch.device) -> None:
        """Called once before training, with the model's feature width, and the device of its parameters and ours."""

    def loss(self, step: Step) -> torch.Tensor:
        """Scalar to be added."""

    def after_step(self) -> None:
        """Called when the optimiser has moved, for multipliers."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """Trained beside the model's."""

    def metrics(self) -> dict[str, float]:
        """Of the last batch, for the curve."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside `parameters`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
