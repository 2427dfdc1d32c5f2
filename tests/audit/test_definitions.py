"""Every number that a shipped audit measures is defined, and the definition reaches the reader."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from upstream import DATA

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.benchmarks.registry import NAMES, find_benchmark
from rlhf_fair.audit.benchmarks.rulers import rulers_measured
from rlhf_fair.audit.definitions import ANSWERS, FILLED, SHIFTS, defined
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_account import definitions
from rlhf_fair.audit.plan import load_plan, shipped_audits
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report.data import page
from rlhf_fair.report.html import render
from rlhf_fair.settings import read_toml_table

PLANS = {name: str(read_toml_table(file, "plan")["probe"]) for name, file in shipped_audits().items()}
BENCHMARKS = [name for name, probe in PLANS.items() if probe in NAMES]
GENERATION = [name for name, probe in PLANS.items() if probe == "generation"]
NEUTRAL = re.compile(r"\b(?:0|1|50|chance|level)\b")


def test_a_name_goes_before_patterns_and_a_longer_pattern_before_a_shorter() -> None:
    known = {"*_gap": "gap of {}", "mean_*": "level of {}", "mean_regard_*": "regard of {}", "rank_gap": "places"}
    asked = ["rank_gap", "sentiment_gap", "mean_regard_very_good", "unheard_of", "_gap"]
    assert defined(asked, known) == {
        "rank_gap": "places",
        "sentiment_gap": "gap of sentiment",
        "mean_regard_very_good": "regard of very good",
    }


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_metric_with_limits_is_defined(name: str) -> None:
    plan = load_benchmark_plan(name)
    known = {**SHIFTS, **plan.benchmark.defines()}
    assert set(defined(plan.policy.metrics, known)) == set(plan.policy.metrics)


@pytest.mark.parametrize("name", GENERATION)
def test_every_metric_of_a_generation_audit_is_defined(name: str) -> None:
    plan = load_plan(name, GenerationPlan)
    metrics = ["refusal", *(s.quantity for s in plan.scorers), *(f"{s.quantity}_scorer_shift" for s in plan.scorers)]
    found = definitions(metrics, plan)
    assert list(found) == metrics
    first = found[plan.scorers[0].quantity]
    assert plan.scorers[0].name in first
    assert ("version of a prompt" in first) == (plan.counterfactual is not None)


class Toy:
    """Answers whatever is asked at once, by the request's id: a source for tests of what is measured."""

    name, masked = "toy", False

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[Likelihood]:
        return [Likelihood(-float(sum(r.id.encode()) % 97), 7) for r in requests]

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str]:
        said = (" yes, she is kind", " no, he is a cruel fool", "1. Nurse\n2. Engineer", " the doctor and her idea")
        return [said[sum(r.id.encode()) % len(said)] for r in requests]

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([np.random.default_rng(sum(text.encode())).normal(size=8) for text in texts])


def a_part(items: pd.DataFrame) -> pd.DataFrame:
    """At most 3,000 rows, from all over the table."""
    return items.iloc[:: 1 + len(items) // 3000].reset_index(drop=True)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_number_of_a_benchmark_is_defined(name: str) -> None:
    benchmark = load_benchmark_plan(name).benchmark.lean()
    folder = benchmark.place(DATA)
    if not folder.exists() or folder == DATA:
        pytest.skip(f"the data set of {name} is not on this machine")
    records = benchmark.ask(a_part(benchmark.load(folder).table), Toy())  # type: ignore[arg-type]
    measured = benchmark.measure(records, alpha=0.05, rng=np.random.default_rng(0))
    moved = rulers_measured(benchmark.check_rulers(), alpha=0.05)
    metrics = dict.fromkeys(m.metric for m in (*measured, *moved))
    found = defined(metrics, {**ANSWERS, **SHIFTS, **benchmark.defines()})
    assert list(found) == list(metrics)
    for metric, text in found.items():
        assert NEUTRAL.search(text), metric  # what means nothing amiss, or what the number is the level of
        assert text.endswith(".")
        assert FILLED not in text


def test_labels_of_a_classifier_have_definitions_of_their_own() -> None:
    scorer = {"quantity": "regard", "kind": "classifier", "model": "m", "values": {"negative": -1.0}}
    benchmark = find_benchmark("regard").model_validate({"scorers": [scorer], "labels": True})
    found = defined(["regard_negative_gap", "mean_regard_negative"], benchmark.defines())
    assert found["regard_negative_gap"].startswith("Mean probability that m gives to regard negative for the answers")
    assert found["mean_regard_negative"].endswith("Range 0 to 1.")


def finding(metric: str, group: str) -> Finding:
    return Finding(
        id=f"{metric}/{group}", stage="model", probe="toy", metric=metric, attribute="kind", group=group,
        reference="x", estimate=0.1, ci_low=0.0, ci_high=0.2, p_value=0.05, p_adjusted=0.2, threshold=0.1, margin=0.1,
        mde=0.2, n=10, n_clusters=5, verdict=Verdict.INCONCLUSIVE,
    )  # fmt: skip


def test_the_page_shows_definitions_escaped_and_does_without() -> None:
    findings = tuple(finding("tilt_gap", group) for group in "abcd")
    said = {"tilt_gap": "How far <b>it</b> tilts; 0 = upright.", "mean_tilt": "The level."}
    results = Results(audit={"title": "t", "definitions": said}, findings=findings)
    content = page(results)
    (section,) = (s for s in content.sections if s.id == "findings")
    assert section.charts[0].note.startswith(said["tilt_gap"])
    table = section.tables[-1]
    assert table.caption == "What the numbers mean"
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Mean tilt", "The level."],
        ["Tilt gap", said["tilt_gap"]],
    ]
    shown = render(content)
    assert "How far &lt;b&gt;it&lt;/b&gt; tilts" in shown
    assert "<b>it</b>" not in re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL)
    older = page(Results(audit={"title": "t"}, findings=findings))
    (section,) = (s for s in older.sections if s.id == "findings")
    assert [table.id for table in section.tables] == ["top-table"]
    assert "How far" not in section.charts[0].note
