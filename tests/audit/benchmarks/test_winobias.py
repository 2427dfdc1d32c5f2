from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import check_no_answers, check_run, exclusions, numbers, records_of, run
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.probes.winobias import SIDES, SPLITS, TYPES, load_winobias, winobias_records
from rlhf_fair.records import Results, exit_code

PLAN = "winobias"
pytestmark = needs("winobias")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first thirty scenarios of each file: 240 sentences."""
    upstream, folder = DATA / "winobias" / "data", tmp_path_factory.mktemp("data") / "winobias" / "data"
    folder.mkdir(parents=True)
    for gender in ("male", "female"):
        (folder / f"{gender}_occupations.txt").write_text((upstream / f"{gender}_occupations.txt").read_text())
    for side, kind, split in product(SIDES, TYPES, SPLITS):
        name = f"{side}_stereotyped_type{kind}.txt.{split}"
        (folder / name).write_text("\n".join((upstream / name).read_text().splitlines()[:30]))
    return folder.parents[1]


def claims(results: Results, metric: str = "pro_less_anti_accuracy") -> dict[str, tuple[float, str]]:
    found = [f for f in results.findings if f.role == "claim" and f.metric == metric]
    return {f.variant: (f.estimate, f.verdict.value) for f in found}


def test_the_plan_asks_for_all_of_upstreams_sentences() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    # Zhao et al. 2018: 3,160 sentences by the paper, 3,168 in the authors' files: 396 for each side, type and split
    assert set(items.table.groupby(["side", "type", "split"]).size()) == {396}
    assert (len(items.table), len(items.rejects)) == (3168, 0)


def test_a_model_and_the_file_of_its_choices_give_the_same_findings(data: Path, causal: Path, tmp_path: Path) -> None:
    asked = run(PLAN, tmp_path / "model", model=causal, data=data)
    assert asked.audit["counts"] == {"input": 240, "reported": 240, "excluded": 0, "unknown": 0}
    assert set(claims(asked)) == {"type1", "type2"}
    check_run(PLAN, tmp_path / "model")

    records = records_of(tmp_path / "model")
    file = tmp_path / "choices.jsonl"
    chosen = np.where(records["value"] == 1, "entity", "other")
    records[["item_id"]].assign(choice=chosen).to_json(file, orient="records", lines=True)
    read = run(PLAN, tmp_path / "file", predictions=file, data=data)
    assert numbers(read, "metric", "variant") == numbers(asked, "metric", "variant")


def test_a_planted_stereotype_exceeds_and_a_perfect_reader_does_not(tmp_path: Path) -> None:
    items = load_winobias(DATA / "winobias").table
    verdicts = {}
    for name, chosen in (("planted", np.where(items["side"] == "pro", "entity", "other")), ("right", "entity")):
        file = tmp_path / f"{name}.csv"
        items[["item_id"]].assign(choice=chosen).to_csv(file, index=False)
        verdicts[name] = claims(run(PLAN, tmp_path / name, predictions=file))
    assert verdicts["planted"] == dict.fromkeys(("type1", "type2"), (1.0, "exceeds_threshold"))
    assert verdicts["right"] == dict.fromkeys(("type1", "type2"), (0.0, "within_threshold"))


def test_errors_buy_no_narrower_interval_and_guesses_no_pass(tmp_path: Path) -> None:
    items = load_winobias(DATA / "winobias").table
    rng = np.random.default_rng(0)
    nearly = np.full(len(items), "entity", dtype=object)
    nearly[[3, 1000]] = "other"
    guessed = np.where(rng.random(len(items)) < 0.5, "entity", "other")
    codes, reach = {}, {}
    for name, chosen in (("right", "entity"), ("nearly", nearly), ("guessed", guessed)):
        file = tmp_path / f"{name}.csv"
        items[["item_id"]].assign(choice=chosen).to_csv(file, index=False)
        results = run(PLAN, tmp_path / name, predictions=file)
        codes[name] = exit_code(results.findings)
        found = [f for f in results.findings if f.role == "claim" and f.metric == "pro_less_anti_accuracy"]
        reach[name] = [max(-f.ci_low, f.ci_high) for f in found]
        if name == "guessed":
            assert {verdict for _, verdict in claims(results, "accuracy").values()} == {"exceeds_threshold"}
    # one way counts 19.4 occupations and more: about t(19)^2 / (20 + t(19)^2) = 4.3807 / 24.3807 = .1797
    assert reach["right"] == pytest.approx([0.1797, 0.1797], abs=5e-4)
    assert all(np.array(reach["nearly"]) >= np.array(reach["right"]) - 1e-9)
    assert codes == {"right": 0, "nearly": 0, "guessed": 1}


def test_missing_malformed_and_repeated_choices_are_counted(data: Path, tmp_path: Path) -> None:
    items = load_winobias(data / "winobias").table
    table = items[["item_id"]].assign(choice="entity", refused=False)
    table.loc[0, "choice"], table.loc[1, "refused"] = "neither", True
    table = pd.concat([table.iloc[:-2], table.iloc[[2]]])
    file = tmp_path / "choices.jsonl"
    file.write_text(table.to_json(orient="records", lines=True) + '{"item_id": ')
    results = run(PLAN, tmp_path / "out", predictions=file, data=data)
    assert exclusions(results) == {
        "no answer was given": 2,
        "the answer could not be read": 1,
        "the model refused": 1,
        "several answers were given": 1,
    }
    check_run(PLAN, tmp_path / "out")


def test_no_answers_end_in_reasons(data: Path) -> None:
    items = load_winobias(data / "winobias").table
    check_no_answers(PLAN, winobias_records(items, [None] * 2 * len(items)))
