"""What a reader of the report is told about rounds: numbered ledger rows, every alarm in words, the worst first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.artifacts import read_results
from rlhf_fair.records import LedgerRow, Verdict
from rlhf_fair.report import wording as say
from rlhf_fair.report.ledger import ledger_chart
from rlhf_fair.report.ledger_tables import changes_table, ledger_table
from rlhf_fair.report.moved import moved_answer
from rlhf_fair.rounds.files import DRIFT_TABLE, ROUNDS_NAME, ROUNDS_TABLE
from rlhf_fair.rounds.run import AllRounds
from rlhf_fair.rounds.tables import UTILITY, drift_answer, drift_lines, drift_on_page


def row(stage: str, number: int = 0, **more: object) -> LedgerRow:
    head = {"stage": stage, "round": number, "attribute": "gender", "metric": "favourability", "reference": "man"}
    return LedgerRow.model_validate(
        {**head, "estimate": 0.2, "ci_low": 0.1, "ci_high": 0.3, "n": 100, "n_clusters": 20, **more}
    )


def test_the_ledger_has_a_round_column_only_where_there_are_rounds() -> None:
    plain = ledger_table([row("sft"), row("fair_ppo")])
    assert "Round" not in [column.label for column in plain.columns]
    rounds = ledger_table([row("sft"), row("fair_ppo", 1), row("fair_ppo_round_2", 2)])
    at = [column.label for column in rounds.columns].index("Round")
    assert [cells[at].text for cells in rounds.rows] == ["–", "1", "2"]
    assert all(len(cells) == len(rounds.columns) for cells in rounds.rows)


def test_a_ledger_written_before_there_were_rounds_is_read() -> None:
    old = json.loads(row("sft").model_dump_json())
    del old["round"]
    assert LedgerRow.model_validate(old) == row("sft")


def test_rows_of_a_run_are_numbered_by_round(finished: tuple[Path, AllRounds]) -> None:
    numbers = {r.stage: r.round for r in read_results(finished[0]).ledger}
    assert {stage: n for stage, n in numbers.items() if n != 1} == {
        **{"base": 0, "sft": 0},
        **{"reward_model_round_2": 2, "fair_ppo_round_2": 2},
    }


def test_stages_of_a_round_are_told_in_words() -> None:
    assert say.stage("reward_model_round_2") == "reward model, round 2"
    assert say.stage_tick("fair_ppo_round_12") == say.stage_tick("fair_ppo") + ",\nround 12"


def test_plots_over_many_stages_take_the_whole_width() -> None:
    stages = ["base", "sft", "reward_model", "ppo", "fair_ppo"]
    later = [f"{stage}_round_{n}" for n in (2, 3) for stage in ("reward_model", "fair_ppo")]
    assert ledger_chart([row(stage) for stage in stages]).columns == 2
    assert ledger_chart([row(stage) for stage in stages + later]).columns == 1


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.3, -0.1, "smaller"), (0.1, 0.3, "larger"), (-0.1, 0.1, "no change detected"), (None, None, "no interval")],
)
def test_a_change_without_an_interval_is_not_called_none(low: float | None, high: float | None, words: str) -> None:
    change = {"change_from": "sft", "change": -0.1, "change_ci_low": low, "change_ci_high": high}
    table = changes_table([row("ppo", **change)])
    assert table is not None
    assert words in table.rows[0][-1].text


def test_who_moved_compares_a_round_with_the_round_before() -> None:
    """Not with the reward model of the same round, which is the stage next to it."""

    def means(man: float, woman: float) -> dict[str, object]:
        pairs = {"man": man, "woman": woman}.items()
        return {"groups": [{"group": g, "mean": m, "ci_low": m, "ci_high": m, "n": 50} for g, m in pairs]}

    told = moved_answer(
        [
            row("fair_ppo", 1, panel="diverse", **means(0.5, 0.3)),
            row("reward_model_round_2", 2, panel="diverse", **means(0.0, 0.0)),
            row("fair_ppo_round_2", 2, panel="diverse", change_from="fair_ppo (diverse)", **means(0.5, 0.4)),
        ]
    )
    assert "“woman” moved most, by +0.10" in told[0]


def test_every_alarm_is_told_and_the_worst_stand_first(finished: tuple[Path, AllRounds]) -> None:
    _, found = finished
    calm = [replace(alarm, verdict=Verdict.WITHIN) for alarm in found.alarms]
    loud = replace(calm[-1], verdict=Verdict.EXCEEDS)
    ringing = replace(found, alarms=(*calm[:-1], loud), stopped=2)
    answer = drift_answer(ringing)
    assert answer[0].startswith(f"Of {len(calm)} changes between rounds: 1 beyond their limit, 0 inconclusive")
    assert any(sentence.startswith(f"Alarm: round 2 since 1: {loud.change.quantity}") for sentence in answer)
    assert "after round 2" in answer[-1]
    table = drift_on_page(ringing)
    assert table["rows"][0][table["columns"].index("verdict")] == "exceeds threshold"
    assert drift_lines(ringing)[0].endswith("exceeds threshold")


def test_the_page_answers_the_question_of_drift(finished: tuple[Path, AllRounds]) -> None:
    out, found = finished
    assert read_results(out).audit["tables"][DRIFT_TABLE]["answer"] == drift_answer(found)
    assert drift_answer(found)[0] in (out / "index.html").read_text(encoding="utf-8")


def test_true_utility_of_every_round_is_that_of_its_records(finished: tuple[Path, AllRounds]) -> None:
    out, _ = finished
    table = pd.read_csv(out / ROUNDS_NAME)
    records = pd.read_parquet(out / "records.parquet")
    for number, stage in ((1, "fair_ppo"), (2, "fair_ppo_round_2")):
        told = table[(table["quantity"] == UTILITY) & (table["round"] == number)]["estimate"].item()
        assert told == pytest.approx(records[records["stage"] == stage]["utility"].mean())
    page = read_results(out).audit["tables"][ROUNDS_TABLE]
    assert [r[:2] for r in page["rows"]][-2:] == [[UTILITY, 1], [UTILITY, 2]]


def test_what_the_first_round_gained_is_named_so(finished: tuple[Path, AllRounds]) -> None:
    compared = read_results(finished[0]).training.comparisons
    assert compared
    assert all(name.startswith("round 1, ") for name in compared)
