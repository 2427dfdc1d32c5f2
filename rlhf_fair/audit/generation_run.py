"""Run a generation audit: prompts → a model's answers or a file of them → scores → findings → results on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from rlhf_fair.artifacts import make_folder, sha256_bytes, sha256_file, sha256_tree, write_results
from rlhf_fair.audit.generation import (
    GenerationPlan,
    answer_from_file,
    answer_with_model,
    build_results,
    kept_columns,
    load_prompts,
    load_scorer,
    score_answers,
)
from rlhf_fair.audit.own_prompts import with_account
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.sequential import given_answers, model_answers, run_until_decisive, score_bounds
from rlhf_fair.audit.source import Hear
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.records import Results
from rlhf_fair.tables import write_table


def run_generation(
    plan_file: Path,
    target: Target,
    out: Path,
    *,
    access: Access | None = None,
    until_decisive: bool = False,
    progress: Hear | None = None,
) -> Results:
    """Measure, and write ``results.json`` and ``records.parquet`` into ``out``."""
    target.require("--model", "--predictions", plan=plan_file)
    model, predictions = target.model, target.predictions
    plan = load_plan(plan_file, GenerationPlan)
    if until_decisive and plan.counterfactual is not None:
        raise SettingsError(f"plan {plan_file}: --until-decisive draws single prompts; not with [counterfactual]")
    make_folder(out)
    prompts, scorer = load_prompts(plan, plan_file.parent), load_scorer(plan, plan_file.parent)
    ask_all: Callable[[], pd.DataFrame]
    inputs = {"plan": sha256_file(plan_file), "prompts": sha256_file(plan_file.parent / plan.prompts)}
    inputs["scorer"] = sha256_file(plan_file.parent / plan.scorer)
    if until_decisive:
        score_bounds(scorer)  # refuse before a model is loaded
    if predictions is not None:
        if not predictions.is_file():
            raise MissingFileError(predictions, "predictions file")
        answers, source = answer_from_file(predictions, prompts), f"predictions: {predictions.name}"
        ask, ask_all = given_answers(answers), lambda: answers
        inputs["predictions"] = sha256_file(predictions)
    else:
        assert model is not None
        loaded, source = CausalLM.load(model), Path(model).name
        ask, ask_all = model_answers(loaded, plan), partial(answer_with_model, loaded, prompts, plan, progress=progress)
        inputs["model"] = sha256_tree(Path(model)) if Path(model).is_dir() else sha256_bytes(model.encode())
    audit = {"models": {"audited": source}, "data": {"prompts": f"{len(prompts)} prompts", "ruler": scorer.name}}
    if until_decisive:
        stopped = run_until_decisive(plan, prompts, scorer, ask, progress=progress)
        records = stopped.records
        results = build_results(records, plan, stage="policy", audit=audit | stopped.audit, findings=stopped.findings)
    else:
        records = score_answers(ask_all(), scorer)
        results = build_results(records, plan, stage="policy", audit=audit)
    if plan.counterfactual is not None:
        results = with_account(results, prompts, plan.counterfactual)
    results = results.model_copy(update={"manifest": {"inputs": inputs}})
    write_table(out / "records.parquet", records[[*(["step"] if until_decisive else []), *kept_columns(plan)]])
    write_results(out, results)
    return results
