"""What every method starts from: the same base and SFT model, pairs, feedback, reward models, and prompts per step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.mitigations.policies import ModelPolicy
from rlhf_fair.mitigations.settings import MitigationSettings
from rlhf_fair.mitigations.twins import Roster
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.pipeline import Ingredients, PipelineSettings, PolicyReward, Progress, World
from rlhf_fair.records import INTERSECTION
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table
from rlhf_fair.training.ppo.rollout import PromptBatch

COST_NAME, OPTIONS_NAME = "cost.json", "options.json"
SFT_STREAM, PPO_STREAM = 1, 5
"""Random streams of the pipeline, so that methods see its demonstrations and prompts."""

ROSTER_PROMPTS = 4_000
"""Prompts that are looked through for names: so many that none of a few hundred is missed."""


class MitigationWorld(World, Protocol):
    """A world that also knows what an answer is worth to its population."""

    def true_utility(self, answers: pd.DataFrame) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Kit:
    """One seed's world and everything made in it; all randomness of a method comes from `rng`."""

    world: MitigationWorld
    settings: MitigationSettings
    seed: int
    made: Ingredients
    stages: Stages
    progress: Progress

    @property
    def pipeline(self) -> PipelineSettings:
        """Sizes and optimisation, with this seed."""
        return self.settings.pipeline.model_copy(update={"seed": self.seed})

    def rng(self, *purpose: int) -> np.random.Generator:
        """A stream of its own for each purpose, apart from those of the pipeline's stages."""
        return np.random.default_rng((self.seed, 100, *purpose))

    @cached_property
    def items(self) -> pd.DataFrame:
        """Pairs as the panel judged them: item_id, prompt, columns of the prompt, response_a, response_b, p_a."""
        preferences = read_table(self.made.panels[self.settings.panel] / "preferences.parquet")
        items = read_table(self.made.pairs / "items.parquet")
        return items.merge(preferences[["item_id", "p_a"]].dropna(), on="item_id")

    @cached_property
    def roster(self) -> Roster:
        """The names that training may see."""
        return Roster.of(self.world.prompts(ROSTER_PROMPTS, self.rng(0)), self.pipeline.group_by)

    @cached_property
    def scorer(self) -> LexiconScorer:
        """The training scorer; audits use another."""
        return LexiconScorer.load(self.made.scorer / "scorer.json")

    @cached_property
    def reward(self) -> PolicyReward:
        """The plain reward model of the panel."""
        return PolicyReward(self.made.rewards[self.settings.panel])

    @cached_property
    def floors(self) -> dict[str, float]:
        """Group -> mean training score under the SFT policy: the level it should not fall below."""
        items = read_table(self.made.pairs / "items.parquet")
        scores = pd.Series(self.scorer.score(items["response_a"].tolist()))
        means = scores.groupby(self.groups(items).to_numpy()).mean()
        return {str(group): float(mean) for group, mean in means.items()}

    def groups(self, prompts: pd.DataFrame) -> pd.Series:
        """The crossed group of each prompt."""
        return group_labels(prompts, INTERSECTION.join(self.pipeline.group_by))

    def prompts(self, step: int) -> PromptBatch:
        """Training prompts of one step, the pipeline's own: they depend on seed and step alone."""
        rng = np.random.default_rng((self.seed, PPO_STREAM, step))
        rows = self.world.prompts(self.pipeline.ppo.batch_size, rng)
        columns = {str(name): rows[name].tolist() for name in rows.columns if name != "prompt"}
        return PromptBatch(rows["prompt"].tolist(), columns)

    def model_policy(self, folder: Path) -> ModelPolicy:
        """The language model in ``folder``, sampled as everywhere."""
        ppo = self.pipeline.ppo
        return ModelPolicy(CausalLM.load(folder), ppo.max_new_tokens, ppo.temperature)

    def trained(self, name: str, build: Callable[[Kit, Path], None]) -> Path:
        """The folder of a finished method, built unless it is there; its cost stands in `COST_NAME`.

        Raises
        ------
        SettingsError
            It is there, made with other options.
        """
        options = self.settings.options(name)
        folder = self.stages.run(f"method-{name}", partial(self._timed, build, options))
        if read_json(folder / OPTIONS_NAME, "options") != options:
            raise SettingsError(
                f"{folder} was made with other options ({', '.join(options)}); remove it and "
                f"{folder.with_name(f'records-{name}')} to make it anew, or choose another --out"
            )
        return folder

    def hear(self, what: str, total: int) -> Callable[[dict[str, Any]], None]:
        """A listener for rows of a curve that have a step."""
        return lambda row: self.progress(f"{what}, seed {self.seed}", int(row["step"]), total)

    def _timed(self, build: Callable[[Kit, Path], None], options: dict[str, Any], out: Path) -> None:
        write_json(out / OPTIONS_NAME, options)
        started, wall = time.process_time(), time.perf_counter()
        build(self, out)
        cost = {"cpu_seconds": time.process_time() - started, "seconds": time.perf_counter() - wall}
        write_json(out / COST_NAME, cost)
