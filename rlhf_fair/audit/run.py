"""Run the audit that a plan asks for; every kind of audit ends in the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlhf_fair.artifacts import make_folder, sha256_bytes, sha256_file, sha256_tree, write_results
from rlhf_fair.audit import reward_identity
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
from rlhf_fair.audit.plan import Plan, load_plan
from rlhf_fair.audit.reward_identity_comparisons import HOLISTIC_BIAS
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
    data_dir: Path = Path(),
    out: Path,
    progress: Progress | None = None,
) -> Results:
    """Measure and write ``results.json`` and ``records.parquet`` into ``out``; the report is the caller's to add."""
    probe = read_toml_table(plan_file, "plan").get("probe")
    if probe == PROBE:
        if reward_model is not None or (model is None) == (predictions is None):
            raise SettingsError(f"plan {plan_file}: give exactly one of --model and --predictions")
        return _generation(plan_file, model, predictions, out, progress)
    if probe == HOLISTIC_BIAS:
        if reward_model is None or model is not None or predictions is not None:
            raise SettingsError(f"plan {plan_file}: give --reward-model, and neither --model nor --predictions")
        return reward_identity.run(plan_file, reward_model, data_dir, out, progress=progress)
    load_plan(plan_file, Plan)  # names any other fault first
    raise SettingsError(f"plan {plan_file}: probe = {probe!r}; allowed: {PROBE!r}, {HOLISTIC_BIAS!r}")


def _generation(
    plan_file: Path, model: str | None, predictions: Path | None, out: Path, progress: Progress | None
) -> Results:
    plan = load_plan(plan_file, GenerationPlan)
    make_folder(out)
    prompts, scorer = load_prompts(plan, plan_file.parent), load_scorer(plan, plan_file.parent)
    inputs = {"plan": sha256_file(plan_file), "prompts": sha256_file(plan_file.parent / plan.prompts)}
    inputs["scorer"] = sha256_file(plan_file.parent / plan.scorer)
    if predictions is not None:
        if not predictions.is_file():
            raise MissingFileError(predictions, "predictions file")
        answers, source = answer_from_file(predictions, prompts), f"predictions: {predictions.name}"
        inputs["predictions"] = sha256_file(predictions)
    else:
        assert model is not None
        answers, source = answer_with_model(CausalLM.load(model), prompts, plan, progress=progress), Path(model).name
        inputs["model"] = sha256_tree(Path(model)) if Path(model).is_dir() else sha256_bytes(model.encode())
    records = score_answers(answers, scorer)
    audit = {"models": {"audited": source}, "data": {"prompts": f"{len(prompts)} prompts", "ruler": scorer.name}}
    results = build_results(records, plan, stage="policy", audit=audit)
    results = results.model_copy(update={"manifest": {"inputs": inputs}})
    write_table(out / "records.parquet", records[[*kept_columns(plan)]])
    write_results(out, results)
    return results
