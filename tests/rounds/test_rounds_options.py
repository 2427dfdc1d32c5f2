"""Options of a further round: the same people again, a distance of its own for every round, an alarm that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results
from rlhf_fair.cli.app import app
from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME
from rlhf_fair.records import Verdict
from rlhf_fair.rounds import run
from rlhf_fair.rounds.drift import KL, Alarm, RoundRecords, Watch, judge_round
from rlhf_fair.rounds.files import FEEDBACK_TABLE, ROUNDS_NAME, write_rounds
from rlhf_fair.rounds.run import AllRounds, run_rounds
from rlhf_fair.tables import read_table
from rounds.tiny_rounds import with_first_round_of, with_rounds

OTHER = with_rounds(count=3, panel="kept", reference="last", on_alarm="stop")


def every_change_rings(made: Sequence[RoundRecords], watch: Watch) -> list[Alarm]:
    return [replace(alarm, verdict=Verdict.EXCEEDS) for alarm in judge_round(made, watch)]


@pytest.fixture(scope="module")
def stopped(
    finished: tuple[Path, AllRounds], small_plan: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, AllRounds]:
    """Three rounds wanted, of which an alarm allows two."""
    out = with_first_round_of(finished[0], tmp_path_factory.mktemp("other") / "rounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "judge_round", every_change_rings)
        found = run_rounds(OTHER, out, plan_name=small_plan)
        write_rounds(out, found)
    return out, found


def test_an_alarm_ends_the_run_and_says_so(stopped: tuple[Path, AllRounds]) -> None:
    out, found = stopped
    assert (found.stopped, len(found.rounds)) == (2, 2)
    assert not list((out / "stages").glob("round-3-*"))
    told = read_results(out).audit["rounds"]
    assert (told["count"], told["made"], told["stopped"]) == (3, 2, 2)


def test_the_command_tells_where_it_stopped(stopped: tuple[Path, AllRounds], monkeypatch: pytest.MonkeyPatch) -> None:
    out, found = stopped
    monkeypatch.setattr(run, "judge_round", every_change_rings)
    monkeypatch.setattr(run, "find_plan", lambda _: found.plan_file)
    monkeypatch.setattr("rlhf_fair.cli.pipeline.read_config", lambda *_, **__: OTHER)
    result = CliRunner().invoke(app, ["pipeline", "--out", str(out)], env={"COLUMNS": "200"})
    assert "Stopped after round 2" in result.stdout
    assert result.exit_code == 1


def test_an_alarm_after_the_last_round_stops_nothing(
    stopped: tuple[Path, AllRounds], small_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "judge_round", every_change_rings)
    two = OTHER.model_copy(update={"rounds": OTHER.rounds.model_copy(update={"count": 2})})
    built: list[str] = []
    found = run_rounds(
        two, stopped[0], plan_name=small_plan, on_stage=lambda name, ready: None if ready else built.append(name)
    )
    assert found.stopped == 0
    assert built == []


def test_the_same_people_judge_the_new_pairs(stopped: tuple[Path, AllRounds]) -> None:
    out, found = stopped
    first, second = found.rounds
    pd.testing.assert_frame_equal(read_table(first.panel / ANNOTATORS_NAME), read_table(second.panel / ANNOTATORS_NAME))
    judged = [set(read_table(one.panel / "feedback.parquet")["item_id"]) for one in found.rounds]
    assert judged[0].isdisjoint(judged[1])
    assert judged[1] == set(read_table(second.items / ITEMS_NAME)["item_id"])
    table = read_results(out).audit["tables"][FEEDBACK_TABLE]
    asked: list[dict[str, Any]] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert asked[1]["people"] == asked[1]["of the first round's"] == len(read_table(first.panel / ANNOTATORS_NAME))


def test_a_round_priced_from_the_last_policy_starts_at_no_distance_and_is_watched_from_sft(
    finished: tuple[Path, AllRounds], stopped: tuple[Path, AllRounds]
) -> None:
    starts = {
        name: {run.name: run for run in found.audited.training.runs}["fair-ppo-round-2"].curve[0]["kl"]
        for name, (_, found) in {"sft": finished, "last": stopped}.items()
    }
    assert starts["last"] == pytest.approx(0, abs=1e-6)
    assert abs(starts["sft"]) > 1e-3
    levels = pd.read_csv(stopped[0] / ROUNDS_NAME)
    kept = levels[levels["quantity"] == KL].set_index("round")["estimate"]
    priced_from_sft = pd.read_csv(finished[0] / ROUNDS_NAME)
    assert (
        kept[1]
        == priced_from_sft[(priced_from_sft["quantity"] == KL) & (priced_from_sft["round"] == 1)]["estimate"].item()
    )
    assert abs(kept[2] - kept[1]) > 1e-3, "round 2 is measured from SFT, not from round 1"
