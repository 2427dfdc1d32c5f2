"""Two rounds end to end, at a size that says nothing about bias: does every part account for itself?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results
from rlhf_fair.cli.app import app
from rlhf_fair.errors import SettingsError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME
from rlhf_fair.records import Verdict
from rlhf_fair.rounds.drift import KL
from rlhf_fair.rounds.files import DRIFT_NAME, DRIFT_TABLE, ROUNDS_NAME, verdict_of
from rlhf_fair.rounds.run import AllRounds, run_rounds
from rlhf_fair.rounds.tables import UTILITY
from rlhf_fair.tables import read_table
from rounds.tiny_rounds import TINY


def test_ledger_has_a_block_for_every_round(finished: tuple[Path, AllRounds]) -> None:
    rows = read_results(finished[0]).ledger
    later = [row for row in rows if row.stage.endswith("round_2")]
    assert {(row.stage, row.attribute) for row in later} == {
        (stage, attribute)
        for stage in ("reward_model_round_2", "fair_ppo_round_2")
        for attribute in ("gender", "ethnicity")
    }
    assert {row.change_from for row in later} == {"fair_ppo (diverse)", "reward_model (diverse)"}
    assert {row.stage for row in rows} > {"base", "sft", "reward_model", "ppo", "fair_ppo"}


def test_every_quantity_is_in_both_tables(finished: tuple[Path, AllRounds]) -> None:
    out, found = finished
    rounds, drift = pd.read_csv(out / ROUNDS_NAME), pd.read_csv(out / DRIFT_NAME)
    assert set(rounds["round"]) == {1, 2}
    assert set(drift["since"]) == {1}, "the first round and the one before are the same here"
    assert set(rounds["quantity"]) == set(drift["quantity"]) | {UTILITY}
    assert set(drift["attribute"].dropna()) == {"gender", "ethnicity", "gender × ethnicity"}
    assert DRIFT_TABLE in read_results(out).audit["tables"]
    assert verdict_of(found) in set(Verdict)


def test_levels_and_changes_are_of_the_same_answers(finished: tuple[Path, AllRounds]) -> None:
    out, _ = finished
    rounds, drift = pd.read_csv(out / ROUNDS_NAME), pd.read_csv(out / DRIFT_NAME)
    first, second = (rounds[(rounds["round"] == r) & (rounds["quantity"] == KL)]["estimate"].item() for r in (1, 2))
    assert drift[drift["quantity"] == KL]["change"].item() == pytest.approx(second - first)
    ledger = {(row.stage, row.attribute): row.estimate for row in read_results(out).ledger}
    gaps = rounds[rounds["quantity"] == "gap"].set_index(["round", "attribute"])["estimate"]
    assert gaps[2, "gender"] == pytest.approx(ledger["fair_ppo_round_2", "gender"], nan_ok=True)
    assert gaps[1, "gender"] == pytest.approx(ledger["fair_ppo", "gender"], nan_ok=True)


def test_the_policy_goes_on_from_the_last_one(finished: tuple[Path, AllRounds]) -> None:
    """Two steps move a policy little: it is nearer to where it started than to where SFT is, and priced from SFT."""
    _, found = finished
    runs = {run.name: run for run in found.audited.training.runs}
    later = runs["fair-ppo-round-2"]
    assert later.steps == len(later.curve) == TINY.pipeline.ppo.steps
    assert runs["fair-ppo-diverse"].curve[0]["kl"] == pytest.approx(0, abs=1e-3)  # the first round starts at SFT
    assert abs(later.curve[0]["kl"]) > 1e-3


def test_old_and_new_preferences_are_weighed(finished: tuple[Path, AllRounds]) -> None:
    from rlhf_fair.rounds.loop import Rounds
    from rlhf_fair.stages import Stages

    _, found = finished
    stages = Stages.__new__(Stages)  # preferences read finished folders alone
    maker = Rounds(found.world, TINY.pipeline, TINY.rounds, stages, lambda *_: None)
    table = maker.preferences(found.rounds)
    assert table["weight"].mean() == pytest.approx(1)
    old, new = (table.loc[table["round"] == r, "weight"].unique().item() for r in (1, 2))
    assert old / new == pytest.approx(0.5)
    window = TINY.rounds.model_copy(update={"window": 1})
    latest = Rounds(found.world, TINY.pipeline, window, stages, lambda *_: None).preferences(found.rounds)
    assert set(latest["round"]) == {2}
    assert len(latest) == TINY.rounds.selection.budget


def test_a_panel_planned_anew_draws_from_the_same_people(finished: tuple[Path, AllRounds]) -> None:
    _, found = finished
    pool = found.world.pool(np.random.default_rng((TINY.pipeline.seed, 4))).set_index("annotator_id")
    first, second = (read_table(one.panel / ANNOTATORS_NAME) for one in found.rounds)
    assert set(first["annotator_id"]) != set(second["annotator_id"])
    for members in (first, second):
        theirs = pool.loc[members["annotator_id"], "attr.gender"].tolist()
        assert members["attr.gender"].tolist() == theirs


def test_report_and_manifest_verify(finished: tuple[Path, AllRounds]) -> None:
    out, _ = finished
    assert "Did anything drift between rounds" in (out / "index.html").read_text(encoding="utf-8")
    assert verify_folder(out).files > 10


def test_other_settings_in_the_same_folder_are_refused(finished: tuple[Path, AllRounds], small_plan: Path) -> None:
    other = TINY.model_copy(update={"rounds": TINY.rounds.model_copy(update={"panel": "kept"})})
    with pytest.raises(SettingsError, match="other settings"):
        run_rounds(other, finished[0], plan_name=small_plan)


def test_the_command_resumes_tells_and_exits_by_verdict(
    finished: tuple[Path, AllRounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = finished
    monkeypatch.setattr("rlhf_fair.cli.pipeline.read_config", lambda *_, **__: found.config)
    monkeypatch.setattr("rlhf_fair.rounds.run.find_plan", lambda _: found.plan_file)
    result = CliRunner().invoke(app, ["pipeline", "--json", "--out", str(out)])
    told = json.loads(result.stdout)
    assert told["rounds"] == 2
    assert told["stopped_after"] is None
    assert told["verdict"] == verdict_of(found).value
    assert len(told["drift"]) == len(found.alarms)
    assert result.exit_code == {Verdict.WITHIN: 0, Verdict.EXCEEDS: 1, Verdict.INCONCLUSIVE: 3}[verdict_of(found)]
    lines = CliRunner().invoke(app, ["pipeline", "--out", str(out)]).stdout.splitlines()
    assert len([line for line in lines if line.startswith("round 2 since 1: ")]) == len(found.alarms)


def test_items_of_later_rounds_have_ids_of_their_own(finished: tuple[Path, AllRounds]) -> None:
    ids = [set(read_table(one.items / ITEMS_NAME)["item_id"]) for one in finished[1].rounds]
    assert ids[0].isdisjoint(ids[1])
