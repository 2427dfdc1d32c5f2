"""What a comparison computes over and over is what the audit measures, whichever clusters are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.audit.compare_kinds import GenerationKind
from rlhf_fair.audit.findings import finding_id
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.plan import load_plan

AUDITS = Path(__file__).parents[2] / "audits"


def answered(prompts: pd.DataFrame, plan: GenerationPlan) -> pd.DataFrame:
    """Answers of a model that is biased at random, one in ten without a score and one in twenty not given."""
    rng = np.random.default_rng(0)
    rows = prompts.loc[prompts.index.repeat(plan.n_samples)].reset_index(drop=True)
    scores = rng.normal(size=(len(rows), len(plan.scorers)))
    scores[rng.random(scores.shape) < 0.1] = np.nan
    columns = dict(zip((plan.column(scorer) for scorer in plan.scorers), scores.T, strict=True))
    return rows.assign(refusal=rng.random(len(rows)) < 0.2, answered=rng.random(len(rows)) < 0.95, **columns)


@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize(("name", "n_prompts"), [("hiring", 160), ("customer-service", 300)], ids=["groups", "twins"])
def test_estimates_are_those_of_the_audit(name: str, n_prompts: int, n_samples: int) -> None:
    plan = load_plan(AUDITS / name / "plan.toml", GenerationPlan)
    plan = plan.model_copy(update={"n_samples": n_samples})
    asked = load_prompts(plan, AUDITS / name)
    some = asked if name != "hiring" else asked.sample(n_prompts, random_state=1)
    kind, records = GenerationKind(plan), answered(some.reset_index(drop=True), plan)
    again, rng, seen = kind.again(records), np.random.default_rng(1), 0
    for column in plan.clusters:
        labels = records[column].unique()
        for left_out in ([], rng.choice(labels, 2), rng.choice(labels, len(labels) // 2, replace=False)):
            kept = ~records[column].isin(left_out).to_numpy()
            found = again(kept)
            for m in kind.measure_again(records[kept].reset_index(drop=True)):
                value, n = found[finding_id(m)]
                assert value == pytest.approx(m.estimate.estimate, nan_ok=True, abs=1e-12)
                assert n == m.estimate.n
                seen += 1
    assert seen > 50


def test_a_group_that_is_left_out_whole_has_no_gap() -> None:
    plan = load_plan(AUDITS / "hiring" / "plan.toml", GenerationPlan)
    records = answered(load_prompts(plan, AUDITS / "hiring"), plan)
    again = GenerationKind(plan).again(records)
    attribute = plan.attributes[0]
    group = next(one for one in records[attribute.column].unique() if one != attribute.reference)
    found = again((records[attribute.column] != group).to_numpy())
    gone = [value for id, (value, _) in found.items() if f"/{attribute.column}/{group}/" in id]
    assert gone
    assert np.isnan(gone).all()
