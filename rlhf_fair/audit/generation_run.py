"""Run a generation audit: prompts → a model's answers or a file of them → scores → findings → results on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import canonical_json, sha256_bytes, sha256_file, write_results
from rlhf_fair.audit.asked import as_asked
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.generation import SCORE, GenerationPlan, load_prompts
from rlhf_fair.audit.generation_account import build_results, definitions, kept_columns
from rlhf_fair.audit.generation_answers import answers_from, answers_from_file, open_scorers, score_answers
from rlhf_fair.audit.own_prompts import with_account
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.scorer_check import TABLE, ScorerCheck, check_scorers
from rlhf_fair.audit.sequential import check_plan, given_answers, model_answers, run_until_decisive, score_bounds
from rlhf_fair.audit.source import Hear, Source, open_source
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import MissingFileError
from rlhf_fair.probes.scorers import Ruler, judge_failures, scorer_inputs
from rlhf_fair.records import Results
from rlhf_fair.tables import write_table

STAGE = "policy"


@dataclass(frozen=True)
class Questions:
    """What is asked and who answers: a source, or a file whose answers are ``given``."""

    plan: GenerationPlan
    prompts: pd.DataFrame
    scorers: Mapping[str, Ruler]
    source: Source | None = None
    given: pd.DataFrame | None = None

    def measured(self, about: dict[str, Any]) -> tuple[pd.DataFrame, Results]:
        """Records and results of the whole plan."""
        answers = answers_from(self.source.answers, self.prompts, self.plan) if self.source else self.given
        assert answers is not None
        records = score_answers(answers, self.scorers, refusals=self.plan.refusals)
        ranges = {column: scorer.bounds for column, scorer in self.scorers.items()}
        return records, build_results(records, self.plan, stage=STAGE, audit=about, ranges=ranges)

    def until_decisive(self, about: dict[str, Any], progress: Hear | None) -> tuple[pd.DataFrame, Results]:
        """Records and results of as much of the plan as it takes; see `rlhf_fair.audit.sequential`."""
        plan = self.plan
        if self.source is not None:
            answer = model_answers(self.source.answers, plan)
        else:
            assert self.given is not None
            answer = given_answers(self.given)
        stopped = run_until_decisive(plan, self.prompts, self.scorers[SCORE], answer, stage=STAGE, progress=progress)
        audit, findings = about | stopped.audit, stopped.findings
        return stopped.records, build_results(stopped.records, plan, stage=STAGE, audit=audit, findings=findings)


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
    target.require("--model", "--endpoint", "--predictions", plan=plan_file)
    plan, access, folder = load_plan(plan_file, GenerationPlan), access or Access(), plan_file.parent
    if until_decisive:
        check_plan(plan)
    prompts, ratings = load_prompts(plan, folder), _ratings(plan, out, access)
    scorers = open_scorers(plan, folder, journals=ratings)
    if until_decisive:
        score_bounds(scorers[SCORE])  # refuse before a model is loaded
    # an audit that looks at its answers batch by batch tells of them itself
    heard = None if until_decisive else progress
    asked = _questions(plan, prompts, scorers, target, access=access, out=out, hear=heard)
    begin(plan_file, out)
    about = _about(asked, target)
    check = check_scorers(plan, prompts, scorers, STAGE)
    records, results = asked.until_decisive(about, progress) if until_decisive else asked.measured(about)
    results = _with_check(results, plan, check)
    if plan.counterfactual is not None:
        results = with_account(results, prompts, plan.counterfactual)
    failures = _failures(asked)
    results = _finished(results, failures, _inputs(plan_file, asked, target))
    if asked.source is not None:
        results = as_asked(results, asked.source)
    write_table(out / "records.parquet", records[[*(["step"] if until_decisive else []), *kept_columns(plan)]])
    write_results(out, results)
    if asked.source is not None:
        asked.source.finished()
    if not failures:
        _forget(ratings)
    return results


def _questions(
    plan: GenerationPlan,
    prompts: pd.DataFrame,
    scorers: Mapping[str, Ruler],
    target: Target,
    *,
    access: Access,
    out: Path,
    hear: Hear | None,
) -> Questions:
    if target.predictions is None:
        return Questions(plan, prompts, scorers, source=open_source(target, access, run=out, hear=hear))
    if not target.predictions.is_file():
        raise MissingFileError(target.predictions, "predictions file")
    return Questions(plan, prompts, scorers, given=answers_from_file(target.predictions, prompts, plan))


def _about(asked: Questions, target: Target) -> dict[str, Any]:
    if asked.source is not None:
        name = asked.source.name
    else:
        assert target.predictions is not None
        name = f"predictions: {target.predictions.name}"
    prompts, samples = f"{len(asked.prompts)} prompts", asked.plan.n_samples
    data = {"prompts": prompts if samples == 1 else f"{prompts}, {samples} answers each"}
    return {
        "models": {"audited": name},
        "data": data | {"rulers": ", ".join(scorer.name for scorer in asked.scorers.values())},
    }


def _with_check(results: Results, plan: GenerationPlan, check: ScorerCheck) -> Results:
    """The results with what the check of the scorers found; controls are corrected among themselves."""
    audit = results.audit
    update = {
        "definitions": audit["definitions"] | definitions((m.metric for m in check.measurements), plan),
        "limits": [*audit["limits"], *check.limits],
        "tables": audit["tables"] | ({TABLE: list(check.rows)} if check.rows else {}),
    }
    findings = (*results.findings, *build_findings(check.measurements, plan.judging))
    return results.model_copy(update={"audit": audit | update, "findings": findings})


def _failures(asked: Questions) -> Counter[str]:
    """Why answers, and ratings of judges, could not be had."""
    failures = Counter(asked.source.failures) if asked.source else Counter[str]()
    for scorer in asked.scorers.values():
        failures.update(judge_failures(scorer))
    return failures


def _finished(results: Results, failures: Counter[str], inputs: dict[str, str]) -> Results:
    unanswered = {"unanswered": dict(failures.most_common(10))} if failures else {}
    return results.model_copy(update={"audit": results.audit | unanswered, "manifest": {"inputs": inputs}})


def _inputs(plan_file: Path, asked: Questions, target: Target) -> dict[str, str]:
    """Name -> SHA-256 of everything that was read."""
    folder, plan = plan_file.parent, asked.plan
    inputs = {"plan": sha256_file(plan_file), "prompts": sha256_file(folder / plan.prompts)}
    for scorer in plan.scorers:
        inputs |= scorer_inputs(scorer, folder)
    if asked.source is not None:
        return inputs | asked.source.inputs
    assert target.predictions is not None
    return inputs | {"predictions": sha256_file(target.predictions)}


def _ratings(plan: GenerationPlan, out: Path, access: Access) -> Path | None:
    """The folder that keeps judges' ratings in case this audit is stopped; another audit asks anew."""
    if access.cache is None or all(scorer.kind != "judge" for scorer in plan.scorers):
        return None
    return access.cache / f"judges-{sha256_bytes(canonical_json(str(out.resolve())))[:16]}"


def _forget(ratings: Path | None) -> None:
    if ratings is not None and ratings.is_dir():
        for journal in ratings.glob("*.jsonl"):
            journal.unlink()
        ratings.rmdir()
