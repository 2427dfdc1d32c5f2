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
from rlhf_fair.training.fairness import FairnessShaper, StratifiedSnapshot
from rlhf_fair.training.fairness.groups import ColumnGroups, Labels, strata_labels
from rlhf_fair.training.fairness.named_groups import check_named_groups
from rlhf_fair.training.fairness.noise import check_tolerance
from rlhf_fair.training.ppo.critic import RewardCritic
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.held_out import measure
from rlhf_fair.training.ppo.job.prompt_table import plain
from rlhf_fair.training.ppo.job.record_columns import REWARD, TEXT
from rlhf_fair.training.ppo.rewards.sources import ModelReward, RewardSource, ScorerReward
from rlhf_fair.training.ppo.rewards.total import Part, RewardSum, RulerReward
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


def first_scales(
    config: PPOConfig, reward: RewardSum, answers: pd.DataFrame, prompts: pd.DataFrame
) -> dict[str, tuple[float, float]]:
    """`reward_scale` of every reward, from ``answers`` of the untrained policy to some of the ``prompts``.

    Rewards that need no answers are not asked.

    Raises
    ------
    SettingsError
        A reward to be scaled gives one number for all, or the rulers that alone pay find nothing in any answer.
    """
    asked = {source.label for source in config.rewards if needs_answers(source)}
    parts = RewardSum([part for part in reward.parts if part.label in asked])
    found = measure(answers, prompts, parts, {}) if asked else answers
    values = {label: found[f"{REWARD}.{label}"] for label in asked}
    _check_finds_something(reward.parts, len(found))
    return {s.label: reward_scale(s, values.get(s.label, pd.Series(dtype=float))) for s in config.rewards}


def needs_answers(source: RewardSource) -> bool:
    """Whether a reward is asked about the untrained policy's answers: for its scale, or as it may find nothing."""
    return source.scale != "raw" or isinstance(source, ScorerReward)


def _check_finds_something(parts: Sequence[Part], n: int) -> None:
    """Rulers beside another reward may be silent, such as one that guards against rare words."""
    rulers = [(part.label, part.reward) for part in parts if isinstance(part.reward, RulerReward)]
    if len(rulers) == len(parts) and not any(ruler.measured for _, ruler in rulers):
        named = ", ".join(f"{label!r} (scorer {ruler.source.scorer.name!r})" for label, ruler in rulers)
        raise SettingsError(
            f"rewards: {named} found nothing in any of {n} answers of the untrained policy, so that all are paid alike "
            "and nothing is learned; allowed: a reward that tells some of them apart"
        )


def group_labels(config: PPOConfig, rows: pd.DataFrame) -> Labels:
    """The group that the penalty counts each row to; None where it is not known."""
    columns: dict[str, Sequence[Any]] = {name: plain(rows[name]) for name in config.group_by}
    return ColumnGroups(config.group_by)(rows["prompt"].tolist(), columns)


def check_groups(config: PPOConfig, train: pd.DataFrame) -> None:
    """Refuse a penalty between groups that no prompt of training belongs to: it would stay 0 for ever.

    Raises
    ------
    SettingsError
        A reference or a group of a contrast is not there, or there are not two groups; the groups that are.
    """
    if config.fairness is None:
        return
    groups = sorted(set(group_labels(config, train)) - {None}, key=str)
    if len(groups) < 2:
        raise SettingsError(f"fairness compares groups of {' & '.join(config.group_by)}; prompts of training: {groups}")
    check_named_groups(config.fairness, [str(group) for group in groups], "prompts of training")


def stratum_labels(config: PPOConfig, rows: pd.DataFrame) -> list[str] | None:
    """The stratum that the penalty compares each row within; None where it compares over all rows."""
    names = config.penalty.strata_by
    columns: dict[str, Sequence[Any]] = {name: plain(rows[name]) for name in names}
    return strata_labels(columns, names)


def levels_before(config: PPOConfig, ruler: ScoresQuality, answers: pd.DataFrame) -> dict[str, float]:
    """Each group's mean training score in ``answers`` of the untrained policy: what no group should fall below.

    Raises
    ------
    SettingsError
        No answer has a score, or the penalty's tolerance lies below what chance alone would show with such groups.
    """
    groups, scores = group_labels(config, answers), np.asarray(ruler.score(answers[TEXT].tolist()), dtype=float)
    before = StratifiedSnapshot.of_sample(groups, scores, stratum_labels(config, answers))
    if not before.pooled.groups:
        assert config.fairness is not None
        raise SettingsError(
            f"fairness.scorer {config.fairness.scorer.name!r} scored none of {len(answers)} answers of the untrained "
            "policy to prompts with a known group: the penalty would stay 0 for ever; allowed: a scorer that finds "
            "something in them"
        )
    check_tolerance(config.penalty, before, config.training.batch_size)
    return dict(zip(before.pooled.groups, before.pooled.means.tolist(), strict=True))


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
