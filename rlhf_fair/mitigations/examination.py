"""Every policy answers the same held-out prompts, and every answer gets the same scores.

Names, templates and the scorer of the audit take no part in any training. Records have one row per prompt: the
prompt's columns, ``text``, ``score`` (the audit's scorer), ``utility`` (what the answer is truly worth to the world's
population), ``reward_PANEL`` for every panel's plain reward model, ``refusal`` and ``words``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_answers import score_answers
from rlhf_fair.audit.source import counted
from rlhf_fair.mitigations.divergence import kl_samples
from rlhf_fair.mitigations.kit import COST_NAME, Kit
from rlhf_fair.mitigations.method import Method
from rlhf_fair.mitigations.policies import ModelPolicy, Policy
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.pipeline import PolicyReward
from rlhf_fair.tables import read_table, write_table

RECORDS_NAME = "records.parquet"
KL = "log_ratio"
"""Column of the sampled log-ratios to the SFT model; missing for prompts on which none was drawn."""


@dataclass(frozen=True)
class Examined:
    """One method's records, and its costs in CPU seconds: of training (beyond what all methods share), and of
    answering 1,000 prompts."""

    method: Method
    records: pd.DataFrame
    training_cpu: float
    answering_cpu: float


@dataclass(frozen=True)
class Examination:
    """The audit's plan and prompts, and the scorer that certifies."""

    plan: GenerationPlan
    prompts: pd.DataFrame
    ruler: ScoresQuality

    def examine(self, kit: Kit, method: Method, folder: Path, costs: dict[str, float]) -> Examined:
        """Answers and scores of one trained method; kept, so that a stopped comparison goes on.

        ``costs``: training seconds of the methods examined before, by name.
        """
        kept = kit.stages.run(f"records-{method.name}", partial(self._fill, kit, method, folder))
        own = float(read_json(folder / COST_NAME, "cost")["cpu_seconds"])
        answering = float(read_json(kept / COST_NAME, "cost")["cpu_seconds"])
        costs[method.name] = own + sum(costs[name] for name in method.needs)
        return Examined(method, read_table(kept / RECORDS_NAME), costs[method.name], answering)

    def _fill(self, kit: Kit, method: Method, folder: Path, out: Path) -> None:
        policy = method.open(kit, folder)
        hear = counted(kit.progress, f"{method.name}, seed {kit.seed}: answers", policy.draws * len(self.prompts))
        started = time.process_time()
        answers = self.prompts.assign(sample=0, text=policy.answers(self.prompts, seed=self.plan.seed, hear=hear))
        seconds = time.process_time() - started
        records = self._scored(kit, answers.astype({"text": "str"}))
        if not method.no_kl:
            records = records.assign(**{KL: self._divergence(kit, policy)})
        write_table(out / RECORDS_NAME, records)
        write_json(out / COST_NAME, {"cpu_seconds": 1000 * seconds / len(self.prompts)})

    def _scored(self, kit: Kit, answers: pd.DataFrame) -> pd.DataFrame:
        scored = score_answers(answers, {SCORE: self.ruler})
        scored = scored.assign(
            utility=kit.world.true_utility(answers), words=[float(len(text.split())) for text in answers["text"]]
        )
        for panel in kit.made.rewards:  # a world may have one panel alone
            reward = kit.reward if panel == kit.settings.panel else PolicyReward(kit.made.rewards[panel])
            scored[f"reward_{panel}"] = reward(answers["prompt"].tolist(), answers["text"].tolist())
        return scored

    def _divergence(self, kit: Kit, policy: Policy) -> pd.Series:
        """Log-ratios on some of the audit's prompts, the same for every policy; the answers are drawn anew."""
        assert isinstance(policy, ModelPolicy)
        rng = np.random.default_rng(self.plan.seed)
        rows = spread_over(self.prompts, self.plan.clusters[0], kit.settings.kl_prompts, rng)
        found = kl_samples(policy, kit.model_policy(kit.made.sft), rows, seed=self.plan.seed + 1)
        return pd.Series(found, index=rows.index)


def spread_over(prompts: pd.DataFrame, column: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """``n`` prompts drawn at random (all where there are fewer), in their order, spread evenly over ``column``.

    Each of its values, a name, comes once before any comes twice: a fixed stride over a table that repeats its names
    would never meet some of them.
    """
    shuffled = prompts.iloc[rng.permutation(len(prompts))]
    turn = shuffled.groupby(column).cumcount()
    return prompts.loc[turn.sort_values(kind="stable").index[:n].sort_values()]
