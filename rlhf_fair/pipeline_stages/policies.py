"""Policies: PPO against a panel's reward model, with or without the fairness penalty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import write_json
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.pipeline_stages.feedback import ITEMS_NAME
from rlhf_fair.pipeline_stages.loop import STEPS, Loop
from rlhf_fair.pipeline_stages.reward_models import PolicyReward
from rlhf_fair.records import INTERSECTION
from rlhf_fair.tables import read_table
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.ppo.devices import hasten
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer

FAIRNESS_NAME = "fairness.json"
"""Group means and multipliers of the penalty when a policy was finished."""


@dataclass(frozen=True)
class Ingredients:
    """Folders of what policies are made from; ``panels`` and ``rewards`` by name of the panel."""

    base: Path
    sft: Path
    pairs: Path
    scorer: Path
    panels: dict[str, Path]
    rewards: dict[str, Path]


@dataclass(frozen=True)
class Course:
    """One run of PPO: from which policy, for which reward, under which penalty.

    ``reference``: the policy from which the KL divergence is priced; None is ``start``.
    """

    name: str
    panel: str
    start: Path
    reward: Path
    fairness: Fairness | None
    ppo: PPOSettings
    seed: int
    reference: Path | None = None


def policy_name(stage: str, panel: str) -> str:
    """The name of a policy and of its folder.

    >>> policy_name("fair_ppo", "diverse")
    'fair-ppo-diverse'
    """
    return f"{stage.replace('_', '-')}-{panel}"


def optimise(loop: Loop, stage: str, panel: str, made: Ingredients, out: Path) -> None:
    """A policy of the first round, from the SFT model; every policy is asked the same prompts at the same step."""
    s = loop.settings
    fairness = penalty(loop, made.scorer, made.pairs) if stage == "fair_ppo" else None
    course = Course(policy_name(stage, panel), panel, made.sft, made.rewards[panel], fairness, s.ppo, s.seed)
    improve(loop, course, lambda step: batch(loop, loop.rng(STEPS, step)), out)


def penalty(loop: Loop, scorer: Path, pairs: Path) -> Fairness:
    """The penalty on the training scorer, with the groups' means among the SFT policy's ``pairs`` as floors."""
    ruler = LexiconScorer.load(scorer / "scorer.json")
    floors = _group_means(read_table(pairs / ITEMS_NAME), ruler, loop.settings.group_by)
    settings = loop.settings.fairness.model_copy(update={"group_by": loop.settings.group_by})
    return Fairness(FairnessShaper(settings, floors), ruler.score)


def improve(loop: Loop, course: Course, prompts: Callable[[int], PromptBatch], out: Path) -> None:
    """A policy by PPO along ``course``, the record of its training, and where its penalty ended."""
    lm, ppo = CausalLM.load(course.start), course.ppo
    trainer = PPOTrainer(
        lm.model, lm.tokenizer, PolicyReward(course.reward), ppo, seed=course.seed, fairness=course.fairness
    )
    if course.reference is not None:
        reference = CausalLM.load(course.reference).model.to(trainer.devices.device)
        if ppo.kernels == "fast":
            hasten(reference, trainer.devices.device.type)
        trainer.reference = Reference(reference, additions=False)
    record = trainer.train(
        prompts, name=course.name, on_step=lambda row: loop.progress(course.name, int(row["step"]), ppo.steps)
    )
    lm.model.save_pretrained(out)
    lm.tokenizer.save_pretrained(out)
    if course.fairness is not None:
        write_json(out / FAIRNESS_NAME, course.fairness.shaper.state_dict())
    write_json(out / "training.json", record.model_copy(update={"panel": course.panel}).model_dump(mode="json"))


def batch(loop: Loop, rng: np.random.Generator) -> PromptBatch:
    """Training prompts of one step of PPO."""
    prompts = loop.world.prompts(loop.settings.ppo.batch_size, rng)
    columns = {str(name): prompts[name].tolist() for name in prompts.columns if name != "prompt"}
    return PromptBatch(prompts["prompt"].tolist(), columns)


def _group_means(items: pd.DataFrame, ruler: LexiconScorer, group_by: tuple[str, ...]) -> dict[str, float]:
    """Each group's mean training score under the SFT policy: the level it must not fall below."""
    labels = group_labels(items, INTERSECTION.join(group_by))
    means = pd.Series(ruler.score(items["response_a"].tolist())).groupby(labels.to_numpy()).mean()
    return {str(group): float(mean) for group, mean in means.items()}
