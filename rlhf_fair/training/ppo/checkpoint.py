"""What a PPO run needs to go on after it was stopped: weights, optimiser, multipliers, KL price, curve, position."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf_fair.training.reward.checkpoint import Progress, fingerprint, keep, restore, weight_digests

__all__ = ["Progress", "RunState", "TrainedWeights", "fingerprint", "weight_digests"]


class TrainedWeights:
    """The parameters of a module that learn; the others are those of the model that a run starts from."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the tensors in."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state[name])


class RunState:
    """The file that holds a run, or none.

    ``weights`` and ``running`` map names to whatever has a ``state_dict``. At the start of a step all their states are
    remembered (in the machine's memory, as large as the trained weights and their optimiser's moments), since a step
    may fail after some of its moves; without a file, those of ``running`` (multipliers, KL price) alone. Of several
    processes all read, and the one that ``writes`` does so.
    """

    def __init__(
        self, path: Path | None, identity: str, weights: dict[str, Any], running: dict[str, Any], *, writes: bool = True
    ) -> None:
        self.path, self.identity, self.weights, self.running = path, identity, weights, running
        self.writes = writes
        self._before: dict[str, Any] = {}

    def restore(self) -> Progress:
        """Take up an earlier run of the same settings, model and prompts; without one, stand at the beginning."""
        if self.path is None:
            return Progress()
        return restore(self.path, self.identity, self.weights | self.running)

    def begin_step(self) -> None:
        """Remember what a step moves before its end."""
        parts = self.running if self.path is None else self.weights | self.running
        self._before = {name: _copied(part.state_dict()) for name, part in parts.items()}

    def keep(self, progress: Progress) -> None:
        """Write the state after a finished step, in one move."""
        if self.path is not None and self.writes:
            keep(self.path, self.identity, self.weights | self.running, progress)

    def keep_last_good(self, progress: Progress) -> None:
        """Go back to the start of a step that failed, and write that: it will be tried again."""
        parts = self.weights | self.running
        for name, state in self._before.items():
            parts[name].load_state_dict(state)
        self.keep(progress)


def _copied(state: Any) -> Any:
    """A copy in the machine's memory."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else copy.deepcopy(state)
