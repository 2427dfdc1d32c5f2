"""`rlhf-fair panel assign / check / repair`: languages from files, broken promises by exit code, drop-outs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, InfeasibleError, RowError, SettingsError

ASSIGN = "assign --panel @panel.csv --items @items.csv --by gender --distinct-groups 2 --out @a.csv"
CHECK = "check --assignments @a.csv --panel @panel.csv --items @items.csv --by gender --distinct-groups 2"
REPAIR = (
    "repair --assignments @a.csv --panel @panel.csv --by gender --distinct-groups 2 --out @r.csv --items @items.csv"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    panel = pd.DataFrame(
        {
            "annotator_id": [f"{k:03d}" for k in range(30)],
            "attr.gender": ["woman", "man"] * 15,
            "languages": ["en", "en", "en; no"] * 10,
            "capacity": 12,
        }
    )
    panel.to_csv(tmp_path / "panel.csv", index=False)
    panel.assign(annotator_id="new-" + panel["annotator_id"]).to_csv(tmp_path / "pool.csv", index=False)
    pd.DataFrame(
        {"item_id": [f"i{k}" for k in range(90)], "language": rng.choice(["en", "no"], 90, p=[0.7, 0.3])}
    ).to_csv(tmp_path / "items.csv", index=False)
    return tmp_path


def run(folder: Path, command: str, exit_code: int = 0) -> str:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def test_assign_check_repair_check(folder: Path) -> None:
    summary = json.loads(run(folder, f"{ASSIGN} --json"))
    assert (summary["judgements"], summary["items_short_of_groups"], summary["greatest_load"]) == (270, 0, 9)
    assert "270 judgements of 90 items: 0 broken promises" in run(folder, CHECK)

    table = pd.read_csv(folder / "a.csv", dtype=str)
    summary = json.loads(run(folder, f"{REPAIR} --dropped 000,002 --pool @pool.csv --json"))
    assert (summary["dropped"], summary["replaced"], summary["unreplaced"]) == (2, 18, 0)
    assert summary["eligibility_heeded"]
    fixed = pd.read_csv(folder / "r.csv", dtype=str)
    same = (fixed["annotator_id"] == table["annotator_id"]).to_numpy()
    assert (~same == table["annotator_id"].isin(["000", "002"]).to_numpy()).all()
    both = pd.concat([pd.read_csv(folder / name, dtype=str) for name in ("panel.csv", "pool.csv")])
    both[~both["annotator_id"].isin(["000", "002"])].to_csv(folder / "both.csv", index=False)
    broken = json.loads(run(folder, CHECK.replace("@a.csv", "@r.csv").replace("@panel", "@both") + " --json"))
    assert broken["broken"] == 0

    pd.DataFrame({"annotator_id": ["000", "002"]}).to_csv(folder / "gone.csv", index=False)
    again = folder / "r.csv"
    first = again.read_bytes()
    assert "18 judgements of 2 drop-outs" in run(folder, f"{REPAIR} --dropped @gone.csv --pool @pool.csv")
    assert again.read_bytes() == first


def test_broken_promises_are_counted_and_listed(folder: Path) -> None:
    run(folder, ASSIGN)
    table = pd.read_csv(folder / "a.csv", dtype=str)
    norwegian = pd.read_csv(folder / "items.csv").query("language == 'no'")["item_id"]
    row = table.index[table["item_id"].isin(norwegian)][0]
    table.loc[row, "annotator_id"] = "001"  # speaks English only
    table.drop(index=table.index[-1]).to_csv(folder / "a.csv", index=False)
    summary = json.loads(run(folder, f"{CHECK} --out @broken.csv --json", exit_code=1))
    assert summary["by_constraint"]["language"] == 1
    assert summary["by_constraint"]["ratings per item"] == 1
    broken = pd.read_csv(folder / "broken.csv", dtype=str)
    fault = broken[broken["constraint"] == "language"].iloc[0]
    assert (fault["annotator_id"], fault["found"], fault["wanted"]) == ("001", "en", "no")
    assert "e.g. ratings per item: item i89: 2; wanted 3" in run(folder, CHECK, exit_code=1)


def test_lacking_speakers_are_named(folder: Path) -> None:
    panel = pd.read_csv(folder / "panel.csv", dtype={"annotator_id": str})
    spoken = panel["languages"].where(panel["attr.gender"] == "man", "en")
    panel["capacity"] = 30
    panel.assign(languages=spoken).to_csv(folder / "panel.csv", index=False)  # only men speak Norwegian now
    text = run(folder, ASSIGN)
    assert "Cheapest repair: recruit for language no" in text
    assert "judgements by gender=woman" in text
    with pytest.raises(InfeasibleError, match="gender=woman"):
        run(folder, f"{ASSIGN.replace('@a.csv', '@b.csv')} --strict")
    assert not (folder / "b.csv").exists()
    panel.assign(languages="en").to_csv(folder / "panel.csv", index=False)
    with pytest.raises(InfeasibleError, match=r"items that need \(language no\) .* the 0 annotators eligible"):
        run(folder, ASSIGN)
    run(folder, f"{ASSIGN} --no-eligibility")
    text = run(folder, f"{REPAIR} --dropped 000 --unreplaced @left.csv")
    assert "nobody is eligible" in text
    assert set(pd.read_csv(folder / "left.csv")["reason"]) == {"nobody is eligible"}


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        (f"{REPAIR} --dropped 999", RowError, "'999' is not in the panel"),
        (f"{REPAIR} --dropped @items.csv", ColumnError, "dropped lacks column 'annotator_id'"),
        (REPAIR.replace("--by gender", "") + " --dropped 000", SettingsError, "needs --by"),
        (CHECK.replace("--by gender", ""), SettingsError, "needs --by"),
        (ASSIGN.replace("@panel.csv", "@mute.csv"), ColumnError, "panel lacks column 'languages'"),
    ],
)
def test_faults_are_named_and_leave_no_output(folder: Path, command: str, error: type[Exception], says: str) -> None:
    run(folder, ASSIGN)
    pd.read_csv(folder / "panel.csv", dtype=str).drop(columns="languages").to_csv(folder / "mute.csv", index=False)
    with pytest.raises(error, match=says):
        run(folder, command)
    assert not (folder / "r.csv").exists()


@pytest.mark.parametrize("command", ["assign", "check", "repair"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair panel {command}" in " ".join(result.stdout.split())
