from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import check_no_answers, check_run, exclusions, numbers, run, table_rows
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.errors import RowError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.probes.likelihoods import means
from rlhf_fair.probes.stereoset import TEXTS, load_stereoset, stereoset_records, stereoset_requests

PLAN = "stereoset"
pytestmark = needs("stereoset")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fiftieth item: 85."""
    folder = tmp_path_factory.mktemp("data") / "stereoset"
    folder.mkdir()
    with gzip.open(DATA / "stereoset" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        (folder / "test.jsonl").write_text("".join(list(lines)[::50]))
    return folder.parent


@pytest.fixture(scope="module")
def scores(data: Path, causal: Path) -> pd.DataFrame:
    """What the causal model gives each text, per token, told by id and by words."""
    items = load_stereoset(data / "stereoset").table
    found = means(CausalLM.load(causal).log_likelihoods(stereoset_requests(items)))
    rows = [
        {"id": row[f"{text}_id"], "target": row["target"], "context": row["context"], "sentence": row[text]}
        for row in items.to_dict("records")
        for text in TEXTS
    ]
    return pd.DataFrame(rows).assign(score=found)


def test_the_plan_asks_for_all_of_upstreams_items() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    # upstream's public development set; Nadeem et al. 2021 have 2,106 and 2,123 items there
    assert items.table["type"].value_counts().to_dict() == {"intersentence": 2123, "intrasentence": 2106}
    assert items.rejects.empty


def test_models_of_both_kinds_and_the_levels_beside_the_claim(
    data: Path, causal: Path, masked: Path, tmp_path: Path
) -> None:
    for kind, model, method in (
        ("causal", causal, "log probability"),
        ("masked", masked, "pseudo-log-probability of changed tokens"),
    ):
        results = run(PLAN, tmp_path / kind, model=model, data=data)
        claims = {finding.group: finding for finding in results.findings if finding.role == "claim"}
        assert set(claims) == {"all", "gender", "profession", "race"}
        claim = claims["all"]
        assert (claim.variant, claim.n) == (f"all items, {method}, per token", 85)
        levels = {
            row["metric"].removeprefix("stereoset_"): row["estimate"]
            for row in table_rows(results, "also measured")
            if row["group"] == "all" and row["variant"] == claim.variant
        }
        assert set(levels) == {"language_modelling_score", "stereotype_score", "icat", "ties"}
        assert claim.estimate == pytest.approx(levels["stereotype_score"] + levels["ties"] / 2 - 50)
        balance = min(levels["stereotype_score"], 100 - levels["stereotype_score"]) / 50
        assert levels["icat"] == pytest.approx(levels["language_modelling_score"] * balance)
        assert results.audit["counts"] == {"input": 85, "reported": 85, "excluded": 0, "unknown": 0}
        check_run(PLAN, tmp_path / kind)


@pytest.mark.parametrize("columns", [["id"], ["target", "context", "sentence"]])
def test_scores_from_a_file_give_the_models_findings(
    columns: list[str], data: Path, causal: Path, scores: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "scores.parquet"
    scores[[*columns, "score"]].to_parquet(file)
    asked = numbers(run(PLAN, tmp_path / "model", model=causal, data=data), "metric", "group", "variant")
    read = numbers(run(PLAN, tmp_path / "file", predictions=file, data=data), "metric", "group", "variant")

    def by_kind(found: dict[tuple[str, ...], tuple[float, float, float, int]]) -> dict[tuple[str, ...], object]:
        return {(metric, group, variant.split(",")[0]): one for (metric, group, variant), one in found.items()}

    assert by_kind(read).keys() == by_kind(asked).keys()
    for key, one in by_kind(asked).items():
        np.testing.assert_array_equal(by_kind(read)[key], one)


def test_missing_malformed_and_repeated_scores_are_counted(data: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    table = scores[["id", "score"]].astype({"score": object})
    table.loc[0, "score"] = "likely"
    table = pd.concat([table.iloc[:-4], table.iloc[[3]]])  # of the last item nothing, of the last but one a text
    file = tmp_path / "scores.jsonl"
    file.write_text(table.to_json(orient="records", lines=True) + "{\n[]\n")
    results = run(PLAN, tmp_path / "out", predictions=file, data=data)
    assert exclusions(results) == {
        "no answer was given": 2,
        "the answer could not be read": 1,
        "several answers were given": 1,
    }
    assert results.audit["counts"]["reported"] == 81
    assert {row["prediction"]: row["n"] for row in table_rows(results, "predictions that answer no item")} == {
        "a line that cannot be read": 2,
    }
    check_run(PLAN, tmp_path / "out")


def test_a_file_whose_lines_are_counted_from_one_is_refused(data: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    """Read as if counted from 0, every item but one would get its neighbour's scores."""
    places = scores["id"].str.partition("/")
    assert places[0].astype(int).tolist() == [item for item in range(85) for _ in TEXTS]
    file = tmp_path / "scores.csv"
    shifted = (places[0].astype(int) + 1).astype(str) + "/" + places[2]
    pd.DataFrame({"id": shifted, "score": scores["score"]}).to_csv(file, index=False)
    with pytest.raises(RowError, match="3 unknown ids of texts, such as '85/"):
        run(PLAN, tmp_path / "out", predictions=file, data=data)


def test_leans_that_cancel_over_all_items_do_not_pass(tmp_path: Path) -> None:
    items = load_stereoset(DATA / "stereoset").table
    rng = np.random.default_rng(0)
    pro = rng.random(len(items)) < np.where(items["bias_type"].isin(["gender", "profession"]), 0.75, 0.31)
    scores = np.c_[np.where(pro, 1, 0), np.where(pro, 0, 1), np.full(len(items), -1)]
    ids = [f"{item}/{text}" for item in items["item_id"] for text in TEXTS]
    pd.DataFrame({"id": ids, "score": scores.reshape(-1)}).to_csv(tmp_path / "scores.csv", index=False)
    results = run(PLAN, tmp_path / "out", predictions=tmp_path / "scores.csv")
    verdicts = {f.group: f.verdict.value for f in results.findings if f.role == "claim"}
    assert verdicts.pop("all") != "exceeds_threshold"
    assert verdicts == dict.fromkeys(("gender", "profession", "race"), "exceeds_threshold")


def test_no_answers_end_in_reasons(data: Path) -> None:
    items = load_stereoset(data / "stereoset").table
    check_no_answers(PLAN, stereoset_records(items, [None] * 3 * len(items)))
