"""Run the audit that a plan asks for; every kind of audit ends in the same files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from rlhf_fair.artifacts import make_folder, sha256_bytes, sha256_file, sha256_tree, write_results
from rlhf_fair.audit import panel_feedback, reward_identity
from rlhf_fair.audit.generation import (
    PROBE,
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
from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
from rlhf_fair.audit.plan import Plan, load_plan
from rlhf_fair.audit.reward_identity_comparisons import HOLISTIC_BIAS
from rlhf_fair.audit.sequential import given_answers, model_answers, run_until_decisive, score_bounds
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.records import Results
from rlhf_fair.settings import read_toml_table
from rlhf_fair.tables import write_table

Progress = Callable[[str, int, int], None]


def run_audit(
    plan_file: Path,
    *,
    model: str | None = None,
    reward_model: str | None = None,
    predictions: Path | None = None,
    feedback: Path | None = None,
    data_dir: Path = Path(),
    out: Path,
    until_decisive: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Measure and write ``results.json`` and ``records.parquet`` into ``out``; the report is the caller's to add.

    ``until_decisive``: stop as soon as every claim is; see `rlhf_fair.audit.sequential`.
    """
    probe = read_toml_table(plan_file, "plan").get("probe")
    if until_decisive and probe in (HOLISTIC_BIAS, PANEL_FEEDBACK):
        raise SettingsError(f"plan {plan_file}: --until-decisive is for probe = {PROBE!r}, not {probe!r}")
    if probe == PANEL_FEEDBACK:
        if not (model is None and reward_model is None and predictions is None):
            raise SettingsError(f"plan {plan_file}: give --feedback, and neither a model nor --predictions")
        return panel_feedback.run(plan_file, feedback, data_dir, out, progress=progress)
    if feedback is not None and probe in (PROBE, HOLISTIC_BIAS):
        raise SettingsError(f"plan {plan_file} audits a model; --feedback is for probe = {PANEL_FEEDBACK!r}")
    if probe == PROBE:
        if reward_model is not None or (model is None) == (predictions is None):
            raise SettingsError(f"plan {plan_file}: give exactly one of --model and --predictions")
        return _generation(plan_file, model, predictions, out, until_decisive, progress)
    if probe == HOLISTIC_BIAS:
        if reward_model is None or model is not None or predictions is not None:
            raise SettingsError(f"plan {plan_file}: give --reward-model, and neither --model nor --predictions")
        return reward_identity.run(plan_file, reward_model, data_dir, out, progress=progress)
    load_plan(plan_file, Plan)  # names any other fault first
    raise SettingsError(
        f"plan {plan_file}: probe = {probe!r}; allowed: {PROBE!r}, {HOLISTIC_BIAS!r}, {PANEL_FEEDBACK!r}"
    )


def _generation(
    plan_file: Path,
    model: str | None,
    predictions: Path | None,
    out: Path,
    until_decisive: bool,
    progress: Progress | None,
) -> Results:
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
