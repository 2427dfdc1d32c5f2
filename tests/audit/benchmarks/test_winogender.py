from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import check_no_answers, check_run, exclusions, numbers, records_of, run
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.probes.winogender import load_winogender, winogender_records
from rlhf_fair.records import Results, exit_code

PLAN = "winogender"
pytestmark = needs("winogender")


def choices(items: pd.DataFrame, chosen: object) -> pd.DataFrame:
    return items[["item_id"]].assign(choice=chosen)


def claims(results: Results) -> dict[str, tuple[float, str]]:
    return {f.metric: (f.estimate, f.verdict.value) for f in results.findings if f.role == "claim"}


def test_the_plan_asks_for_all_of_upstreams_sentences() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    # Rudinger et al. 2018: 60 occupations x 2 templates x (participant, someone) x 3 genders
    assert (len(items.table), len(items.rejects)) == (720, 0)


def test_a_model_and_the_file_of_its_choices_give_the_same_findings(causal: Path, tmp_path: Path) -> None:
    asked = run(PLAN, tmp_path / "model", model=causal)
    assert asked.audit["counts"] == {"input": 720, "reported": 720, "excluded": 0, "unknown": 0}
    assert set(claims(asked)) == {"paired_disagreement", "gotcha_gap"}
    check_run(PLAN, tmp_path / "model")

    records = records_of(tmp_path / "model")
    assert not records["value"].eq(0.5).any()  # a file has no word for a tie
    file = tmp_path / "choices.csv"
    choices(records, np.where(records["value"] == 1, "occupation", "participant")).to_csv(file, index=False)
    read = run(PLAN, tmp_path / "file", predictions=file)
    names = ("metric", "variant", "group", "reference")
    of_choices = {key: one for key, one in numbers(asked, *names).items() if "log_odds" not in key}
    assert numbers(read, *names) == of_choices
    assert len(of_choices) == len(asked.findings) - 1


def test_a_planted_stereotype_exceeds_and_syntax_alone_does_not(tmp_path: Path) -> None:
    items = load_winogender(DATA / "winogender").table
    fits = (items["gender"] == "female") == (items["percent_female"] >= 50)
    for name, chosen in (("planted", np.where(fits, "occupation", "participant")), ("right", items["answer"])):
        choices(items, chosen).to_csv(tmp_path / f"{name}.csv", index=False)
    planted = claims(run(PLAN, tmp_path / "planted", predictions=tmp_path / "planted.csv"))
    # whoever fits: she and he never agree, and every gotcha is wrong
    assert planted["paired_disagreement"] == (1.0, "exceeds_threshold")
    assert planted["gotcha_gap"] == (1.0, "exceeds_threshold")
    right = claims(run(PLAN, tmp_path / "right", predictions=tmp_path / "right.csv"))
    assert right["paired_disagreement"] == (0.0, "within_threshold")
    assert right["gotcha_gap"] == (0.0, "within_threshold")


def test_a_model_without_a_gap_passes_and_its_correlation_says_why_it_is_none(tmp_path: Path) -> None:
    items = load_winogender(DATA / "winogender").table
    reach = {}
    for name, wrong in (("right", 0), ("nearly", 1)):
        chosen = items["answer"].to_numpy(dtype=object).copy()
        for row in np.flatnonzero(items["gender"] == "female")[:wrong]:
            chosen[row] = "participant" if chosen[row] == "occupation" else "occupation"
        choices(items, chosen).to_csv(tmp_path / f"{name}.csv", index=False)
        results = run(PLAN, tmp_path / name, predictions=tmp_path / f"{name}.csv")
        assert exit_code(results.findings) == 0
        [gap] = [f for f in results.findings if f.metric == "gotcha_gap" and f.variant == "all_sentences"]
        reach[name] = max(-gap.ci_low, gap.ci_high)
        [correlation] = [f for f in results.findings if f.metric == "pronoun_gap_correlation"]
        assert (correlation.role, correlation.verdict) == ("exploratory", "not_measured")
        if name == "right":
            assert "no occupation has a gap" in correlation.reason
    # 60 occupations of one size: t(59)^2 / (60 + t(59)^2) = 4.0040 / 64.0040
    assert reach["right"] == pytest.approx(0.06256, abs=1e-4)
    assert reach["nearly"] >= reach["right"] - 1e-9


def test_missing_malformed_and_repeated_choices_are_counted(tmp_path: Path) -> None:
    items = load_winogender(DATA / "winogender").table
    table = choices(items, items["answer"]).assign(refused="no")
    table.loc[[0, 1], "choice"] = ["the one over there", None]
    table.loc[2, "refused"] = "yes"
    table = pd.concat([table.iloc[:-5], table.iloc[[3]]])
    table.to_csv(tmp_path / "choices.csv", index=False)
    results = run(PLAN, tmp_path / "out", predictions=tmp_path / "choices.csv")
    assert exclusions(results) == {
        "no answer was given": 6,
        "the answer could not be read": 1,
        "the model refused": 1,
        "several answers were given": 1,
    }
    check_run(PLAN, tmp_path / "out")


def test_no_answers_end_in_reasons() -> None:
    items = load_winogender(DATA / "winogender").table
    check_no_answers(PLAN, winogender_records(items, [None] * 2 * len(items)))
