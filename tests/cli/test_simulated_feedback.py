"""Feedback that no person gave is told as such by every command that reads it, and keeps its mark on every way out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from rlhf_fair.cli.app import app
from rlhf_fair.tables import FEEDBACK, read_table, read_validated, simulated_note, simulated_rows, validate
from tests.annotators.simulated_worlds import design

ALL = "simulated: 300 of 300 rows were drawn from a model; no person gave any of them"
MIXED = "warning: 300 of 340 rows are simulated (drawn from a model) and stand beside 40 of people; results mix the two"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 simulated ratings (f), the same with 40 of people below them (mixed), and those 40 alone (real)."""
    folder = tmp_path_factory.mktemp("told")
    assignments, annotators = design(30, 40, 10)
    assignments.to_csv(folder / "a.csv", index=False)
    annotators.to_csv(folder / "p.csv", index=False)
    run(folder, "panel simulate --panel @p.csv --assignments @a.csv --out @bare.jsonl")
    made = read_table(folder / "bare.jsonl").merge(annotators, on="annotator_id")
    made.to_json(folder / "f.jsonl", orient="records", lines=True)
    real = made.head(40).drop(columns="simulated").assign(item_id="other-" + made["item_id"].head(40))
    real.to_json(folder / "real.jsonl", orient="records", lines=True)
    pd.concat([made, real]).to_csv(folder / "mixed.csv", index=False)
    return folder


def run(folder: Path, command: str, allowed: tuple[int, ...] = (0,)) -> Result:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code in allowed, result.output
    return result


COMMANDS = [
    "feedback validate FILE",
    "feedback aggregate FILE --out @agg.csv",
    "feedback flips FILE --panel @p.csv --by group --lots 9 --out @flips",
    "feedback quality FILE --no-audit --out @quality",
    "feedback export FILE --format csv --out @exported.csv",
    "panel agree --feedback FILE --permutations 9 --out @agree",
    "audit panel-feedback --feedback FILE --out @audit",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: " ".join(text.split()[:2]))
def test_every_command_says_so(folder: Path, command: str) -> None:
    """Any verdict's exit code will do; what is asked here is what is said."""
    verdicts = (0, 1, 3)
    assert ALL.lower() in run(folder, command.replace("FILE", "@f.jsonl"), verdicts).stdout.lower()
    assert "drawn from a model" not in run(folder, command.replace("FILE", "@real.jsonl"), verdicts).stdout
    assert MIXED.lower() in run(folder, command.replace("FILE", "@mixed.csv"), verdicts).stdout.lower()
    told = json.loads(run(folder, f"{command.replace('FILE', '@mixed.csv')} --json", verdicts).stdout)
    assert told["simulated_rows"] == 300


def test_what_is_written_says_so(folder: Path) -> None:
    for command in COMMANDS:
        run(folder, command.replace("FILE", "@mixed.csv"), (0, 1, 3))
    results = json.loads((folder / "audit/results.json").read_text())
    assert results["audit"]["simulated_rows"] == 300
    assert results["audit"]["limits"][0].startswith("Warning: 300 of 340 rows are simulated")
    assert "300 of 340 rows are simulated" in (folder / "audit/index.html").read_text()
    assert json.loads((folder / "agree/agreement.json").read_text())["simulated_rows"] == 300
    assert "300 of 340 rows are simulated" in (folder / "agree/map.html").read_text()
    assert json.loads((folder / "flips/flips.json").read_text())["simulated_rows"] == 300
    assert json.loads((folder / "quality/quality.json").read_text())["simulated_rows"] == 300
    # each item has all its judgements from a model, or all from people: 40 of people are of items of their own
    items = pd.read_csv(folder / "agg.csv")
    of_people = items["item_id"].str.startswith("other-")
    assert items.loc[of_people, "simulated_judgements"].eq(0).all()
    assert items["simulated_judgements"].sum() == 300


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("jsonl", "x.jsonl"),
        ("csv", "x.csv"),
        ("parquet", "x.parquet"),
        ("label-studio", "x.json"),
        ("argilla", "y.json"),
    ],
)
def test_the_mark_goes_out_and_comes_back(folder: Path, form: str, name: str) -> None:
    run(folder, f"feedback export @mixed.csv --format {form} --out @{name}")
    text = run(folder, f"feedback import @{name} --format {form} --out @back.jsonl").stdout
    assert MIXED in text
    back = read_validated(folder / "back.jsonl", FEEDBACK).table
    people = back["item_id"].str.startswith("other-")
    assert back.loc[~people, "simulated"].eq(True).all()
    assert back.loc[people, "simulated"].isna().all()
    run(folder, "feedback validate @back.jsonl --out @checked")
    assert simulated_rows(read_validated(folder / "checked/accepted.jsonl", FEEDBACK).table) == 300


def test_marks_in_every_spelling_and_what_is_none() -> None:
    cells = [True, "true", "TRUE", 1, "1.0", False, "False", 0, None, ""]
    table = pd.DataFrame({"item_id": [f"i{k}" for k in range(10)], "annotator_id": "a", "kind": "rating", "value": 1})
    found = validate(table.assign(simulated=pd.Series(cells, dtype=object)), FEEDBACK)
    assert found.rejects.empty
    assert found.table["simulated"].fillna(False).tolist() == [True] * 5 + [False] * 5
    assert found.table["simulated"].isna().sum() == 2
    assert simulated_note(found.table).startswith("warning: 5 of 10 rows")
    found = validate(table.assign(simulated=["perhaps"] * 10), FEEDBACK)
    assert found.rejects["code"].tolist() == ["not_allowed"] * 10
    assert "allowed: true, false" in found.rejects["message"].iloc[0]
    assert simulated_note(validate(table, FEEDBACK).table) == ""
