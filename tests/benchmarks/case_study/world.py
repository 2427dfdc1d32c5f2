"""The world of the case study as the pipeline's stages see it: real text, real raters, real prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import prompts
import texts
from numpy.typing import NDArray

from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.pipeline import PipelineSettings
from rlhf_fair.training.fairness import FairnessSettings
from rlhf_fair.training.ppo.trainer import PPOSettings

GROUP_BY = ("gender", "religion")


@dataclass
class IdentityWorld:
    """``data``: the folder of public data. ``judge``: the folder of a reward model that no policy is trained on."""

    data: Path
    judge: Path
    sentences: prompts.Sentences = field(init=False)
    _judge: object = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.sentences = prompts.Sentences.read(self.data)

    def prompts(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` prompts of training."""
        return self.sentences.draw(n, rng)

    def demonstrations(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
        """What the base model is tuned on; ``n`` at most."""
        found = texts.demonstrations(self.data, rng)
        return [found[i] for i in rng.permutation(len(found))[:n]]

    def true_utility(self, answers: pd.DataFrame) -> NDArray[np.float64]:
        """(n,) what the judge makes of prompt and answer together; nobody knows the truth here."""
        if self._judge is None:
            self._judge = open_reward(self.judge)
        said = [p + a for p, a in zip(answers["prompt"], answers["text"].fillna(""), strict=True)]
        return np.asarray(self._judge.score(said, batch_size=256))  # type: ignore[attr-defined]


def settings(seed: int, *, steps: int, strength: float) -> PipelineSettings:
    """Sizes and optimisation."""
    return PipelineSettings(
        seed=seed,
        demonstrations=9_000,
        pairs=1_024,
        group_by=GROUP_BY,
        ppo=PPOSettings(steps=steps, max_new_tokens=24, kl_coef=0.1, learning_rate=2e-4, missing_eos_penalty=0.0),
        fairness=FairnessSettings(strength=strength, memory=0.9),
    )
