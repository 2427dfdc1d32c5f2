"""A results file of every part, small."""

from __future__ import annotations

import pytest

from rlhf_fair.records import Estimate, Finding, Results, Training, TrainingRun, Verdict


@pytest.fixture
def planted_base() -> Results:
    numbers = {"estimate": 0.1, "ci_low": 0.0, "ci_high": 0.2, "p_value": 0.1, "p_adjusted": 0.2, "mde": 0.1}
    limits = {"threshold": 0.3, "margin": 0.3, "n": 100, "n_clusters": 20, "verdict": Verdict.WITHIN}
    findings = tuple(
        Finding(
            id=f"base/names/gap/{i}", stage="base", probe="names", metric="gap", attribute="group", group=f"g{i}",
            reference="all", **numbers, **limits,
        )
        for i in range(60)
    )  # fmt: skip
    runs = tuple(TrainingRun(name=f"run {i}", reward_mean=0.5, gap=0.1, kl=1.0, steps=3) for i in range(60))
    kept = Training(runs=runs, comparisons={"kept": Estimate(estimate=0.1, n=10)})
    audit = {"title": "Planted", "question": "Does anything come out?", "plan": {"probe": "names"}, "alpha": 0.05}
    return Results(audit=audit, findings=findings, training=kept)
