from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import (
    as_text,
    check_no_answers,
    check_run,
    exclusions,
    numbers,
    records_of,
    run,
    table_rows,
)
from model_server import Reply, in_words, prompt_of, says, serving

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.decisions import (
    CONTINUATIONS,
    SHIPPED,
    decisions_records,
    decisions_text_records,
    decisions_text_requests,
    load_decisions,
)
from rlhf_fair.records import Results


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight of the shipped scenarios as a file of one's own: 480 items, in which women are the reference."""
    content = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    scenarios = dict(list(content.pop("scenarios").items())[::7])
    content["genders"] = ["woman", "man", "non-binary person"]
    lines = [f"{name} = {json.dumps(value)}" for name, value in content.items()]
    lines += ["[scenarios]", *(f"{name} = {json.dumps(text)}" for name, text in scenarios.items())]
    folder = tmp_path_factory.mktemp("data")
    (folder / "mine.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


def own_plan(shipped: str, folder: Path) -> Path:
    text = find_plan(shipped).read_text().replace("[decisions]\n", '[decisions]\nfolder = "mine.toml"\n')
    (folder / "plan.toml").write_text(text)
    return folder / "plan.toml"


def claims(results: Results) -> set[tuple[str, str, str, str]]:
    return {(f.metric, f.variant, f.attribute, f.reference) for f in results.findings if f.role == "claim"}


def test_the_plans_ask_for_every_person_in_every_scenario() -> None:
    for plan in ("decisions", "decisions/free-text"):
        benchmark = load_benchmark_plan(plan).benchmark
        items = benchmark.load(benchmark.place(Path("nowhere"))).table
        n = len(tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["scenarios"])
        assert len(items) == n * (3 * 3 * 4 + 3 * 2 * 4)  # said outright; by name, for which "non-binary" has none


def test_leans_of_a_model_with_scenarios_of_ones_own(data: Path, causal: Path, tmp_path: Path) -> None:
    plan = own_plan("decisions", tmp_path)
    asked = run(plan, tmp_path / "model", model=causal, data=data)
    assert claims(asked) == {
        ("decision_logit", variant, attribute, reference)
        for variant in ("said outright", "by name")
        for attribute, reference in (("gender", "woman"), ("race", "White"), ("age", "45"))
    }
    assert {f.variant for f in asked.findings if f.role != "claim" and f.metric == "decision_logit"} == {
        *("said outright, mixed model", "by name, mixed model")
    }
    assert asked.audit["counts"] == {"input": 480, "reported": 480, "excluded": 0, "unknown": 0}
    check_run(plan, tmp_path / "model")
    records = records_of(tmp_path / "model")
    mass, logit = records["parsed"], records["logit"]
    yes = mass / (1 + np.exp(-logit))
    file = tmp_path / "chances.parquet"
    records[["item_id"]].assign(p_yes=yes, p_no=mass - yes).to_parquet(file)
    read = run(plan, tmp_path / "file", predictions=file, data=data)
    names = ("metric", "variant", "group")
    for key, one in numbers(asked, *names).items():
        if "mixed model" not in key[1]:  # its optimiser may stop short on one of two tables that differ by rounding
            assert numbers(read, *names)[key] == pytest.approx(one, rel=1e-4, abs=1e-6, nan_ok=True)


def test_answers_in_words_of_a_model_and_from_a_file(data: Path, causal: Path, tmp_path: Path) -> None:
    plan = own_plan("decisions/free-text", tmp_path)
    asked = run(plan, tmp_path / "model", model=causal, data=data)
    assert {metric for metric, *_ in claims(asked)} == {"decision_yes_rate"}  # and nobody was refused
    silent = {f.verdict.value for f in asked.findings if f.metric != "refusal_gap"}
    assert silent == {"not_measured"}  # a random model says neither yes nor no
    check_run(plan, tmp_path / "model")
    items = load_decisions(data / "mine.toml")
    decoding = Decoding(max_new_tokens=16, temperature=0.0)
    texts = CausalLM.load(causal).answers(decisions_text_requests(items), decoding)
    file = tmp_path / "answers.jsonl"
    items[["item_id"]].assign(text=texts).to_json(file, orient="records", lines=True)
    assert as_text(run(plan, tmp_path / "file", predictions=file, data=data).findings) == as_text(asked.findings)


def test_a_server_answers_in_words_and_its_failures_are_counted(data: Path, tmp_path: Path) -> None:
    plan = own_plan("decisions/free-text", tmp_path)

    def decides(request: dict[str, Any], path: str) -> Reply:
        prompt = prompt_of(request)
        if "65-year-old Asian man" in prompt:
            return says({"error": {"message": "filtered"}}, status=400)
        return in_words("No." if "Black" in prompt else "Yes, certainly.", path)

    with serving(decides) as server:
        results = run(plan, tmp_path / "out", endpoint=server.url, data=data)
        assert sum(server.asked.values()) == 480
    assert exclusions(results) == {"no answer was given": 8}  # that person in each of eight scenarios
    said = {
        f.group: f
        for f in results.findings
        if (f.metric, f.variant, f.attribute) == ("decision_yes_rate", "said outright", "race")
    }
    assert said["Black"].estimate == -1
    assert said["Black"].ci_high < -0.05  # eight scenarios are too few for a verdict among 13 claims
    assert said["Hispanic"].estimate == 0
    check_run(plan, tmp_path / "out")


def test_a_planted_gap_exceeds_and_the_same_answer_to_all_does_not(tmp_path: Path) -> None:
    items = load_decisions()
    verdicts = {}
    for name, chosen in (("planted", items["gender"] != "woman"), ("same", items["scenario"].str.len() % 2 == 0)):
        file = tmp_path / f"{name}.jsonl"
        words = chosen.map({True: "Yes, it should.", False: "No."})
        items[["item_id"]].assign(text=words).to_json(file, orient="records", lines=True)
        results = run("decisions/free-text", tmp_path / name, predictions=file)
        verdicts[name] = {(f.attribute, f.group, f.verdict.value) for f in results.findings if f.role == "claim"}
    exceeding = {
        (attribute, group) for attribute, group, verdict in verdicts["planted"] if verdict == "exceeds_threshold"
    }
    assert exceeding == {("gender", "woman")}
    assert not [one for one in verdicts["same"] if one[2] == "exceeds_threshold"]


def test_missing_malformed_and_repeated_predictions_are_counted(data: Path, tmp_path: Path) -> None:
    plan = own_plan("decisions/free-text", tmp_path)
    items = load_decisions(data / "mine.toml")
    texts = ["maybe", "I'm sorry, I can't help with that.", None, *["yes"] * (len(items) - 3)]
    table = items[["item_id"]].assign(text=pd.Series(texts, dtype=object))
    stray = pd.DataFrame({"item_id": ["nobody"], "text": ["no"]})
    table = pd.concat([table.iloc[:-1], table.iloc[[3]], stray])
    file = tmp_path / "answers.jsonl"
    file.write_text(table.to_json(orient="records", lines=True) + "not json\n")
    results = run(plan, tmp_path / "out", predictions=file, data=data)
    assert exclusions(results) == {
        "no answer was given": 2,
        "the answer could not be read": 1,
        "the model refused": 1,
        "several answers were given": 1,
    }
    assert {row["prediction"]: row["n"] for row in table_rows(results, "predictions that answer no item")} == {
        "for an item that is not at hand": 1,
        "a line that cannot be read": 1,
    }
    check_run(plan, tmp_path / "out")


def test_no_answers_end_in_reasons() -> None:
    items = load_decisions()
    check_no_answers("decisions", decisions_records(items, [None] * len(CONTINUATIONS) * len(items)))
    check_no_answers("decisions/free-text", decisions_text_records(items, [None] * len(items)))
