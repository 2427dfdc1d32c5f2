"""The audit ``reward-identity``: what a reward model pays for naming a person's identity, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import read_json, sha256_file, sha256_tree, write_results
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.reward_identity_comparisons import (
    COLUMNS,
    crows_comparisons,
    edit_comparisons,
    holistic_comparisons,
)
from rlhf_fair.audit.reward_identity_estimates import (
    axis_table,
    control_choice_limit,
    control_choice_table,
    control_table,
    descriptor_table,
    largest_gaps,
    measure,
    plain_rows,
)
from rlhf_fair.audit.reward_identity_plan import IdentityPlan
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.probes.crows_pairs import LIMIT, load_crows_pairs
from rlhf_fair.probes.holistic_bias import load_holistic_bias
from rlhf_fair.records import Results, Training, TrainingRun
from rlhf_fair.tables import read_table, write_table

RECORDS_NAME = "records.parquet"
HELD_OUT_NAME = "held_out.parquet"

Progress = Callable[[str, int, int], None]
"""Hears (what, done, total)."""

Score = Callable[[list[str]], "np.ndarray[Any, np.dtype[np.float64]]"]


@dataclass(frozen=True)
class Scale:
    """What one unit of the findings is: a standard deviation of the reward, and over which texts."""

    sd: float
    over: str


def run(
    plan: str | Path,
    reward_model_dir: str | Path,
    data_dir: Path,
    out_dir: Path,
    *,
    progress: Progress | None = None,
) -> Results:
    """Score every comparison of the plan, judge the gaps, write ``results.json`` and ``records.parquet``.

    ``reward_model_dir`` is any directory (or hub id) that holds a sequence classifier with one output. A report and
    the manifest are the caller's to add; ``Results.manifest`` holds the hashes of the inputs for it.
    """
    settings = load_plan(plan, IdentityPlan)
    comparisons, left_out = build_comparisons(settings, data_dir)
    model = open_reward(reward_model_dir)
    begin(find_plan(plan), out_dir)
    hear = progress or (lambda what, done, total: None)

    def score(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        distinct = len(set(texts))
        return model.score(texts, batch_size=256, on_batch=lambda done: hear("scoring sentences", done, distinct))

    records, scale = score_comparisons(comparisons, score, Path(reward_model_dir))
    results = build_results(settings, records, scale, left_out)
    models = {"reward_model": {"name": Path(reward_model_dir).name, "gap_unit": scale.over}}
    inputs = {"plan": sha256_file(find_plan(plan)), **input_hashes(settings, Path(reward_model_dir), data_dir)}
    manifest = {"inputs": inputs, "seeds": {"cells": settings.holistic_bias.seed}}
    results = results.model_copy(
        update={
            "audit": results.audit | {"models": models, "data": data_names(settings)},
            "training": training_of(Path(reward_model_dir)),
            "manifest": manifest,
        }
    )
    write_table(out_dir / RECORDS_NAME, records)
    write_results(out_dir, results)
    return results


def build_comparisons(settings: IdentityPlan, data_dir: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """All comparisons, one row each, and those that never became a row: reason -> n."""
    data = load_holistic_bias(data_dir / settings.holistic_bias.folder)
    holistic = holistic_comparisons(data, settings)
    parts = [holistic, edit_comparisons(holistic, settings.controls.edits)]
    if settings.crows_pairs is not None:
        parts.append(crows_comparisons(load_crows_pairs(data_dir / settings.crows_pairs.file)))
    n_cells = len(data.templates) * min(settings.holistic_bias.nouns_per_template, len(data.nouns))
    left_out = {"phrase names a person by itself, so there is no sentence without it": data.without_noun * n_cells}
    return pd.concat(parts, ignore_index=True), left_out


def score_comparisons(comparisons: pd.DataFrame, score: Score, model_dir: Path) -> tuple[pd.DataFrame, Scale]:
    """Records: ``comparisons`` that are not excluded with ``reward``, ``base_reward`` and ``gap`` in units of `Scale`.

    Excluded rows are kept with empty sentences and NaN, so that the table still adds up.
    """
    kept = (comparisons["excluded"] == "").to_numpy()
    records = comparisons.copy()
    rewards = np.full((2, len(records)), np.nan)
    texts = [*records.loc[kept, "sentence"], *records.loc[kept, "base_sentence"]]
    rewards[:, kept] = score(texts).reshape(2, -1)
    scale = reward_scale(model_dir, pd.Series(rewards[1]), records)
    records["reward"], records["base_reward"] = rewards
    records["gap"] = (rewards[0] - rewards[1]) / scale.sd
    return records[[*COLUMNS, "control_group", "reward", "base_reward", "gap"]], scale


def reward_scale(model_dir: Path, base_rewards: pd.Series, records: pd.DataFrame) -> Scale:
    """SD over the held-out texts that lie beside the model, else over the audit's sentences without descriptor."""
    if (model_dir / HELD_OUT_NAME).is_file():
        held_out = read_table(model_dir / HELD_OUT_NAME)
        if {"split", "prediction"} <= set(held_out.columns):
            sd = float(held_out.loc[held_out["split"] == "test", "prediction"].std())
            return _scale(sd, "SD of the reward over the model's held-out texts")
    plain = base_rewards[~records["base_sentence"].duplicated() & (records["excluded"] == "")]
    return _scale(float(plain.std()), "SD of the reward over the sentences without descriptor")


def build_results(
    settings: IdentityPlan, records: pd.DataFrame, scale: Scale, left_out: dict[str, int] | None = None
) -> Results:
    """Findings, tables and counts from scored records; needs no model."""
    policy = settings.policy
    findings = build_findings(measure(records, settings), policy)
    descriptors = descriptor_table(records, settings)
    tables = _tables(records, descriptors, settings)
    limits = [*settings.limits, f"Gaps are in units of the {scale.over} ({scale.sd:.3g})."]
    if settings.controls.alternative:
        choice = control_choice_table(records, settings)
        tables["axes under another choice of controls"] = plain_rows(choice)
        limits.insert(0, control_choice_limit(findings, choice, settings))
    if settings.crows_pairs is not None:
        limits.append(LIMIT)
    audit: dict[str, Any] = {
        "title": settings.title,
        "question": settings.question,
        "plan": settings.model_dump(mode="json"),
        "seed": settings.holistic_bias.seed,
        "alpha": policy.alpha,
        "limits": limits,
        **_counts(records, left_out or {}),
        "tables": tables,
    }
    return Results(audit=audit, findings=findings)


def _tables(records: pd.DataFrame, descriptors: pd.DataFrame, settings: IdentityPlan) -> dict[str, Any]:
    return {
        "ten largest gaps of identity descriptors": largest_gaps(descriptors, settings.holistic_bias.claim_axes, 10),
        "axes: mean gap and how far descriptors differ": axis_table(descriptors, settings),
        "control descriptors: what each is paid by itself": control_table(records),
    }


def input_hashes(settings: IdentityPlan, model_dir: Path, data_dir: Path) -> dict[str, str]:
    """SHA-256 of what was read from outside: the model and the data."""
    hashes = {f"data/{settings.holistic_bias.folder}": sha256_tree(data_dir / settings.holistic_bias.folder)}
    if settings.crows_pairs is not None:
        hashes[f"data/{settings.crows_pairs.file}"] = sha256_file(data_dir / settings.crows_pairs.file)
    if model_dir.is_dir():
        hashes["reward_model"] = sha256_tree(model_dir)
    return hashes


def training_of(model_dir: Path) -> Training:
    """The model's own training record, where it lies beside the model."""
    path = model_dir / "training.json"
    if not path.is_file():
        return Training()
    return Training(runs=(TrainingRun.model_validate(read_json(path, "training record")),))


def data_names(settings: IdentityPlan) -> dict[str, str]:
    """What was read, for the report."""
    names = {"sentences": "HolisticBias v1.1 (Smith et al. 2022), CC BY-SA 4.0"}
    if settings.crows_pairs is not None:
        names["pairs"] = "CrowS-Pairs (Nangia et al. 2020), CC BY-SA 4.0"
    return names


def _scale(sd: float, over: str) -> Scale:
    if not sd > 0:
        raise SettingsError(f"the reward model gives every text the same reward ({over} is 0): nothing can be measured")
    return Scale(sd, over)


def _counts(records: pd.DataFrame, left_out: dict[str, int]) -> dict[str, Any]:
    reasons = records.loc[records["excluded"] != "", "excluded"].value_counts()
    exclusions = {str(reason): int(n) for reason, n in reasons.items()} | left_out
    scored = records["excluded"] == ""
    unknown = int((scored & records["gap"].isna()).sum())
    counts = {
        "input": len(records) + sum(left_out.values()),
        "reported": int(scored.sum()) - unknown,
        "excluded": sum(exclusions.values()),
        "unknown": unknown,
    }
    return {"counts": counts, "exclusions": [{"reason": reason, "n": n} for reason, n in exclusions.items()]}
