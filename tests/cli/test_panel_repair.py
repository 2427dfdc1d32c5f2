"""`rlhf-fair panel repair` in the middle of a collection: simulated, mended, and the rest collected."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.cli.panel import app
from rlhf_fair.errors import RowError, SettingsError

PAIR = ["item_id", "annotator_id"]
REPAIR = "repair --assignments @a.csv --panel @panel.csv --pool @pool.csv --by gender --distinct-groups 2 --out @r.csv"
CHECK = "check --assignments @r.csv --panel @both.csv --items @items.csv --by gender --distinct-groups 2"


def run(folder: Path, command: str, exit_code: int = 0) -> str:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection that 30 people began, some of whom left half-way, and a reserve of ten."""
    folder = tmp_path_factory.mktemp("repair")
    panel = pd.DataFrame({"annotator_id": [f"{k:03d}" for k in range(30)], "attr.gender": ["woman", "man"] * 15})
    panel["capacity"] = 12
    panel.to_csv(folder / "panel.csv", index=False)
    panel.head(10).assign(annotator_id=[f"new{k}" for k in range(10)]).to_csv(folder / "pool.csv", index=False)
    pd.DataFrame({"item_id": [f"i{k}" for k in range(90)]}).to_csv(folder / "items.csv", index=False)
    (folder / "model.toml").write_text("[leaving]\nhazard = 0.05\n")
    run(folder, "assign --panel @panel.csv --items @items.csv --by gender --distinct-groups 2 --out @a.csv")
    run(
        folder,
        "simulate --panel @panel.csv --assignments @a.csv --model @model.toml --out @f.jsonl --unanswered @open.csv",
    )
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return (
        pd.read_json(folder / name, lines=True, dtype=False)
        if "json" in name
        else pd.read_csv(folder / name, dtype=str)
    )


def pairs(rows: pd.DataFrame) -> set[tuple[str, str]]:
    return set(rows[PAIR].itertuples(index=False, name=None))


def test_a_collection_is_mended_and_finished(folder: Path) -> None:
    before, judged, left_open = (table(folder, name) for name in ("a.csv", "f.jsonl", "open.csv"))
    leavers = sorted(set(left_open["annotator_id"]))
    assert 3 <= len(leavers) < 20  # else this shows little
    assert pairs(judged) & {(item, who) for item, who in pairs(before) if who in leavers}  # they did some before

    options = "--open @open.csv --answered @f.jsonl --rest @rest.csv --panel-out @both.csv"
    told = json.loads(run(folder, f"{REPAIR} {options} --json"))
    assert (told["replaced"], told["unreplaced"], told["dropped"]) == (len(left_open), 0, len(leavers))
    uneven = told["uneven_orders"]
    assert told["kept_of_dropped"] == sum(who in leavers for _, who in pairs(judged))

    # nothing that was judged is touched, order and slot included; the rest is what nobody has judged yet
    after, rest = table(folder, "r.csv"), table(folder, "rest.csv")
    same = before.merge(judged[PAIR]).merge(after)
    assert len(same) == len(judged)
    assert pairs(rest) == pairs(after) - pairs(judged)
    assert not set(rest["annotator_id"]) & set(leavers)
    assert after["slot"].equals(before["slot"])

    # promises of items are kept by what was judged and what was given anew together
    told = json.loads(run(folder, f"{CHECK} --left {','.join(leavers)} --json", exit_code=0))
    assert told["broken"] == uneven == 0

    run(folder, "simulate --panel @both.csv --assignments @rest.csv --out @f2.jsonl --seed 1")
    both = pd.concat([judged, table(folder, "f2.jsonl")])
    assert pairs(both) == pairs(after)
    assert len(both) == len(before)
    assert both.groupby("item_id")["annotator_id"].nunique().eq(3).all()


def test_newcomers_are_in_the_panel_from_then_on(folder: Path) -> None:
    # 15 women drawn with chance 0.1 and 15 men with 0.2; a newcomer starts from what the drawn of its gender weigh.
    panel = pd.read_csv(folder / "panel.csv", dtype=str)
    drawn = panel.assign(inclusion_probability=["0.1", "0.2"] * 15, unreached_share="0")
    drawn.to_csv(folder / "drawn.csv", index=False)
    (folder / "people.toml").write_text("[margins.gender]\nwoman = 1\nman = 1\n")
    leavers = ",".join(panel["annotator_id"][:10])  # 90 judgements, and 20 * (12 - 9) = 60 places left
    command = REPAIR.replace("@panel.csv", "@drawn.csv") + f" --dropped {leavers}"
    assert "newcomers, without an inclusion probability, are in no panel table yet" in run(folder, command)
    told = json.loads(run(folder, f"{command} --panel-out @both.csv --json"))
    both = pd.read_csv(folder / "both.csv", dtype={"annotator_id": "str"})
    new = both[both["joined"] == "repair"]
    assert told["newcomers"] == len(new) > 3
    assert set(new["annotator_id"]) == {who for who in table(folder, "r.csv")["annotator_id"] if who.startswith("new")}
    assert new["inclusion_probability"].isna().all()
    assert (both["joined"] == "draw").sum() == 30

    # every command that follows knows them
    run(folder, f"{CHECK} --left {leavers} --json")
    run(folder, "simulate --panel @both.csv --assignments @r.csv --out @f3.jsonl")
    options = "--population @people.toml --responded @f3.jsonl --replicates 5 --out @w.csv --json"
    weighed = json.loads(run(folder, f"weigh --panel @both.csv {options}"))
    told_of = [note for note in weighed["notes"] if "no inclusion probability" in note]
    assert told_of[0].startswith(f"{len(new)} members have no inclusion probability (joined after the draw)")
    assert not any("not in the panel" in note for note in weighed["notes"])
    assert weighed["intervals_trusted"] is True
    weights = pd.read_csv(folder / "w.csv", dtype={"annotator_id": "str"}).merge(both, on="annotator_id")
    assert set(new["annotator_id"]) <= set(weights["annotator_id"])
    run(folder, "agree --feedback @f3.jsonl --panel @both.csv --by gender --out @agreement")


def test_answers_at_hand_tell_the_same_as_what_is_open(folder: Path) -> None:
    leavers = ",".join(sorted(set(table(folder, "open.csv")["annotator_id"])))
    run(folder, f"{REPAIR} --open @open.csv --rest @rest.csv")
    by_open, rest = (folder / "r.csv").read_bytes(), (folder / "rest.csv").read_bytes()
    text = run(folder, f"{REPAIR} --dropped {leavers} --answered @f.jsonl --rest @rest.csv")
    assert "judgements that drop-outs made before stay as they are" in text
    assert (folder / "r.csv").read_bytes() == by_open
    assert (folder / "rest.csv").read_bytes() == rest


def test_judgements_nobody_was_assigned_are_counted(folder: Path) -> None:
    judged = table(folder, "f.jsonl")
    extra = judged.head(2).assign(annotator_id=["000", "elsewhere"], item_id=["unheard of", judged["item_id"][1]])
    pd.concat([judged, extra]).to_json(folder / "more.jsonl", orient="records", lines=True)
    told = json.loads(run(folder, f"{REPAIR} --dropped 001 --answered @more.jsonl --json"))
    assert told["judgements_not_assigned"] == 2
    text = run(folder, f"{REPAIR} --dropped 001 --answered @more.jsonl")
    assert "warning: 2 judgements at hand are of items and annotators that were not assigned to each other" in text


def test_orders_of_those_who_left_are_excused_and_of_others_not(folder: Path) -> None:
    ids = [f"i{k}" for k in range(4)]
    pd.DataFrame({"item_id": ids}).to_csv(folder / "four.csv", index=False)
    rows = pd.DataFrame({"item_id": ids, "annotator_id": "000", "slot": 0, "order": "ab"})
    rows.to_csv(folder / "uneven.csv", index=False)
    command = "check --assignments @uneven.csv --panel @panel.csv --items @four.csv --ratings-per-item 1 --json"
    assert json.loads(run(folder, command, exit_code=1))["by_constraint"] == {"orders of an annotator": 1}
    assert json.loads(run(folder, f"{command} --left 001", exit_code=1))["broken"] == 1
    assert json.loads(run(folder, f"{command} --left 000"))["broken"] == 0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("", SettingsError, "nobody left; allowed: --dropped IDS, --open FILE"),
        ("--dropped 001 --rest @rest2.csv", SettingsError, "--rest .* needs --answered FEEDBACK or --open FILE"),
        ("--open @strange.csv", RowError, r"open: item 'i0' of annotator 'nobody' is not in the assignments \(and 1"),
        ("--open @judged.csv --answered @f.jsonl", RowError, "has a judgement in answered, so is not open"),
        ("--dropped 001 --answered @hidden.jsonl", RowError, "none of its .* judgements is of an assigned item"),
        ("--dropped 999", RowError, "'999' is not in the panel or pool"),
    ],
)
def test_faults_are_named_and_leave_no_output(folder: Path, options: str, error: type[Exception], says: str) -> None:
    strange = pd.DataFrame({"item_id": ["i0", "i1"], "annotator_id": "nobody"})
    strange.to_csv(folder / "strange.csv", index=False)
    judged = table(folder, "f.jsonl")
    judged[PAIR].head(1).to_csv(folder / "judged.csv", index=False)
    hidden = judged.assign(annotator_id="x" + judged["annotator_id"])
    hidden.to_json(folder / "hidden.jsonl", orient="records", lines=True)
    with pytest.raises(error, match=says):
        run(folder, f"{REPAIR.replace('@r.csv', '@none.csv')} {options}")
    assert not (folder / "none.csv").exists()
