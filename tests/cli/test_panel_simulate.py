"""`rlhf-fair panel simulate`: marked feedback, the truth in a file of its own, power, and faults named."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.artifacts import sha256_file
from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, RlhfFairError, SettingsError
from rlhf_fair.tables import FEEDBACK, read_validated
from tests.annotators.simulated_worlds import design

MODEL = """
[careless]
share = 0.2
[leaving]
hazard = 0.01
[groups.x]
shift = 0.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assignments, annotators = design(30, 40, 10)
    assignments.to_csv(tmp_path / "a.csv", index=False)
    annotators.to_csv(tmp_path / "p.csv", index=False)
    (tmp_path / "model.toml").write_text(MODEL)
    return tmp_path


def run(folder: Path, options: str) -> str:
    """The command on the folder's panel and assignments; ``@name`` stands for a file of the folder."""
    words = ["simulate", "--panel", "@p.csv", "--assignments", "@a.csv", *options.split()]
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in words]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_feedback_is_marked_twice_and_the_truth_lies_apart(folder: Path) -> None:
    options = "--model @model.toml --by group --out @f.jsonl --truth @t.parquet --unanswered @u.csv --panel-out @po.csv"
    told = run(folder, options)
    assert told.startswith("simulated, not collected: ")
    read = read_validated(folder / "f.jsonl", FEEDBACK)
    assert not len(read.rejects)
    assert read.table["simulated"].all()
    note = json.loads((folder / "f.jsonl.simulated.json").read_text())
    assert note["simulated"] is True
    assert note["sha256"] == sha256_file(folder / "f.jsonl")
    assert note["inputs"]["model.toml"] == sha256_file(folder / "model.toml")
    assert note["model"]["groups"]["x"]["shift"] == 0.5
    truth, unanswered = pd.read_parquet(folder / "t.parquet"), pd.read_csv(folder / "u.csv")
    assert len(truth) == len(read.table) + len(unanswered) == 300
    assert truth["careless"].any()
    assert len(pd.read_csv(folder / "po.csv")) == 30


def test_the_seed_decides(folder: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        run(folder, f"--model @model.toml --by group --out @{name}.csv --seed {seed} --quiet")
    one, same, other = ((folder / f"{name}.csv").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


def test_power_like_feedback_at_hand(folder: Path) -> None:
    run(folder, "--out @pilot.csv")
    options = "--like @pilot.csv --like-panel @p.csv --like-assignments @a.csv --by group"
    found = json.loads(run(folder, f"{options} --gap 0.5 --reference y --repeat 20 --json"))
    (contrast,) = found["power"]["contrasts"]
    assert (contrast["group"], contrast["raters"], contrast["reference_raters"]) == ("x", 10, 20)
    assert 0 <= contrast["power_ci_low"] <= contrast["power"] <= contrast["power_ci_high"] <= 1
    assert {row["component"] for row in found["calibration"]["components"]} >= {"item", "group_item", "rater"}
    assert not any("drop-out" in text for text in found["calibration"]["assumed"])
    told = run(folder, f"{options} --gap 0.5 --reference y --repeat 5")
    assert "x (10 raters, 20 of the reference): power" in told
    assert "false alarms where there is no gap" in told
    assert "assumed: carelessness" in told


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ("", SettingsError, "nothing to do; allowed: --out FILE"),
        ("--gap 0.3", SettingsError, "needs --by ATTRIBUTE and --reference GROUP"),
        ("--gap 0.3 --by group --reference z", SettingsError, "reference 'z'"),
        ("--gap 0.3 --by age --reference z", ColumnError, r"panel lacks column 'attr\.age'"),
        ("--truth @t.csv --gap 1 --by group --reference y", SettingsError, "--truth .* needs --out FILE"),
        ("--like-panel @p.csv --out @f.csv", SettingsError, "--like-panel .* needs --like"),
        ("--like @a.csv --model @model.toml --out @f.csv", SettingsError, "allowed: one of them"),
        ("--model @model.toml --out @f.csv", SettingsError, r"groups\.x: no such group"),
        ("--like @a.csv --out @f.csv", ColumnError, "kind"),
    ],
)
def test_faults_are_named(folder: Path, options: str, error: type[RlhfFairError], message: str) -> None:
    with pytest.raises(error, match=message):
        run(folder, options)
    assert not (folder / "f.csv").exists()
