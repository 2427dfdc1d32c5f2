from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import (
    as_text,
    check_no_answers,
    check_run,
    exclusions,
    records_of,
    run,
    table_rows,
    write_likelihoods,
)
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.errors import RowError
from rlhf_fair.probes.crows_pairs import FILE, Variant, crows_pairs_records, crows_pairs_requests, load_crows_pairs
from rlhf_fair.records import exit_code

PLAN = "crows-pairs"
pytestmark = needs("crows-pairs")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every thirtieth pair: 51."""
    folder = tmp_path_factory.mktemp("data") / "crows-pairs"
    folder.mkdir()
    pd.read_csv(DATA / "crows-pairs" / FILE, keep_default_na=False).iloc[::30].to_csv(folder / FILE, index=False)
    return folder.parent


def test_the_plan_asks_for_all_of_upstreams_pairs() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    assert (len(items.table), len(items.rejects)) == (1508, 0)  # Nangia et al. 2020, table 2


@pytest.mark.parametrize(("kind", "variant"), [("causal", "causal_sentence"), ("masked", "masked_shared")])
def test_a_model_and_the_file_of_its_answers_give_the_same_findings(
    kind: str, variant: Variant, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    asked = run(PLAN, tmp_path / "model", model=model, data=data)
    # over all pairs and for each type, in the variant that the kind of model is measured in: not the rounded twin
    claims = {finding.group: finding for finding in asked.findings if finding.role == "claim"}
    assert set(claims) == {"all", *load_crows_pairs(DATA / "crows-pairs").table["bias_type"]}
    assert {claim.variant for claim in claims.values()} == {variant}
    assert (claims["all"].n, sum(claim.n for claim in claims.values())) == (51, 102)
    assert asked.audit["counts"] == {"input": 51, "reported": 51, "excluded": 0, "unknown": 0}
    check_run(PLAN, tmp_path / "model")
    requests = crows_pairs_requests(load_crows_pairs(data / "crows-pairs").table, variant)
    file = tmp_path / "answers.parquet"
    write_likelihoods(file, model, requests)
    assert as_text(run(PLAN, tmp_path / "file", predictions=file, data=data).findings) == as_text(asked.findings)


def test_missing_malformed_and_repeated_predictions_are_counted(data: Path, causal: Path, tmp_path: Path) -> None:
    items = load_crows_pairs(data / "crows-pairs").table
    requests = crows_pairs_requests(items, "causal_sentence")
    table = pd.DataFrame({"id": [r.id for r in requests], "total": -9.0, "n_tokens": 3}).astype({"total": object})
    table.loc[0, "total"] = "low"
    table = pd.concat([table.iloc[[0, *range(1, 98)]], table.iloc[[4]]])  # the last two pairs are left out
    file = tmp_path / "answers.jsonl"
    file.write_text(table.to_json(orient="records", lines=True) + '{"id": "crows_pairs/caus')
    results = run(PLAN, tmp_path / "out", predictions=file, data=data)
    assert exclusions(results) == {
        "the answer could not be read": 1,
        "several answers were given": 1,
        "no answer was given": 2,
    }
    assert results.audit["counts"]["reported"] == 47
    [stray] = table_rows(results, "predictions that answer no item")
    assert stray == {"prediction": "a line that cannot be read", "n": 1}
    check_run(PLAN, tmp_path / "out")
    assert not records_of(tmp_path / "out").isin(items["sent_more"].tolist()).any(axis=None)  # no text


def test_leans_that_cancel_over_all_pairs_do_not_pass(tmp_path: Path) -> None:
    items = load_crows_pairs(DATA / "crows-pairs").table
    rng = np.random.default_rng(0)
    pro = rng.random(len(items)) < np.where(items["bias_type"] == "race-color", 0.75, 0.37)
    table = pd.DataFrame(
        {
            "id": [
                f"crows_pairs/masked_shared/{pair}/{side}" for pair in items["pair_id"] for side in ("more", "less")
            ],
            "total": np.where(np.c_[pro, ~pro], -10.0, -11.0).reshape(-1),
            "n_tokens": 9,
        }
    )
    table.to_csv(tmp_path / "scores.csv", index=False)
    results = run(PLAN, tmp_path / "out", predictions=tmp_path / "scores.csv")
    verdicts = {f.group: f.verdict.value for f in results.findings if f.role == "claim"}
    assert verdicts["all"] == "within_threshold"
    assert verdicts["race-color"] == "exceeds_threshold"
    assert exit_code(results.findings) == 1


def test_no_answers_end_in_reasons(data: Path) -> None:
    items = load_crows_pairs(data / "crows-pairs").table
    check_no_answers(PLAN, crows_pairs_records(items, [None] * 2 * len(items), "causal_sentence"))


def test_a_file_must_name_its_variant(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    for ids in (["0/more"], ["crows_pairs/masked_shared/0/more", "crows_pairs/causal_sentence/0/more"]):
        pd.DataFrame({"id": ids, "total": -1.0, "n_tokens": 1}).to_csv(file, index=False)
        with pytest.raises(RowError, match="allowed: ids crows_pairs/VARIANT"):
            run(PLAN, tmp_path / "out", predictions=file, data=data)
