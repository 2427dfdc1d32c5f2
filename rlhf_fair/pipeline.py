"""The loop: population -> panel -> feedback -> reward model -> policy, audited at every stage.

`run_pipeline` reads top to bottom. Each stage is one function of `rlhf_fair.pipeline_stages` that fills a folder;
finished folders are kept, so the same call resumes after an interruption.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rlhf_fair.artifacts import read_json
from rlhf_fair.pipeline_stages.feedback import ask_panel, learn_scorer, sample_pairs
from rlhf_fair.pipeline_stages.language_models import fine_tune, pretrain
from rlhf_fair.pipeline_stages.loop import QUICK_PIPELINE, Loop, PipelineSettings, Progress, World
from rlhf_fair.pipeline_stages.policies import Ingredients, optimise, policy_name
from rlhf_fair.pipeline_stages.reward_models import PolicyReward, reward_texts, train_reward
from rlhf_fair.records import TrainingRun
from rlhf_fair.stages import Stages

__all__ = [
    "PANELS",
    "POLICIES",
    "QUICK_PIPELINE",
    "Ingredients",
    "Loop",
    "PipelineSettings",
    "PolicyReward",
    "PolicyRun",
    "Progress",
    "Trained",
    "World",
    "prepare",
    "reward_texts",
    "run_pipeline",
]

PANELS = ("convenience", "diverse")
POLICIES = (("ppo", "convenience"), ("ppo", "diverse"), ("fair_ppo", "diverse"))
"""(stage, panel) of every policy: who annotates is compared under plain PPO, the penalty on the planned panel."""


@dataclass(frozen=True)
class PolicyRun:
    """A trained policy: which panel's reward it maximised, and whether the penalty was on."""

    name: str
    stage: str
    panel: str
    folder: Path


@dataclass(frozen=True)
class Trained:
    """Folders of everything the loop made."""

    base: Path
    sft: Path
    panels: dict[str, Path]
    rewards: dict[str, Path]
    policies: tuple[PolicyRun, ...]

    def runs(self) -> tuple[TrainingRun, ...]:
        """The record of every training, in order."""
        folders = [self.base, self.sft, *self.rewards.values(), *(policy.folder for policy in self.policies)]
        return tuple(TrainingRun.model_validate(read_json(folder / "training.json", "run")) for folder in folders)


def run_pipeline(world: World, settings: PipelineSettings, stages: Stages, *, progress: Progress) -> Trained:
    """Train everything: base, SFT, two panels with their reward models, and PPO with and without the penalty."""
    loop, made = Loop(world, settings, progress), prepare(world, settings, stages, progress=progress)
    policies = []
    for stage, panel in POLICIES:
        name = policy_name(stage, panel)
        folder = stages.run(name, partial(optimise, loop, stage, panel, made))
        policies.append(PolicyRun(name, stage, panel, folder))
    return Trained(made.base, made.sft, made.panels, made.rewards, tuple(policies))


def prepare(world: World, settings: PipelineSettings, stages: Stages, *, progress: Progress) -> Ingredients:
    """Make all that a policy is optimised from: base and SFT model, pairs, panels, reward models, training scorer."""
    loop = Loop(world, settings, progress)
    base = stages.run("base", partial(pretrain, loop))
    sft = stages.run("sft", partial(fine_tune, loop, base))
    pairs = stages.run("pairs", partial(sample_pairs, loop, sft))
    scorer = stages.run("training-scorer", partial(learn_scorer, loop, pairs))
    panels = {p: stages.run(f"panel-{p}", partial(ask_panel, loop, p, pairs)) for p in PANELS}
    rewards = {p: stages.run(f"reward-{p}", partial(train_reward, loop, p, base, pairs, panels[p])) for p in PANELS}
    return Ingredients(base, sft, pairs, scorer, panels, rewards)
