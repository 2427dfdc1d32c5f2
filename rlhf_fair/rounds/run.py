"""All rounds on one world: train, audit every stage of every round alike, and judge what drifted in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import transformers

import rlhf_fair
from rlhf_fair.artifacts import make_folder, sha256_file
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld
from rlhf_fair.demo.run import one_thread
from rlhf_fair.errors import SettingsError
from rlhf_fair.pipeline import Progress, Trained, run_pipeline
from rlhf_fair.pipeline_audit import Audited, PipelineAudit
from rlhf_fair.records import Verdict
from rlhf_fair.rounds.chain import Chain
from rlhf_fair.rounds.drift import Alarm, RoundRecords, Watch, judge_round
from rlhf_fair.rounds.examination import Examination
from rlhf_fair.rounds.loop import Round, Rounds
from rlhf_fair.rounds.settings import RoundsConfig
from rlhf_fair.stages import Stages


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
    chain = Chain(exam, audited)
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
