"""What all stages of the pipeline share: the world, their sizes, their random streams, and who hears of progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.annotators.population import Population
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness import FairnessSettings
from rlhf_fair.training.ppo.trainer import PPOSettings
from rlhf_fair.training.reward.settings import RewardSettings
from rlhf_fair.training.sft import SFTSettings

Progress = Callable[[str, int, int], None]
"""Hears what is being done, how many steps of it are done, and of how many."""

DOCUMENTS, DEMONSTRATIONS, PAIRS, RATED_ANSWERS, PEOPLE, STEPS = range(6)
"""Random streams of the stages."""


class World(Protocol):
    """Where prompts, demonstrations and judgements come from; `rlhf_fair.demo.hiring.HiringWorld` is one."""

    def documents(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]: ...
    def demonstrations(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]: ...
    def prompts(self, n: int, rng: np.random.Generator) -> pd.DataFrame: ...
    def pool(self, rng: np.random.Generator) -> pd.DataFrame: ...
    def population(self) -> Population: ...
    def judge(
        self, items: pd.DataFrame, assignments: pd.DataFrame, members: pd.DataFrame, rng: np.random.Generator
    ) -> pd.DataFrame: ...
    def training_scorer(self, answers: pd.DataFrame, rng: np.random.Generator) -> LexiconScorer: ...
    def new_model(self, documents: list[tuple[str, str]], seed: int) -> tuple[Any, Any]: ...


class PipelineSettings(Settings):
    """Sizes and optimisation of every stage."""

    seed: int = 0
    documents: int = Field(26_000, ge=1)
    demonstrations: int = Field(3_000, ge=1)
    pairs: int = Field(12_000, ge=2)
    ratings_per_pair: int = Field(4, ge=1)
    panel_size: int = Field(300, ge=2)
    rated_answers: int = Field(800, ge=2)
    group_by: tuple[str, ...] = ("gender", "ethnicity")
    pretraining: SFTSettings = SFTSettings(epochs=2, batch_size=32, learning_rate=4e-3)
    sft: SFTSettings = SFTSettings(epochs=1, batch_size=32, learning_rate=1e-3)
    reward: RewardSettings = RewardSettings(epochs=2, batch_size=32, learning_rate=2e-3, weight_decay=0.0, device="cpu")
    ppo: PPOSettings = PPOSettings(steps=48, kl_coef=0.1)
    fairness: FairnessSettings = FairnessSettings(strength=60.0, memory=0.85)


QUICK_PIPELINE = PipelineSettings(
    documents=200,
    demonstrations=64,
    pairs=64,
    ratings_per_pair=2,
    panel_size=40,
    rated_answers=64,
    ppo=PPOSettings(steps=2, batch_size=16, minibatch_size=8, max_new_tokens=12),
)
"""Sizes with which everything runs and nothing is learnt."""


@dataclass(frozen=True)
class Loop:
    """What every stage is handed first."""

    world: World
    settings: PipelineSettings
    progress: Progress

    def rng(self, stream: int, *part: int) -> np.random.Generator:
        """A random stream of its own for every stage, so that none depends on another having run."""
        return np.random.default_rng((self.settings.seed, stream, *part))
