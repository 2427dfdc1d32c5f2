"""What a config names besides model and prompts, made ready for the trainer: scales, levels, penalty, critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.loading import resolve
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.fairness import FairnessShaper, GroupSnapshot
from rlhf_fair.training.fairness.groups import ColumnGroups
from rlhf_fair.training.fairness.noise import check_tolerance
from rlhf_fair.training.ppo.config import ModelReward, PPOConfig, RewardSource
from rlhf_fair.training.ppo.critic import RewardCritic
from rlhf_fair.training.ppo.held_out import TEXT
from rlhf_fair.training.ppo.prompt_table import plain
from rlhf_fair.training.ppo.rewards import Part
from rlhf_fair.training.ppo.trainer import Fairness


def reward_scale(source: RewardSource, values: pd.Series) -> tuple[float, float]:
    """(centre, spread) of a reward, from its numbers for the untrained policy's answers to prompts of training."""
    if source.scale == "raw":
        return 0.0, 1.0
    if not float(values.std()) > 0:
        raise SettingsError(
            f"reward {source.label!r}: scale = 'start' needs answers that differ in it; got {values.iloc[0]:g} for all"
        )
    return float(values.mean()), float(values.std())


def levels_before(config: PPOConfig, ruler: ScoresQuality, answers: pd.DataFrame) -> dict[str, float]:
    """Each group's mean training score in ``answers`` of the untrained policy: what no group should fall below.

    Raises
    ------
    SettingsError
        The penalty's tolerance lies below what chance alone would show with such groups.
    """
    columns: dict[str, Sequence[Any]] = {name: plain(answers[name]) for name in config.group_by}
    labels = ColumnGroups(config.group_by)(answers["prompt"].tolist(), columns)
    before = GroupSnapshot.of(labels, np.asarray(ruler.score(answers[TEXT].tolist()), dtype=float))
    check_tolerance(config.penalty, before, config.training.batch_size)
    return dict(zip(before.groups, before.means.tolist(), strict=True))


def open_fairness(config: PPOConfig, ruler: ScoresQuality, levels: dict[str, float]) -> Fairness:
    """The penalty with the ruler of training; refusals are shown by group."""
    return Fairness(
        FairnessShaper(config.penalty, levels),
        lambda texts: np.asarray(ruler.score(list(texts)), dtype=float),
        refused=lambda texts: is_refusal(texts).astype(float),
    )


def open_critic(config: PPOConfig, parts: Sequence[Part], folders: Folders, tokenizer: Any) -> RewardCritic | None:
    """The first reward model once more, on the scale that it is paid on; None for a head on the policy's trunk."""
    if config.critic == "shared":
        return None
    source = next(reward for reward in config.rewards if isinstance(reward, ModelReward))
    part = next(part for part in parts if part.label == source.label)
    return RewardCritic.load(
        resolve(source.model, folders.data),
        tokenizer,
        mean=part.centre,
        sd=part.spread / part.weight,
        streams=2 if config.training.separate_fairness_critic else 1,
    )
