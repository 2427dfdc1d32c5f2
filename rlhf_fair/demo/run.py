"""The demonstration: the whole pipeline on the embedded world, ending in a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

import rlhf_fair
from rlhf_fair.artifacts import make_folder, sha256_file, write_json, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import SCORE, GenerationPlan, load_prompts
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.audit.generation_answers import load_scorer, score_answers
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld
from rlhf_fair.demo.people import POPULATION
from rlhf_fair.metrics.gaps import group_means
from rlhf_fair.pipeline import PipelineSettings, Trained, run_pipeline
from rlhf_fair.pipeline_audit import PipelineAudit
from rlhf_fair.records import Results
from rlhf_fair.report import write_report
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table

Progress = Callable[[str, int, int], None]

LIMITS = (
    "The world is simulated: names, people, tastes and the bias are ours. It shows that the method recovers and "
    "removes a bias that is known to be there, not that your model has or lacks one.",
    "The language model is tiny and knows only this world's sentences.",
    "The reward model's row shows the best of four answers by its reward, on half of the scenarios.",
)


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    bias: float = 1.0,
    settings: PipelineSettings | None = None,
    plan_name: str | Path = "hiring",
    progress: Progress = lambda what, done, total: None,
    on_stage: Callable[[str, bool], None] | None = None,
) -> Results:
    """Run (or resume) everything in ``out`` and write results.json, records.parquet, the report and the manifest.

    ``bias`` scales what is planted: 1 the demonstration, 0 a world without planted bias. ``plan_name`` is a plan whose
    prompts have this world's columns. It runs on one thread, whatever the machine has.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    settings = (settings or PipelineSettings()).model_copy(update={"seed": seed})
    world = HiringWorld(bias=bias)
    plan_file = find_plan(plan_name)
    plan = load_plan(plan_file, GenerationPlan)
    prompts = load_prompts(plan, plan_file.parent)
    key = {
        "version": rlhf_fair.__version__,
        "settings": settings.model_dump(mode="json"),
        "world": world.truth(),
        "plan": {path.name: sha256_file(path) for path in sorted(plan_file.parent.iterdir()) if path.is_file()},
    }
    stages = Stages(make_folder(out) / "stages", key, on_stage)
    with one_thread():
        trained = run_pipeline(world, settings, stages, progress=progress)
        audit = PipelineAudit(
            trained, plan, prompts, load_scorer(plan, plan_file.parent), world.true_utility, progress
        ).run(stages)
    planted = planted_table(world, plan, plan_file.parent, prompts, audit.records, seed)
    results = Results(
        audit={
            "title": "From annotators to policy: where does the bias of a hiring assistant come from?",
            "question": plan.question,
            "plan": plan.model_dump(mode="json"),
            "seed": seed,
            "alpha": plan.policy.alpha,
            "models": {"base": "Llama-style causal language model, trained from scratch on the embedded world"},
            "data": {"prompts": f"{len(prompts)} prompts with names and templates that no fine-tuning saw"},
            "limits": [*plan.limits, *LIMITS],
            "counts": counts(audit.records, plan.columns),
            "exclusions": exclusions(audit.records, plan.columns),
            "truth": world.truth(),
            "tables": {"Planted bias: recovered?": planted, "Who annotates": panel_table(trained)},
        },
        findings=build_findings(audit.measurements, plan.policy),
        ledger=audit.ledger,
        training=audit.training,
    )
    write_json(out / "truth.json", world.truth())
    finish(out, results, audit.records, {"plan": sha256_file(plan_file)}, seed)
    return results


@contextmanager
def one_thread() -> Iterator[None]:
    """Results then do not hang on the number of cores, since sums in another order round otherwise. Nor is it slower:
    the models are too small to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finish(out: Path, results: Results, records: pd.DataFrame, inputs: dict[str, str], seed: int) -> None:
    """Write what a finished run leaves behind."""
    write_table(out / "records.parquet", records.drop(columns=["prompt", "text"]))
    write_results(out, results)
    write_report(out, results)
    seal(out, inputs={**inputs, "version": rlhf_fair.__version__}, seeds={"seed": seed})


def planted_table(
    world: HiringWorld,
    plan: GenerationPlan,
    folder: Path,
    prompts: pd.DataFrame,
    records: pd.DataFrame,
    seed: int,
) -> dict[str, Any]:
    """Planted mean favourability beside the measured one: of the grammar itself, and of the model that read it."""
    rng = np.random.default_rng((seed, 99))
    grammar = score_answers(world.planted_answers(prompts, rng), {SCORE: load_scorer(plan, folder)})
    sources = {"grammar": grammar, "base": records[records["stage"] == "base"]}
    rows = []
    for attribute, truth in world.truth()["corpus"].items():
        for source, table in sources.items():
            for mean in group_means(table, attribute, clusters=plan.clusters, alpha=plan.policy.alpha):
                inside = mean.ci_low <= truth[mean.group] <= mean.ci_high
                rows.append(
                    [source, attribute, mean.group, truth[mean.group], mean.mean, mean.ci_low, mean.ci_high, inside]
                )
    columns = ["source", "attribute", "group", "planted mean", "measured mean", "CI low", "CI high", "inside"]
    return {"columns": columns, "rows": rows}


def panel_table(trained: Trained) -> dict[str, Any]:
    """Shares of each group in the population and in the two panels."""
    rows = []
    members = {panel: read_table(folder / "annotators.parquet") for panel, folder in trained.panels.items()}
    for column, shares in POPULATION.items():
        for group, share in shares.items():
            panel_shares = [float((table[column] == group).mean()) for table in members.values()]
            rows.append([column.removeprefix("attr."), group, share, *panel_shares])
    return {"columns": ["attribute", "group", "population", *members], "rows": rows}
