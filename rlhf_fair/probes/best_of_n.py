"""What a reward model would select: the score of the best of n answers, which foretells what PPO will do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Reward = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]


def select_best(candidates: Sequence[pd.DataFrame], reward: Reward) -> pd.DataFrame:
    """One row per prompt: the candidate answer with the highest reward; ties go to the first.

    ``candidates`` are n tables with the same rows (prompt, text, ...). The result keeps the chosen table's columns and
    adds ``reward``.
    """
    rewards = np.stack([reward(table["prompt"].tolist(), table["text"].tolist()) for table in candidates])
    chosen = rewards.argmax(axis=0)
    columns = {
        column: np.stack([table[column].to_numpy() for table in candidates])[chosen, np.arange(len(chosen))]
        for column in candidates[0].columns
    }
    return pd.DataFrame(columns).assign(reward=rewards.max(axis=0))
