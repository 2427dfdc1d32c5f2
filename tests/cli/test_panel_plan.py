"""`rlhf-fair panel plan` and `panel size`: demands on the command line, what is written, what a conflict prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.annotators.conflict import ConflictError
from rlhf_fair.cli.panel import app
from rlhf_fair.errors import RowError, SettingsError

POPULATION = """
multi_select = ["race"]
[margins.gender]
woman = 50
man = 50
[margins.race]
Black = 0.3
White = 0.8
[minimums]
"gender=woman,race=Black" = 8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "annotator_id": [f"{i:03d}" for i in range(300)],
            "attr.gender": rng.choice(["woman", "man"], 300, p=[0.3, 0.7]),
            "attr.race": rng.choice(["Black", "White", "White|Black"], 300, p=[0.3, 0.6, 0.1]),
            "cost": rng.choice([1, 3], 300),
            "consent": rng.choice(["yes", "no"], 300, p=[0.9, 0.1]),
            "languages": rng.choice(["en", "en;es"], 300),
        }
    ).to_csv(tmp_path / "pool.csv", index=False)
    (tmp_path / "population.toml").write_text(POPULATION)
    return tmp_path


def run(folder: Path, command: str) -> str:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


PLAN = "plan --pool @pool.csv --population @population.toml --size 40 --out @panel"


def test_every_demand_at_once(folder: Path) -> None:
    options = "--minimum gender=man,race=Black:6 --dropout 0.2 --draw-all --budget 200 --language en"
    certificate = json.loads(run(folder, f"{PLAN} {options} --json"))
    members = pd.read_csv(folder / "panel/panel.csv")
    assert certificate["size"] == len(members) >= 50  # 40 of at least 50 are expected to finish
    assert certificate["never_drawn"] == 0
    assert certificate["cost"] == members["cost"].sum() <= 200
    assert (members["consent"] == "yes").all()
    assert [(row["cell"], row["minimum"]) for row in certificate["minimums"]] == [
        ("gender=woman,race=Black", 8),
        ("gender=man,race=Black", 6),
    ]
    black = members["attr.race"].str.contains("Black") & (members["attr.gender"] == "woman")
    assert 0.8 * black.sum() >= 8
    pool = pd.read_csv(folder / "pool.csv")
    assert certificate["ineligible"] == {"no consent": int((pool["consent"] == "no").sum())}
    assert json.loads((folder / "panel/certificate.json").read_text())["seed"] == 0
    assert (folder / "panel/prices.csv").is_file()


def test_people_can_read_it(folder: Path) -> None:
    text = run(folder, f"{PLAN} --draw-all --dropout gender=man:0.1")
    assert "gender=woman,race=Black: at least 8" in text
    assert "expected to finish; chance of fewer than 40" in text
    assert "more than the cheapest plan" in text
    assert "candidates may not be asked (no consent)" in text


def test_a_conflict_is_one_object_and_writes_nothing(folder: Path) -> None:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in PLAN.split()]
    result = CliRunner().invoke(app, [*arguments, "--budget", "30", "--json"])
    assert isinstance(result.exception, ConflictError)
    record = json.loads(result.stdout)
    # nobody costs less than 1, so 40 people cost more than 30 whatever else is asked
    assert [entry["kind"] for entry in record["conflict"]] == ["size", "budget"]
    assert record["repairs"]
    assert "smallest set of demands" in str(result.exception)
    assert not (folder / "panel").exists()


def test_how_many_raters(folder: Path) -> None:
    # Cohen 1988: 64 in each of two groups for a medium effect; a panel in equal shares is the same
    command = "size --gap 0.5 --sd 1 --by gender --reference man --population @population.toml"
    assert json.loads(run(folder, f"{command} --json"))["raters_in_population_shares"] == 128
    assert "64 raters in each of 2 groups, 128 in all" in run(folder, command)
    text = run(folder, "size --gap 0.5 --sd 1 --by age --reference old --group young --group middle")
    assert "each of 2 contrasts with old" in text
    with pytest.raises(SettingsError, match="allowed: gender, race"):
        run(folder, command.replace("--by gender", "--by age"))


def test_help_has_an_example() -> None:
    assert "Example: rlhf-fair panel size" in " ".join(CliRunner().invoke(app, ["size", "--help"]).stdout.split())


def test_an_earlier_plans_rejects_do_not_stay(folder: Path) -> None:
    sound = (folder / "pool.csv").read_text()
    (folder / "pool.csv").write_text(sound + "300,woman,White,cheap,yes,en\n")
    assert json.loads(run(folder, f"{PLAN} --json"))["rejected"] == 1
    assert (folder / "panel/rejects.csv").is_file()
    (folder / "pool.csv").write_text(sound)
    assert json.loads(run(folder, f"{PLAN} --json"))["rejected"] == 0
    assert not (folder / "panel/rejects.csv").exists()


def test_weighing_knows_for_whom_a_plan_cannot_stand(folder: Path) -> None:
    options = "--population @population.toml --replicates 10 --accept-gap 1 --out @w.csv"
    run(folder, f"{PLAN} --least-chance 0.8")
    assert json.loads(run(folder, f"weigh --panel @panel/panel.csv {options} --json"))["intervals_trusted"] is True
    run(folder, f"{PLAN} --draw-all")  # 0.1 * 40 / 2: two or so of the dear half, who alone stand for their like
    told = json.loads(run(folder, f"weigh --panel @panel/panel.csv {options} --json"))
    assert (told["unreached_share"], told["intervals_trusted"]) == (0, False)
    assert any("of the starting weight; fewer than 5 cannot tell" in note for note in told["notes"])
    share = json.loads(run(folder, f"{PLAN} --json"))["unreached_share"]  # the dear half, but for what quotas ask
    assert share > 0.3
    told = json.loads(run(folder, f"weigh --panel @panel/panel.csv {options} --json"))
    assert (told["unreached_share"], told["intervals_trusted"]) == (pytest.approx(share), False)
    assert f"warning: {share:.1%} of the candidates had no chance" in run(
        folder, f"weigh --panel @panel/panel.csv {options}"
    )
    assert f"{share:.1%} of the candidates are not stood for" in run(folder, PLAN)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--tolerance inf", "tolerance = inf; allowed: size >= 1, the others finite and >= 0"),
        ("--budget inf", "budget = inf; allowed: a finite number >= 0, or none"),
    ],
)
def test_endless_demands_are_refused(folder: Path, options: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        run(folder, f"{PLAN} {options}")


def test_costs_beyond_any_are_refused(folder: Path) -> None:
    pool = pd.read_csv(folder / "pool.csv", dtype=str)
    pool.loc[3, "cost"] = "1e308"
    pool.to_csv(folder / "pool.csv", index=False)
    with pytest.raises(RowError, match=r"pool: cost 1e\+308 of 003; allowed: a number from 0 to 1e\+09"):
        run(folder, PLAN)


@pytest.mark.parametrize("command", ["plan", "assign", "repair", "simulate", "weigh", "agree", "select"])
def test_seeds_are_not_negative(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--seed", "-1"])
    assert result.exit_code == 2
    assert not isinstance(result.exception, ValueError)
