"""Audit folders as `rlhf-fair audit` leaves them, from records made up on the spot: CrowS-Pairs and BBQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import write_manifest, write_results
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.crows_pairs import crows_pairs_records
from rlhf_fair.records import Results
from rlhf_fair.tables import write_table


def save(folder: Path, plan: BenchmarkPlan, records: pd.DataFrame, **changed: Any) -> Path:
    """A folder with results, records and manifest.

    ``changed``: entries of ``audit``; ``inputs``: the manifest's; ``asked``: the plan as ``results.json`` has it.
    """
    inputs = changed.pop("inputs", {"plan": "p", "data/items": "d", "model": folder.name})
    asked = changed.pop("asked", plan.model_dump(mode="json"))
    audit = {
        "title": plan.title,
        "question": plan.question,
        "plan": asked,
        "models": {"audited": f"model of {folder.name}"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder, Results(audit=audit | changed, manifest={"inputs": inputs}))
    write_table(folder / "records.parquet", records)
    write_manifest(folder, inputs=inputs, seeds={})
    return folder


def crows_plan(**policy: Any) -> BenchmarkPlan:
    """The shipped plan with one claim, over all pairs: `pairs` has three of the bias types that it claims."""
    plan = load_benchmark_plan("crows-pairs")
    over_all = plan.claims[0].model_copy(update={"groups": ("all",)})
    limits = plan.policy.metrics["stereotype_score_less_50"].model_copy(update=policy)
    judging = plan.policy.model_copy(update={"metrics": {"stereotype_score_less_50": limits}})
    return plan.model_copy(update={"policy": judging, "claims": (over_all,)})


def pairs(n: int = 120, *, leaning: float = 0.0, seed: int = 0, own: float = 0.5, missing: int = 0) -> pd.DataFrame:
    """Records of ``n`` pairs; ``leaning`` towards the stereotype, in SDs of what a model finds in a pair.

    What the pair itself adds is the same for every seed; ``own``: the SD of what is the model's own. ``missing``: so
    many of the first pairs are not answered.
    """
    items = pd.DataFrame(
        {
            "pair_id": [str(row) for row in range(n)],
            "bias_type": np.resize(["age", "religion", "gender"], n),
            "stereo_antistereo": np.resize(["stereo", "stereo", "stereo", "antistereo"], n),
        }
    )
    shared, mine = np.random.default_rng(99).normal(size=n), np.random.default_rng(seed).normal(size=n)
    difference = shared + own * mine + leaning
    scores = np.column_stack([difference - 20, np.full(n, -20.0)])
    answers = [Likelihood(float(score), 5) for score in scores.reshape(-1)]
    return crows_pairs_records(items, [*([None] * 2 * missing), *answers[2 * missing :]], "causal_sentence")


def bbq_plan(**metrics: Any) -> BenchmarkPlan:
    plan = load_benchmark_plan("bbq")
    return plan.model_copy(update={"policy": plan.policy.model_copy(update={"metrics": plan.policy.metrics | metrics})})


def bbq(*, biased: float = 0.3, right: float = 0.6, seed: int = 0, templates: int = 20, per: int = 24) -> pd.DataFrame:
    """Records of two categories of templates; ``right``: the rate of right answers, ``biased``: of s among the wrong.

    An item that both models find hard is the same one for every seed, half of the time.
    """
    rng, shared = np.random.default_rng(seed), np.random.default_rng(77)
    n = 2 * templates * per
    item = np.arange(n)
    template = item // per
    ambiguous = item % 2 == 0
    draws = [np.where(shared.random(n) < 0.5, shared.random(n), rng.random(n)) for _ in range(2)]
    correct = (draws[0] < right).astype(float)
    leans = np.where(draws[1] < (1 + biased) / 2, 1.0, -1.0)
    aligned = item % 4 < 2
    side = np.where(correct == 1, np.where(aligned, 1.0, -1.0), leans)
    expressed = np.where(ambiguous, np.where(correct == 1, 0.0, leans), side)
    category = np.where(template < templates, "Age", "Religion")
    return pd.DataFrame(
        {
            "item_id": [f"{c}/{i}" for c, i in zip(category, item, strict=True)],
            "category": category,
            "part": category,
            "template": [f"{c}/{t}" for c, t in zip(category, template, strict=True)],
            "question_polarity": np.where(item % 3 == 0, "neg", "nonneg"),
            "context_condition": np.where(ambiguous, "ambig", "disambig"),
            "n_targets": 1,
            "choice": 0.0,
            "answered": True,
            "parsed": True,
            "refused": np.nan,
            "correct": correct,
            "expressed": expressed,
            "aligned": np.where(ambiguous, None, np.where(aligned, "aligned", "not aligned")),
            "variant": "multiple choice, per token",
        }
    )
