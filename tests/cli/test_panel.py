"""`rlhf-fair panel`: files in, files out, and the numbers in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, InfeasibleError, MissingFileError, RowError, SettingsError
from rlhf_fair.stats.columns import kish_effective_n

POPULATION = """
[margins.gender]
woman = 50
man = 50
[margins.age]
young = 0.4
old = 0.6
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "annotator_id": [f"{i:03d}" for i in range(200)],
            "attr.gender": rng.choice(["woman", "man"], 200, p=[0.3, 0.7]),
            "attr.age": rng.choice(["young", "old"], 200, p=[0.7, 0.3]),
            "cost": rng.choice([1, 2], 200),
        }
    ).to_csv(tmp_path / "pool.csv", index=False)
    (tmp_path / "population.toml").write_text(POPULATION)
    pd.DataFrame({"item_id": [f"i{k}" for k in range(60)]}).to_csv(tmp_path / "items.csv", index=False)
    return tmp_path


def run(folder: Path, command: str) -> str:
    """Run a command in which ``@name`` stands for a file of ``folder``; an error of ours is raised."""
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def plan(folder: Path, options: str = "") -> str:
    return run(folder, f"plan --pool @pool.csv --population @population.toml --size 40 --out @panel {options}")


def test_plan_assign_weigh(folder: Path) -> None:
    certificate = json.loads(plan(folder, "--json"))
    assert certificate["targets_met"] == certificate["targets"] == 4
    members = pd.read_csv(folder / "panel/panel.csv", dtype={"annotator_id": str})
    assert len(members) == 40
    assert abs((members["attr.gender"] == "woman").sum() - 20) <= 1
    assert members["cost"].sum() == certificate["cost"]
    assert members["annotator_id"].str.len().eq(3).all()

    summary = json.loads(
        run(
            folder,
            "assign --panel @panel/panel.csv --items @items.csv --by gender --distinct-groups 2 --out @a.csv --json",
        )
    )
    assert (summary["judgements"], summary["items_short_of_groups"]) == (180, 0)
    assert len(pd.read_csv(folder / "a.csv")) == 180

    summary = json.loads(
        run(folder, "weigh --panel @panel/panel.csv --population @population.toml --out @w.csv --json")
    )
    weights = pd.read_csv(folder / "w.csv")["weight"]
    assert summary["effective_size"] == pytest.approx(kish_effective_n(weights))
    assert summary["max_gap"] < 1e-6


def test_same_seed_same_bytes(folder: Path) -> None:
    plan(folder, "--seed 3")
    first = (folder / "panel/panel.csv").read_bytes()
    plan(folder, "--seed 3")
    assert (folder / "panel/panel.csv").read_bytes() == first
    plan(folder, "--seed 4")
    assert (folder / "panel/panel.csv").read_bytes() != first


def test_unusable_pool_rows_are_set_aside_and_said(folder: Path) -> None:
    with (folder / "pool.csv").open("a") as stream:
        stream.write("000,woman,old,1\n900,robot,old,1\n901,woman,old,-4\n")
    text = plan(folder)
    assert "1 candidates have an attribute that is empty or unknown to the population" in text
    assert "2 rows of the pool were unusable" in text
    assert pd.read_csv(folder / "panel/rejects.csv")["code"].tolist() == ["duplicate", "out_of_range"]


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        ("plan --pool @no.csv --population @population.toml --size 4 --out @p", MissingFileError, "no.csv"),
        ("plan --pool @pool.csv --population @items.csv --size 4 --out @p", SettingsError, "'share' or 'count'"),
        ("plan --pool @items.csv --population @population.toml --size 4 --out @p", ColumnError, "annotator_id"),
        ("plan --pool @pool.csv --population @population.toml --size 999 --out @p", InfeasibleError, "at most 200"),
        (
            "plan --pool @pool.csv --population @population.toml --size 9 --budget 3 --out @p",
            InfeasibleError,
            "costs 9",
        ),
        ("assign --panel @pool.csv --items @items.csv --distinct-groups 2 --out @a.csv", SettingsError, "needs --by"),
        ("assign --panel @pool.csv --items @items.csv --by faith --out @a.csv", ColumnError, "attr.faith"),
        ("agree --feedback @twice.jsonl", RowError, "row 2.*repeats an earlier row"),
        ("agree --feedback @twice.jsonl --by gender", RowError, "repeats"),
    ],
)
def test_faults_are_named_and_leave_no_output(folder: Path, command: str, error: type[Exception], says: str) -> None:
    row = '{"item_id": "x", "annotator_id": "p", "kind": "pair", "choice": "a"}\n'
    (folder / "twice.jsonl").write_text(row * 2)
    with pytest.raises(error, match=says):
        run(folder, command)
    assert not (folder / "p").exists()
    assert not (folder / "a.csv").exists()


@pytest.mark.parametrize("command", ["plan", "assign", "weigh", "agree"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair panel {command}" in " ".join(result.stdout.split())


def test_commands_load_nothing_heavy() -> None:
    code = "import sys, rlhf_fair.cli.panel, rlhf_fair.cli.feedback; print({'pandas', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
