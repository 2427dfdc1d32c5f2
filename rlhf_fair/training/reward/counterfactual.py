"""Counterfactual consistency: a text earns the same when only the identity it names is exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.terms import Step, Tokenize

CHUNK = 8
"""Pairs of similar length that go through the model together."""


class CounterfactualConsistency:
    """Adds ``strength`` x the mean squared difference of rewards over text pairs that differ in identity alone.

    Garg et al. 2019, "Counterfactual fairness in text classification" (counterfactual logit pairing), with squares.

    Parameters
    ----------
    pairs
        The text and its counterfactual; a batch of ``batch_size`` of them is drawn for every pass, each pair equally
        often in the long run.
    """

    needs_features = False

    def __init__(self, pairs: Sequence[tuple[str, str]], *, strength: float, batch_size: int = 16) -> None:
        if not pairs:
            raise RowError("counterfactual consistency: no text names an identity that could be exchanged")
        self.pairs, self.strength, self.batch_size = list(pairs), strength, batch_size
        self._tokens: list[tuple[list[int], list[int]]] = []
        self._last = float("nan")

    def prepare(self, tokenize: Tokenize, width: int, device: torch.device) -> None:
        """Tokenise both sides once."""
        first, second = (tokenize([pair[side] for pair in self.pairs]) for side in (0, 1))
        self._tokens = list(zip(first, second, strict=True))

    def loss(self, step: Step) -> torch.Tensor:
        """The penalty of one drawn batch, summed over heads."""
        difference = self.differences(step)
        self._last = float(difference.detach().square().mean().sqrt())
        return self.strength * difference.square().sum(dim=1).mean()

    def differences(self, step: Step) -> torch.Tensor:
        """(pairs drawn, heads): output of the text minus that of its counterfactual."""
        drawn = step.rng.choice(len(self._tokens), size=min(self.batch_size, len(self._tokens)), replace=False)
        drawn = drawn[np.argsort([len(self._tokens[k][0]) for k in drawn], kind="stable")]
        parts = []
        for start in range(0, len(drawn), CHUNK):  # short pairs are not padded to the longest
            chunk = drawn[start : start + CHUNK]
            outputs = step.score([self._tokens[k][side] for side in (0, 1) for k in chunk])
            parts.append(outputs[: len(chunk)] - outputs[len(chunk) :])
        return torch.cat(parts)

    def after_step(self) -> None:
        """Nothing to move."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """None."""
        return []

    def metrics(self) -> dict[str, float]:
        """Root mean square of the differences drawn last."""
        return {"counterfactual_rms": self._last}

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""
