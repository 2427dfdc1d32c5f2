"""All rounds on one world: train, audit every stage of every round alike, and judge what drifted in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import transformers

import rlhf_fair
from rlhf_fair.artifacts import make_folder, read_json, sha256_file
from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.generation_gaps import measure
from rlhf_fair.audit.ledger import StageRecords, Yardstick, ledger_rows
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld
from rlhf_fair.demo.run import one_thread
from rlhf_fair.errors import SettingsError
from rlhf_fair.pipeline import Progress, Trained, run_pipeline
from rlhf_fair.pipeline_audit import Audited, PipelineAudit
from rlhf_fair.records import LedgerRow, TrainingRun, Verdict
from rlhf_fair.rounds.drift import LOG_RATIO, Alarm, RoundRecords, Watch, judge_round
from rlhf_fair.rounds.examination import REWARD, Examination
from rlhf_fair.rounds.loop import PANEL, STAGE, Round, Rounds
from rlhf_fair.rounds.settings import RoundsConfig
from rlhf_fair.stages import Stages

BEFORE_ROUNDS = ("base", "sft")
"""Stages of the first run that no round repeats."""


@dataclass(frozen=True)
class AllRounds:
    """What happened. ``stopped``: after which round an alarm ended the run before its time; 0: none did."""

    config: RoundsConfig
    plan: GenerationPlan
    plan_file: Path
    world: HiringWorld
    trained: Trained
    audited: Audited
    rounds: tuple[Round, ...]
    records: tuple[RoundRecords, ...]
    watch: Watch
    alarms: tuple[Alarm, ...]
    stopped: int = 0


def run_rounds(
    config: RoundsConfig,
    out: Path,
    *,
    plan_name: str | Path = "",
    progress: Progress = lambda what, done, total: None,
    on_stage: Callable[[str, bool], None] | None = None,
) -> AllRounds:
    """Run (or resume) the rounds below ``out``; more of them than an earlier run had go on from where it ended.

    ``plan_name``: another plan than the config's, whose prompts have this world's columns. It runs on one thread,
    whatever the machine has, as the demonstration does.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    plan_file = find_plan(plan_name or config.plan)
    plan = load_plan(plan_file, GenerationPlan)
    if plan.n_samples > 1 or plan.counterfactual is not None:
        raise SettingsError(f"plan {plan_file}: rounds are compared prompt by prompt; allowed: n_samples = 1, no pairs")
    world = HiringWorld(bias=config.bias)
    key = {
        "version": rlhf_fair.__version__,
        "made of": config.made_of(),
        "world": world.truth(),
        "plan": {path.name: sha256_file(path) for path in sorted(plan_file.parent.iterdir()) if path.is_file()},
    }
    stages = Stages(make_folder(out) / "stages", key, on_stage)
    with one_thread():
        return _run(config, plan, plan_file, world, stages, progress)


def _run(
    config: RoundsConfig, plan: GenerationPlan, plan_file: Path, world: HiringWorld, stages: Stages, progress: Progress
) -> AllRounds:
    trained = run_pipeline(world, config.pipeline, stages, progress=progress)
    prompts, ruler = load_prompts(plan, plan_file.parent), load_scorer(plan, plan_file.parent)
    audited = PipelineAudit(trained, plan, prompts, ruler, world.true_utility, progress).run(stages)
    maker = Rounds(world, config.pipeline, config.rounds, stages, progress)
    exam = Examination(plan, prompts, ruler, world.true_utility, trained, maker.loop, stages)
    watch = watch_for(config, plan, ruler.bounds)
    chain = _Chain(exam, audited)
    made, alarms, stopped = [maker.first(trained)], list[Alarm](), 0
    seen = [exam.watched(made[0], chain.policy.records)]
    for number in range(2, config.rounds.count + 1):
        made.append(maker.next(trained, made))
        chain.add(made[-1])
        seen.append(exam.watched(made[-1], chain.policy.records))
        rung = judge_round(seen, watch)
        alarms += rung
        beyond = any(alarm.verdict == Verdict.EXCEEDS for alarm in rung)
        if beyond and config.rounds.on_alarm == "stop" and number < config.rounds.count:
            stopped = number
            break
    found = chain.audited()
    return AllRounds(
        config, plan, plan_file, world, trained, found, tuple(made), tuple(seen), watch, tuple(alarms), stopped
    )


def watch_for(config: RoundsConfig, plan: GenerationPlan, scores: tuple[float, float]) -> Watch:
    """How rounds are compared: by the plan's attributes, clusters and alpha, with its threshold where none is given."""
    rounds, threshold = config.rounds, plan.policy.limits(plan.metric).threshold
    limits = rounds.limits
    given = {"gap": limits.gap or threshold, "level": limits.level or threshold}
    return Watch(
        attributes=tuple((attribute.column, attribute.reference) for attribute in plan.attributes),
        clusters=plan.clusters,
        limits=limits.model_copy(update=given),
        unit=plan.scorers[0].unit,
        alpha=plan.policy.alpha,
        planned=max(rounds.count - 1, 1),
        spending=rounds.spending,
        since_first=rounds.since_first,
        scores=scores,
        longest=float(plan.max_new_tokens),
    )


class _Chain:
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
            first.training.model_copy(update={"runs": (*first.training.runs, *self.runs)}),
            pd.concat([first.records, *tables], ignore_index=True),
        )

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
