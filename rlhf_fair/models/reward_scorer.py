"""Whatever gives a text a reward, and how to open one without knowing its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.models.reward_heads import RewardHeads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.tree_reward import FACTS_NAME, TreeReward


class RewardScorer(Protocol):
    """A reward model of any kind; higher means better. `heads` say how its outputs make one reward."""

    heads: RewardHeads

    def score(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """(n,) rewards in the order of ``texts``; ``on_batch`` hears how many distinct texts were read so far."""

    def outputs(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """(n, heads): what each head says."""

    def save(self, folder: Path) -> None:
        """Write what `open_reward` opens."""


def open_reward(source: str | Path, *, device: str = "auto") -> RewardScorer:
    """A folder with trees, or else a sequence classifier: a directory or hub id.

    Raises
    ------
    ModelLoadError
        It is neither, or incomplete.
    """
    if (Path(source) / FACTS_NAME).is_file():
        return TreeReward.load(source, device=device)
    return RewardModel.load(source, device=device)
