"""The audits of later rounds, each beside the same stage of the round before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import read_json
from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.generation_gaps import measure
from rlhf_fair.audit.ledger import StageRecords, Yardstick, ledger_rows
from rlhf_fair.pipeline_audit import Audited
from rlhf_fair.records import LedgerRow, Training, TrainingRun
from rlhf_fair.rounds.drift import LOG_RATIO
from rlhf_fair.rounds.examination import REWARD, Examination
from rlhf_fair.rounds.loop import PANEL, STAGE, Round

BEFORE_ROUNDS = ("base", "sft")
"""Stages of the first run that no round repeats."""


class Chain:
    """The audits of later rounds, each beside the same stage of the round before."""

    def __init__(self, exam: Examination, first: Audited) -> None:
        self.exam, self.first = exam, first
        plan = exam.plan
        references = tuple((attribute.column, attribute.reference) for attribute in plan.attributes)
        self.yardstick = Yardstick(references, plan.clusters, plan.metric, plan.policy.alpha)
        self.policy = self._of_first(STAGE)
        self.reward = self._of_first("reward_model")
        self.later: list[tuple[int, StageRecords]] = []
        self.runs: list[TrainingRun] = []

    def add(self, one: Round) -> None:
        """Audit a round's reward model and policy."""
        self.reward = self.exam.reward_model(one, self.reward)
        self.policy = self.exam.policy(one, self.policy)
        self.later += [(one.number, self.reward), (one.number, self.policy)]
        for folder in (one.reward, one.policy):
            run = TrainingRun.model_validate(read_json(folder / "training.json", "run"))
            self.runs.append(self._measured(run, one) if run.kind == "ppo" else run)

    def audited(self) -> Audited:
        """The first round's audit with the later ones; claims are those of the last policy alone."""
        plan, first = self.exam.plan, self.first
        measured = [replace(m, role="exploratory") if self.later else m for m in first.measurements]
        for _, stage in self.later:
            found = (replace(m, variant=f"{PANEL} panel") for m in measure(stage.records, plan, stage.stage))
            measured += found if stage is self.policy else (_explored(m) for m in found)
        tables = [stage.records.assign(stage=stage.stage, panel=stage.panel) for _, stage in self.later]
        return Audited(
            measured,
            self._ledger(),
            self._training(),
            pd.concat([first.records, *tables], ignore_index=True),
        )

    def _training(self) -> Training:
        """All runs; what the first round's policies gained stays named as the first round's."""
        training = self.first.training
        if not self.later:
            return training
        compared = {f"round 1, {name}": estimate for name, estimate in training.comparisons.items()}
        return training.model_copy(update={"runs": (*training.runs, *self.runs), "comparisons": compared})

    def _ledger(self) -> tuple[LedgerRow, ...]:
        """Rows of all rounds with their number; a single round needs none, nor does what came before feedback."""
        first = self.first.ledger
        if not self.later:
            return first
        later = [(n, row) for n, stage in self.later for row in ledger_rows(stage, self.yardstick)]
        numbered = [*((0 if row.stage in BEFORE_ROUNDS else 1, row) for row in first), *later]
        return tuple(row.model_copy(update={"round": number}) for number, row in numbered)

    def _of_first(self, stage: str) -> StageRecords:
        records = self.first.records
        mine = (records["stage"] == stage) & (records["panel"] == PANEL)
        return StageRecords(stage, PANEL, records[mine].reset_index(drop=True))

    def _measured(self, run: TrainingRun, one: Round) -> TrainingRun:
        watched = self.exam.watched(one, self.policy.records).answers
        update = {
            "gap": max(abs(row.estimate) for row in ledger_rows(self.policy, self.yardstick)),
            "reward_mean": float(self.policy.records[REWARD].mean()),
            "kl": float(np.mean(watched[LOG_RATIO])),
        }
        return run.model_copy(update=update)


def _explored(m: Measurement) -> Measurement:
    return replace(m, role="exploratory")
