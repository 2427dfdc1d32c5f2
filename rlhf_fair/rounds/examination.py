"""Every round's policy and reward model on the same held-out prompts, as records that rounds can be compared by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_answers import answers_from, score_answers
from rlhf_fair.audit.ledger import StageRecords
from rlhf_fair.audit.source import counted
from rlhf_fair.mitigations.divergence import kl_samples
from rlhf_fair.mitigations.policies import ModelPolicy
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.pipeline import Loop, PolicyReward, Trained
from rlhf_fair.pipeline_audit import BEST_OF
from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME, PREFERENCES_NAME, answer_twice, judge
from rlhf_fair.probes.best_of_n import select_best
from rlhf_fair.rounds.drift import AGREES, LENGTH, LOG_RATIO, REFUSED, RoundRecords
from rlhf_fair.rounds.loop import PANEL, STAGE, Round
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table

RECORDS, CANDIDATES = "records.parquet", "answers-candidates"
REWARD = f"reward_{PANEL}"
OLD_PAIRS_STREAM = 6
Utility = Callable[[pd.DataFrame], NDArray[np.float64]]


@dataclass(frozen=True)
class Examination:
    """The audit's plan, prompts and scorer, the truth, and the model that all is measured from."""

    plan: GenerationPlan
    prompts: pd.DataFrame
    ruler: ScoresQuality
    utility: Utility
    trained: Trained
    loop: Loop
    stages: Stages

    def policy(self, one: Round, before: StageRecords) -> StageRecords:
        """A later round's policy, answering with the very luck of the rounds before it."""

        def build(out: Path) -> None:
            heard = counted(self.loop.progress, f"round {one.number}: answers", len(self.prompts))
            ask = partial(CausalLM.load(one.policy).answers, progress=heard)
            write_table(out / RECORDS, self._score(answers_from(ask, self.prompts, self.plan), one.reward))

        folder = self.stages.run(f"round-{one.number}-answers", build)
        return StageRecords(f"{STAGE}_round_{one.number}", PANEL, read_table(folder / RECORDS), before)

    def reward_model(self, one: Round, before: StageRecords) -> StageRecords:
        """What a later round's reward model picks out of the SFT policy's answers, the same as in the first round."""

        def build(out: Path) -> None:
            tables = [read_table(self.stages.root / CANDIDATES / f"{k}.parquet") for k in range(BEST_OF)]
            reward = PolicyReward(one.reward)
            best = select_best(tables, lambda p, a: reward(list(p), list(a))).drop(columns="reward")
            write_table(out / RECORDS, self._score(best, one.reward))

        folder = self.stages.run(f"round-{one.number}-answers-reward-model", build)
        return StageRecords(f"reward_model_round_{one.number}", PANEL, read_table(folder / RECORDS), before)

    def watched(self, one: Round, answers: pd.DataFrame) -> RoundRecords:
        """What is compared between rounds; ``answers``: the scored records of the round's policy."""
        folder = self.stages.run(f"round-{one.number}-watched", partial(self._watch, one, answers))
        return RoundRecords(one.number, read_table(folder / "answers.parquet"), read_table(folder / "pairs.parquet"))

    def old_pairs(self) -> Path:
        """Two answers of the SFT policy to every held-out prompt, judged by the first round's panel, never learnt."""

        def build(out: Path) -> None:
            items = answer_twice(self.loop, self.trained.sft, self.prompts, seed=self.plan.seed)
            write_table(out / ITEMS_NAME, items)
            members = read_table(self.trained.panels[PANEL] / ANNOTATORS_NAME)
            judge(self.loop, items, members, self.loop.rng(OLD_PAIRS_STREAM), out)

        return self.stages.run("old-pairs", build)

    def _watch(self, one: Round, answers: pd.DataFrame, out: Path) -> None:
        policy, reference = (self._sampler(folder) for folder in (one.policy, self.trained.sft))
        ratio = pd.Series(
            kl_samples(policy, reference, self.prompts, seed=self.plan.seed), index=self.prompts["prompt_id"]
        )
        tokens = policy.model.tokenizer(answers["text"].fillna("").tolist(), add_special_tokens=False)["input_ids"]
        kept = ["prompt_id", *self.plan.columns, *self.plan.clusters, SCORE]
        watched = answers[list(dict.fromkeys(kept))].copy()
        watched[REFUSED] = answers["refusal"].astype(float).where(answers["answered"].astype(bool))
        watched[LENGTH] = [float(len(ids)) for ids in tokens]
        watched[LOG_RATIO] = ratio.loc[answers["prompt_id"]].to_numpy()
        write_table(out / "answers.parquet", watched)
        write_table(out / "pairs.parquet", self._agreement(one))

    def _agreement(self, one: Round) -> pd.DataFrame:
        """Each decided old pair, and whether the round's reward model prefers the same side (.5: neither)."""
        folder = self.old_pairs()
        preferences = read_table(folder / PREFERENCES_NAME)[["item_id", "p_a"]]
        items = read_table(folder / ITEMS_NAME).merge(preferences, on="item_id")
        items = items[items["p_a"].notna() & (items["p_a"] != 0.5)].reset_index(drop=True)
        reward, prompts = PolicyReward(one.reward), items["prompt"].tolist()
        difference = reward(prompts, items["response_a"].tolist()) - reward(prompts, items["response_b"].tolist())
        agrees = np.where(difference == 0, 0.5, ((difference > 0) == (items["p_a"] > 0.5)).astype(float))
        return items[["item_id", *self.plan.clusters]].assign(**{AGREES: agrees})

    def _sampler(self, folder: Path) -> ModelPolicy:
        return ModelPolicy(CausalLM.load(folder), self.plan.max_new_tokens, self.plan.temperature)

    def _score(self, answers: pd.DataFrame, reward: Path) -> pd.DataFrame:
        scored = score_answers(answers, {SCORE: self.ruler}).assign(utility=self.utility(answers))
        return scored.assign(**{REWARD: PolicyReward(reward)(answers["prompt"].tolist(), answers["text"].tolist())})
