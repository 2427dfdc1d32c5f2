"""Audit every stage of a finished pipeline with one plan: findings, bias ledger, and what each policy gained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_answers import answers_from, score_answers
from rlhf_fair.audit.generation_gaps import measure
from rlhf_fair.audit.ledger import (
    StageRecords,
    Yardstick,
    gap_remaining,
    ledger_rows,
    share_kept,
    worst_group_change,
)
from rlhf_fair.audit.source import counted
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.pipeline import PANELS, PolicyReward, Trained
from rlhf_fair.probes.best_of_n import select_best
from rlhf_fair.records import Estimate, LedgerRow, Training, TrainingRun
from rlhf_fair.stages import Stages
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.tables import read_table, write_table

BEST_OF = 4
BEST_OF_SCENARIOS = 24
KL_STEPS = 5
Progress = Callable[[str, int, int], None]
Utility = Callable[[pd.DataFrame], NDArray[np.float64]]


@dataclass(frozen=True)
class Audited:
    """What the audits say. ``records``: one row per stage and prompt, with score, rewards and utility."""

    measurements: list[Measurement]
    ledger: tuple[LedgerRow, ...]
    training: Training
    records: pd.DataFrame


class PipelineAudit:
    """Answers of every policy to the plan's prompts, scored by the plan's ruler, the reward models and the truth."""

    def __init__(
        self,
        trained: Trained,
        plan: GenerationPlan,
        prompts: pd.DataFrame,
        ruler: ScoresQuality,
        utility: Utility,
        progress: Progress,
    ) -> None:
        self.trained, self.plan, self.prompts = trained, plan, prompts
        self.ruler, self.utility, self.progress = ruler, utility, progress
        self.rewards = {panel: PolicyReward(folder) for panel, folder in trained.rewards.items()}
        references = tuple((attribute.column, attribute.reference) for attribute in plan.attributes)
        self.yardstick = Yardstick(references, plan.clusters, plan.metric, plan.policy.alpha)

    def run(self, stages: Stages) -> Audited:
        """Audit all stages; answers are kept in folders of their own, so this resumes too."""
        base = self._answered(stages, "base", "", self.trained.base, None)
        sft = self._answered(stages, "sft", "", self.trained.sft, base)
        every = [base, sft]
        for panel in PANELS:
            every.append(self._best_of_n(stages, panel, sft))
            plain: StageRecords | None = None
            for policy in (p for p in self.trained.policies if p.panel == panel):
                answered = self._answered(stages, policy.stage, panel, policy.folder, plain or sft)
                plain = plain or answered
                every.append(answered)
        ledger = tuple(row for stage in every for row in ledger_rows(stage, self.yardstick))
        measurements = [m for stage in every for m in self._measurements(stage)]
        training = Training(runs=self._runs(every), comparisons=self._comparisons(every))
        records = pd.concat([s.records.assign(stage=s.stage, panel=s.panel) for s in every], ignore_index=True)
        return Audited(measurements, ledger, training, records)

    def _answered(
        self, stages: Stages, stage: str, panel: str, model: Path, before: StageRecords | None
    ) -> StageRecords:
        name = "-".join(filter(None, ("answers", stage.replace("_", "-"), panel)))

        def build(out: Path) -> None:
            heard = counted(self.progress, name, len(self.prompts))
            answers = answers_from(partial(CausalLM.load(model).answers, progress=heard), self.prompts, self.plan)
            write_table(out / "records.parquet", self._score(answers))

        return StageRecords(stage, panel, read_table(stages.run(name, build) / "records.parquet"), before)

    def _best_of_n(self, stages: Stages, panel: str, sft: StageRecords) -> StageRecords:
        """What the reward model would pick out of n answers of the SFT policy, on half of the scenarios."""
        scenarios = self.prompts["scenario"].unique()
        kept = scenarios[:: max(1, len(scenarios) // BEST_OF_SCENARIOS)]
        prompts = self.prompts[self.prompts["scenario"].isin(kept)].reset_index(drop=True)

        def draw(out: Path) -> None:
            ask = CausalLM.load(self.trained.sft).answers
            for k in range(BEST_OF):
                plan = self.plan.model_copy(update={"seed": self.plan.seed + 1 + k})
                write_table(out / f"{k}.parquet", answers_from(ask, prompts, plan))

        drawn = stages.run("answers-candidates", draw)

        def build(out: Path) -> None:
            tables = [read_table(drawn / f"{k}.parquet") for k in range(BEST_OF)]
            reward = self.rewards[panel]
            best = select_best(tables, lambda p, a: reward(list(p), list(a))).drop(columns="reward")
            write_table(out / "records.parquet", self._score(best))

        folder = stages.run(f"answers-reward-model-{panel}", build)
        return StageRecords("reward_model", panel, read_table(folder / "records.parquet"), sft)

    def _score(self, answers: pd.DataFrame) -> pd.DataFrame:
        scored = score_answers(answers, {SCORE: self.ruler}).assign(utility=self.utility(answers))
        for panel, reward in self.rewards.items():
            scored[f"reward_{panel}"] = reward(answers["prompt"].tolist(), answers["text"].tolist())
        return scored

    def _measurements(self, stage: StageRecords) -> list[Measurement]:
        """Every stage is reported; claims are the policies that PPO made with the penalty on the planned panel."""
        claim = stage.stage == "fair_ppo" and stage.panel == "diverse"
        found = measure(stage.records, self.plan, stage.stage)
        return [
            Measurement(
                **{**vars(m), "variant": f"{stage.panel} panel" if stage.panel else ""}
                | ({} if claim else {"role": "exploratory"})
            )
            for m in found
        ]

    def _runs(self, every: list[StageRecords]) -> tuple[TrainingRun, ...]:
        by_name = {"base": every[0], "sft": every[1]}
        by_name |= {f"{s.stage.replace('_', '-')}-{s.panel}": s for s in every if s.stage in ("ppo", "fair_ppo")}
        return tuple(self._measured(run, by_name.get(run.name)) for run in self.trained.runs())

    def _measured(self, run: TrainingRun, stage: StageRecords | None) -> TrainingRun:
        if stage is None:
            return run
        rows = ledger_rows(stage, self.yardstick)
        update: dict[str, Any] = {"gap": max(abs(row.estimate) for row in rows)}
        if stage.panel:
            update["reward_mean"] = float(stage.records[f"reward_{stage.panel}"].mean())
            update["kl"] = float(np.mean([row["kl"] for row in run.curve[-KL_STEPS:]]))
        return run.model_copy(update=update)

    def _comparisons(self, every: list[StageRecords]) -> dict[str, Estimate]:
        sft = every[1]
        found: dict[str, Estimate] = {}
        for panel in PANELS:
            of = {s.stage: s for s in every if s.panel == panel}
            if "fair_ppo" not in of:
                continue
            plain, fair = of["ppo"], of["fair_ppo"]
            ways = [plain.records[column] for column in self.plan.clusters]
            column = f"reward_{panel}"
            for attribute, reference in self.yardstick.attributes:
                remaining = gap_remaining(fair, plain, self.yardstick, attribute, reference)
                found[f"{panel} panel: share of plain PPO's {attribute} gap that remains with the penalty"] = remaining
            found[f"{panel} panel: share of plain PPO's reward gain over SFT that is kept"] = share_kept(
                fair.records[column] - sft.records[column],
                plain.records[column] - sft.records[column],
                ways,
                self.plan.policy.alpha,
            )
            found[f"{panel} panel: true utility, with penalty minus plain PPO"] = mean_estimate(
                fair.records["utility"] - plain.records["utility"],
                clusters=ways,
                rates=False,
                alpha=self.plan.policy.alpha,
            )
            group, change = worst_group_change(fair, sft, self.yardstick)
            found[f"{panel} panel: worst group against SFT ({group}), change in mean with penalty"] = change
        return found
