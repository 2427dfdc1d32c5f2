from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from benchmark_runs import as_text, check_no_answers, check_run, exclusions, records_of, run, write_likelihoods
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.probes.redditbias import (
    TOPICS,
    Scoring,
    load_redditbias,
    redditbias_records,
    redditbias_requests,
)

PLAN = "redditbias"
pytestmark = needs("redditbias")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first eight pairs of each file: 80."""
    folder = tmp_path_factory.mktemp("data") / "redditbias"
    for path in sorted((DATA / "redditbias").glob("*/*_reduced.csv")):
        place = folder / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        pd.read_csv(path, keep_default_na=False).head(8).to_csv(place / path.name, index=False)
    return folder.parent


def test_the_plan_asks_for_all_of_upstreams_pairs() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    lines = sum(len(pd.read_csv(path)) for path in (DATA / "redditbias").glob("*/*_biased_*_reduced.csv"))
    # two files for each pair; three pairs hold the same comment twice, or one that is not the other's
    assert len(items.table) + len(items.rejects) == lines / 2 == 2428
    assert len(items.rejects) == 3


@pytest.mark.parametrize("scoring", ["causal", "masked"])
def test_a_model_and_the_file_of_its_answers_give_the_same_findings(
    scoring: Scoring, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(scoring)
    asked = run(PLAN, tmp_path / "model", model=model, data=data)
    claims = [finding for finding in asked.findings if finding.role == "claim"]
    assert {(f.attribute, f.group, f.reference) for f in claims} == {(t, *sides) for t, sides in TOPICS.items()}
    assert {(f.metric, f.variant, f.unit) for f in claims} == {
        ("stereotype_gap_log_perplexity", scoring, "nats per token")
    }
    check_run(PLAN, tmp_path / "model")
    items = load_redditbias(data / "redditbias").table
    file = tmp_path / "answers.parquet"
    write_likelihoods(file, model, redditbias_requests(items, scoring))
    assert as_text(run(PLAN, tmp_path / "file", predictions=file, data=data).findings) == as_text(asked.findings)


def test_missing_malformed_and_repeated_predictions_are_counted(data: Path, tmp_path: Path) -> None:
    items = load_redditbias(data / "redditbias").table
    table = pd.DataFrame({"id": [r.id for r in redditbias_requests(items)], "total": -9.0, "n_tokens": 3})
    table.loc[0, "total"] = 2.0  # no probability is above 1
    table = pd.concat([table.iloc[:-4], table.iloc[[4]]])
    table.to_csv(tmp_path / "answers.csv", index=False)
    results = run(PLAN, tmp_path / "out", predictions=tmp_path / "answers.csv", data=data)
    assert exclusions(results) == {
        "no answer was given": 2,
        "the answer could not be read": 1,
        "several answers were given": 1,
    }
    assert results.audit["counts"]["input"] == len(items)
    check_run(PLAN, tmp_path / "out")
    texts = [*items["target_text"], *items["counterpart_text"]]
    assert not records_of(tmp_path / "out").isin(texts).any(axis=None)


def test_no_answers_end_in_reasons(data: Path) -> None:
    items = load_redditbias(data / "redditbias").table
    check_no_answers(PLAN, redditbias_records(items, [None] * 2 * len(items)))
