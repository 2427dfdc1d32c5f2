"""The audit ``reward``: what a reward model pays for a group, whose choices it knows, and what selection makes of it.

For any Hugging Face sequence classifier with one output, or for a file of scores: then no model is loaded, and the
columns are text_id and score; without either, ``texts.csv`` says which texts are to be scored.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import sha256_file, write_results
from rlhf_fair.audit.asking import Hear
from rlhf_fair.audit.data_folder import data_folder
from rlhf_fair.audit.definitions import REWARD_MODEL, defined
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.reward_audit_caveats import unreachable, weakened, with_reach
from rlhf_fair.audit.reward_audit_items import Items, collect
from rlhf_fair.audit.reward_audit_measurements import STAGE, measure
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_ratings import (
    QUESTION,
    qualities_of,
    rating_measurements,
    rating_table,
    told_of_ratings,
)
from rlhf_fair.audit.reward_audit_scores import (
    TEXTS_NAME,
    Scores,
    Unit,
    reward_unit,
    score_texts,
    with_rewards,
    write_texts,
)
from rlhf_fair.audit.reward_audit_tables import RELIABILITY, reliability_table, reward_tables
from rlhf_fair.audit.reward_audit_words import words_table
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes import reward_dialect, reward_pairs
from rlhf_fair.probes.counterfactual_text import LIMIT
from rlhf_fair.probes.dialect import LIMIT as DIALECT_LIMIT
from rlhf_fair.records import Estimate, Results
from rlhf_fair.tables import write_table

RECORDS_NAME, REJECTS_NAME = "records.parquet", "rejects.csv"
IN_SDS = (reward_pairs.PROBE, reward_dialect.PROBE)


def run(plan_file: Path, target: Target, data_dir: str | Path, out: Path, *, hear: Hear | None = None) -> Results:
    """Score every text of the plan, judge the gaps, write ``results.json``, ``records.parquet`` and ``texts.csv``."""
    plan = load_plan(plan_file, RewardPlan)
    _check_target(target, plan_file)
    heard = hear or (lambda what, done, total: None)
    folder = data_folder(data_dir) if str(data_dir) not in ("", ".") else None
    items = collect(plan, plan_file, folder, target.feedback, target.reward_model)
    if not items.tables:
        reasons = "; ".join(f"{probe.replace('_', ' ')}: {reason}" for probe, reason in items.missing.items())
        raise SettingsError(
            f"plan {plan_file}: nothing is there to be measured ({reasons or 'the plan names no part'})"
        )
    begin(plan_file, out)
    scores = score_texts(target, items.texts, heard)
    records = with_rewards(items, scores)
    unit = reward_unit(records, plan.counterfactual.least_unit if plan.counterfactual else 0.0)
    records = in_units(records, unit)
    results = build_results(plan, records, unit, items, scores)
    inputs = {"plan": sha256_file(plan_file), **items.inputs, **scores.inputs}
    results = results.model_copy(update={"manifest": {"inputs": inputs, "seeds": {"seed": plan.seed}}})
    write_table(out / RECORDS_NAME, records)
    if len(items.rejects):
        write_table(out / REJECTS_NAME, items.rejects.drop(columns="value"))
    if target.reward_model is None:
        write_texts(out / TEXTS_NAME, items.texts)
    write_results(out, results)  # attributions take long, and all else is there without them
    results = _with_words(results, words_table(plan, target, items, unit, results.findings, heard))
    write_results(out, results)
    return results


def in_units(records: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """``records`` with ``gap``: reward less base reward, in SDs, where a text has a counterpart."""
    gap = (records["reward"] - records["base_reward"]) / unit.sd
    return records.assign(gap=gap.where(records["probe"].isin(IN_SDS)))


def build_results(plan: RewardPlan, records: pd.DataFrame, unit: Unit, items: Items, scores: Scores) -> Results:
    """Findings, tables, limits and counts."""
    rated = qualities_of(records, plan)
    measurements = measure(records, plan, unit, items.missing) + rating_measurements(rated, STAGE)
    measurements = with_reach(measurements, plan.policy)
    if not records["reward"].notna().any():
        reason = "; ".join(scores.problems)
        measurements = [replace(m, estimate=Estimate.not_estimable(reason)) for m in measurements]
    found, weak = weakened(build_findings(measurements, plan.policy), plan.policy.alpha)
    tables, told = reward_tables(records, plan, measurements, np.random.default_rng(plan.seed))
    tables |= {QUESTION: rating_table(rated)} if rated else {}
    tables |= {RELIABILITY: calibrated} if (calibrated := reliability_table(records, plan)) else {}
    told += [*items.told, *told_of_ratings(records, rated)]
    scale = [f"Gaps are in units of the {unit.over} ({unit.sd:.3g})."] if np.isfinite(unit.sd) else []
    scale += [unit.reason.capitalize() + "."] if unit.reason and reward_pairs.PROBE in items.tables else []
    missing = [f"Not measured: {probe.replace('_', ' ')}, for {reason}." for probe, reason in items.missing.items()]
    limits = [*weak, *unreachable(measurements, plan.policy), *plan.limits, *scale, *told, *missing]
    limits += [LIMIT] if reward_pairs.PROBE in items.tables else []
    limits += [DIALECT_LIMIT] if reward_dialect.PROBE in items.tables else []
    audit: dict[str, Any] = {
        "title": plan.title,
        "question": plan.question,
        "plan": plan.model_dump(mode="json"),
        "seed": plan.seed,
        "alpha": plan.policy.alpha,
        "models": {"reward_model": {"name": scores.name, "gap_unit": unit.over}},
        "data": items.sources | {"texts": f"{len(items.texts):,}"},
        "definitions": defined((m.metric for m in measurements), REWARD_MODEL),
        "limits": limits,
        "tables": tables,
        **_counts(records, items, scores),
    }
    return Results(audit=audit, findings=found)


def _counts(records: pd.DataFrame, items: Items, scores: Scores) -> dict[str, Any]:
    """input = reported + excluded + unknown; of a pair both texts must have a score."""
    scored = records["reward"].notna() & (records["base_text_id"].isna() | records["base_reward"].notna())
    exclusions = dict(items.excluded)
    if lost := int((~scored).sum()):
        exclusions["a text of the row has no score: " + "; ".join(scores.problems)] = lost
    counts = {
        "input": len(records) + sum(items.excluded.values()),
        "reported": int(scored.sum()),
        "excluded": sum(exclusions.values()),
        "unknown": 0,
    }
    return {"counts": counts, "exclusions": [{"reason": reason, "n": n} for reason, n in exclusions.items()]}


def _with_words(results: Results, found: tuple[dict[str, Any], str]) -> Results:
    tables, limit = found
    update = {"tables": results.audit["tables"] | tables, "limits": [*results.audit["limits"], *filter(None, [limit])]}
    return results.model_copy(update={"audit": results.audit | update})


def _check_target(target: Target, plan_file: Path) -> None:
    others = [name for name in target.given if name not in ("--reward-model", "--predictions", "--feedback")]
    both = target.reward_model is not None and target.predictions is not None
    if others or both or target.endpoint_model:
        found = " and ".join(target.given) or "--endpoint-model"
        raise SettingsError(
            f"plan {plan_file}: give --reward-model or --predictions, and --feedback beside it if there is some; "
            f"found {found}"
        )
