"""The config of ``rlhf-fair train ppo``: which model, which prompts with which groups, which rewards, which penalty."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlhf_fair.models.chat_template import Chat
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness import FairnessSettings
from rlhf_fair.training.group_source import GroupSourceSettings
from rlhf_fair.training.ppo.job.record_columns import OURS, PREFIXES, is_ours
from rlhf_fair.training.ppo.rewards.sources import ModelReward, RewardSource, ScorerReward
from rlhf_fair.training.ppo.settings import PPOSettings

OFF = ("training.value_clip_range", "training.max_grad_norm")
"""Bounds that ``inf`` turns off."""


class PromptSource(Settings):
    """A table of prompts: CSV, TSV, JSONL or Parquet, one row for each.

    ``groups``: columns that say whom a prompt is about; each is compared by itself, and several also crossed.
    ``clusters``: columns of rows that belong together, such as twins of one prompt; the first also keeps them in one
    batch and, with all rows of an equal text, on one side of the split. ``references``: group column -> the group that
    gaps are told from; else the first by name. ``missing``: cell texts that mean an empty cell. All other columns reach
    the reward as they are. Groups, strata and clusters lie in the records of held-out answers, so they cannot be called
    as columns of those are: length, reward and the like.

    ``derive``: column -> how it is made from the prompt, for groups that no column names: by words, by a lexicon, by a
    classifier. ``unknown``: prompts whose group is not known are rejected, or kept: then they train without a penalty.
    """

    path: str
    prompt: str = "prompt"
    id: str = "prompt_id"
    groups: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    references: dict[str, str] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    derive: dict[str, GroupSourceSettings] = Field(default_factory=dict)
    unknown: Literal["reject", "keep"] = "reject"

    @model_validator(mode="after")
    def _references_are_of_groups(self) -> Self:
        if odd := sorted(self.references.keys() - set(self.groups)):
            raise ValueError(f"references: {odd[0]!r} is none of groups = {list(self.groups)}")
        return self


class HeldOut(Settings):
    """Prompts that training never sees: a ``share`` of the table, drawn by cluster and text, or a table of their own.

    Rows of training that share a text or the first cluster with a held-out row are left out, and all linked to those.
    Each is answered ``samples`` times before and after training. Intervals cover 1 - ``alpha``.
    """

    share: float = Field(0.2, gt=0, lt=1)
    path: str = ""
    samples: int = Field(1, ge=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)


class FairnessSection(FairnessSettings):
    """The penalty, and the scorer that it is measured by in training.

    ``group_by`` defaults to all group columns of the prompts; ``strata_by`` may name any column.
    """

    group_by: tuple[str, ...] = ()
    scorer: ScorerPlan


class Samples(Settings):
    """Keep ``n`` answers of every ``every``-th step in samples.jsonl.

    ``text``: "escaped" for HTML, so that the file can be shown anywhere, or "raw".
    """

    every: int = Field(10, ge=1)
    n: int = Field(4, ge=1)
    text: Literal["escaped", "raw"] = "escaped"


class PPOConfig(Settings):
    """A whole job. Models are relative to ``--data-dir``, scorers' files and Python rewards to the config; tables lie
    beside the config, or else in ``--data-dir``.

    ``chat``: whether a prompt goes through the policy's chat template as the message of a user.
    ``certify``: rulers for held-out answers that training does not see. ``critic``: values from a head on the policy's
    trunk, or from a network of its own that starts as the first reward model.
    """

    title: str
    model: str
    chat: Chat = "auto"
    seed: int = Field(0, ge=0)
    prompts: PromptSource
    held_out: HeldOut = HeldOut()
    rewards: tuple[RewardSource, ...] = Field(min_length=1)
    fairness: FairnessSection | None = None
    certify: tuple[ScorerPlan, ...] = ()
    critic: Literal["shared", "reward model"] = "shared"
    training: PPOSettings = PPOSettings()
    samples: Samples | None = None

    @property
    def group_by(self) -> tuple[str, ...]:
        """The columns whose groups the penalty compares, crossed where there are several."""
        return () if self.fairness is None else self.fairness.group_by or self.prompts.groups

    @property
    def penalty(self) -> FairnessSettings:
        """``[fairness]`` without its scorer; what was not said stays unsaid, as its checks want it."""
        assert self.fairness is not None
        given = self.fairness.model_dump(exclude={"scorer"}, exclude_unset=True)
        return FairnessSettings.model_validate(given | {"group_by": self.group_by})

    @model_validator(mode="after")
    def _rewards_are_told_apart(self) -> Self:
        labels = [reward.label for reward in self.rewards]
        if len(set(labels)) < len(labels):
            raise ValueError(f"rewards: names must differ: {labels}; give each a name")
        if self.critic == "reward model" and not any(isinstance(reward, ModelReward) for reward in self.rewards):
            raise ValueError("critic = 'reward model' needs a reward of kind 'model'; allowed: 'shared'")
        return self

    @model_validator(mode="after")
    def _the_penalty_has_groups(self) -> Self:
        if self.fairness is None:
            return self
        if not self.prompts.groups:
            raise ValueError("fairness needs prompts.groups: the columns that say whom a prompt is about")
        if odd := [name for name in self.fairness.group_by if name not in self.prompts.groups]:
            raise ValueError(f"fairness.group_by: {odd[0]!r} is none of prompts.groups = {list(self.prompts.groups)}")
        return self

    @model_validator(mode="after")
    def _records_have_one_column_of_a_name(self) -> Self:
        strata = self.fairness.strata_by if self.fairness else ()
        for name in (*self.prompts.groups, *strata, *self.prompts.clusters):
            if is_ours(name):
                raise ValueError(
                    f"prompts: {name!r} cannot be a group, a stratum or a cluster, as records of held-out answers have "
                    f"a column of that name; rename it in the table. Taken: {', '.join(OURS)}, and names that begin "
                    f"with {' or '.join(PREFIXES)}"
                )
        return self

    @model_validator(mode="after")
    def _numbers_are_finite(self) -> Self:
        if odd := [(key, value) for key, value in _infinite(self.model_dump()) if key not in OFF]:
            raise ValueError(
                f"{odd[0][0]} = {odd[0][1]}: allowed: a finite number (inf turns off {', '.join(OFF)} alone)"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_said_in_vain(self) -> Self:
        lora = self.training.lora
        if lora is not None and lora.dropout:
            raise ValueError(f"training.lora.dropout = {lora.dropout:g} would do nothing: PPO runs with dropout off")
        if self.training.separate_fairness_critic and self.fairness is None:
            raise ValueError("training.separate_fairness_critic needs [fairness]: without a penalty it has no values")
        if self.fairness and set(self.group_by) <= set(self.fairness.strata_by):
            raise ValueError("fairness.strata_by holds all of group_by: each stratum would be one group alone")
        return self

    @model_validator(mode="after")
    def _certifying_rulers_are_held_out(self) -> Self:
        seen = [reward.scorer for reward in self.rewards if isinstance(reward, ScorerReward)]
        seen += [self.fairness.scorer] if self.fairness else []
        rulers = {_ruler(plan): plan for plan in seen}
        for plan in self.certify:
            if _ruler(plan) in rulers:
                raise ValueError(
                    f"certify: {plan.name!r} is used in training; a ruler that was aimed at cannot certify"
                )
        return self


def _infinite(value: Any, key: str = "") -> list[tuple[str, float]]:
    """Dotted key and value of every number that is not finite."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [(key, value)]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple | list) else ()
    return [entry for name, item in inner for entry in _infinite(item, f"{key}.{name}".lstrip("."))]


def _ruler(plan: ScorerPlan) -> tuple[str, ...]:
    """What makes two entries the same ruler, whatever they are called."""
    values = ",".join(f"{name}={value}" for name, value in sorted(plan.values.items()))
    return plan.kind, plan.file, plan.model, plan.endpoint, plan.question, values
