from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import as_text, check_no_answers, check_run, exclusions, run, table_rows
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.probes.seat import seat_records, seat_texts
from rlhf_fair.probes.seat_files import load_seat
from rlhf_fair.probes.seat_vectors import read_vectors

PLAN = """
title = "t"
question = "q"
probe = "seat"
[[claims]]
metric = "association_effect_size"
attribute = "sent-weat6: Career / Family"
[seat]
tests = ["sent-weat6", "weat6", "weat7"]
draws = 999
[policy.metrics.association_effect_size]
threshold = 0.5
margin = 0.5
"""
pytestmark = needs("seat")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the tests."""
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(PLAN)
    return file


def items(plan: Path) -> pd.DataFrame:
    benchmark = load_benchmark_plan(plan).benchmark
    return benchmark.load(benchmark.place(DATA)).table


def test_the_plan_asks_for_all_of_upstreams_tests_and_claims_exist() -> None:
    shipped = load_benchmark_plan("seat")
    table = shipped.benchmark.load(shipped.benchmark.place(DATA)).table
    assert table["test"].nunique() == 46  # the files of May et al. 2019
    categories = table.drop_duplicates(["test", "part"]).pivot(index="test", columns="part", values="category")
    named = {f"{test}: {one} / {other}" for test, one, other in categories[["attr1", "attr2"]].itertuples()}
    assert {claim.attribute for claim in shipped.claims} <= named
    assert len(shipped.claims) == 13


def test_an_encoder_and_the_file_of_its_vectors_give_the_same_findings(
    plan: Path, masked: Path, tmp_path: Path
) -> None:
    asked = run(plan, tmp_path / "model", model=masked)
    assert [f.variant for f in asked.findings] == ["sentences_by_word", "words", "words"]
    assert asked.audit["counts"]["reported"] == len(items(plan)[items(plan)["part"].isin(["targ1", "targ2"])])
    check_run(plan, tmp_path / "model")  # the rearrangements are drawn with the plan's seed
    texts = seat_texts(items(plan))
    vectors = Encoder.load(masked).embeddings(texts)
    file = tmp_path / "vectors.jsonl"
    file.write_text(
        "\n".join(json.dumps({"text": t, "embedding": v.tolist()}) for t, v in zip(texts, vectors, strict=True))
    )
    assert as_text(run(plan, tmp_path / "file", predictions=file).findings) == as_text(asked.findings)


def test_a_planted_association_exceeds(plan: Path, tmp_path: Path) -> None:
    table = items(plan)
    draw = np.random.default_rng(5)
    texts = seat_texts(table)
    side = table[table["part"].isin(["targ1", "attr1"])]["text"]
    vectors = draw.normal(scale=0.3, size=(len(texts), 8)) + np.eye(8)[[0 if t in set(side) else 1 for t in texts]]
    file = tmp_path / "vectors.parquet"
    pd.DataFrame({"text": texts, "embedding": vectors.tolist()}).to_parquet(file)
    [claim] = [f for f in run(plan, tmp_path / "out", predictions=file).findings if f.role == "claim"]
    assert (claim.group, claim.reference) == ("MaleNames", "FemaleNames")
    assert claim.estimate > 1
    assert claim.verdict == "exceeds_threshold"


def test_missing_malformed_and_repeated_vectors_are_counted(plan: Path, tmp_path: Path) -> None:
    table = items(plan)
    draw = np.random.default_rng(6)
    targets = table[(table["test"] == "weat6") & table["part"].isin(["targ1", "targ2"])]["text"].tolist()
    rows = [{"text": text, "embedding": draw.normal(size=4).tolist()} for text in seat_texts(table)]
    of = {row["text"]: row for row in rows}
    of[targets[0]]["embedding"] = [1.0, 2.0]
    of[targets[1]]["embedding"] = "none"
    of[targets[2]]["embedding"] = [0.0] * 4
    kept = [row for row in rows if row["text"] != targets[3]]
    file = tmp_path / "vectors.jsonl"
    file.write_text("\n".join(map(json.dumps, [*kept, of[targets[4]], {"text": "nobody", "embedding": [1] * 4}])))
    results = run(plan, tmp_path / "out", predictions=file)
    counted = exclusions(results)
    assert counted.pop("the answer could not be read") == 2
    assert counted.pop("several answers were given") == 1
    assert counted.pop("no answer was given") == 1
    [(why, n)] = counted.items()
    assert (why.startswith("no direction to compare"), n) == (True, 1)
    assert table_rows(results, "predictions that answer no item")[0]["n"] == 1
    check_run(plan, tmp_path / "out")


def test_no_vectors_end_in_reasons(plan: Path) -> None:
    table = items(plan)
    texts = seat_texts(table)
    check_no_answers(plan, seat_records(table, texts, np.full((len(texts), 3), np.nan)))


def test_faults_in_plan_and_file(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace('"weat7"', '"weat77"'))
    with pytest.raises(SettingsError, match="'weat77' is not in"):
        items(tmp_path / "plan.toml")
    texts = seat_texts(load_seat(DATA / "seat").table)[:2]
    with pytest.raises(RowError, match="no list of numbers"):
        read_vectors(texts, pd.DataFrame({"text": texts, "embedding": ["x", None]}))
    with pytest.raises(ColumnError, match="embedding"):
        read_vectors(texts, pd.DataFrame({"text": texts}))
