"""`rlhf-fair panel weigh`: the table it writes, what it says, and faults that name file, row and value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.annotators.weights_replicates import PREFIX, replicate_estimate
from rlhf_fair.cli.feedback_aggregate import read_weights
from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, InfeasibleError, RowError, SettingsError

POPULATION = """
multi_select = ["race"]
[margins.gender]
woman = 50
man = 50
[margins.race]
White = 0.8
Black = 0.3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # 10 women, 30 men; among each, 60 % White, 20 % Black, 20 % both
    gender = ["woman"] * 10 + ["man"] * 30
    race = ["White", "White", "White", "Black", "Black|White"] * 8
    ids = [f"{i:03d}" for i in range(40)]
    pd.DataFrame({"annotator_id": ids, "attr.gender": gender, "attr.race": race}).to_csv(
        tmp_path / "panel.csv", index=False
    )
    (tmp_path / "population.toml").write_text(POPULATION)
    rows = [{"item_id": "i", "annotator_id": i, "kind": "pair", "choice": "a"} for i in [*ids[2:], "stranger"]]
    pd.DataFrame(rows).to_csv(tmp_path / "feedback.csv", index=False)
    return tmp_path


def weigh(folder: Path, options: str = "") -> str:
    words = f"weigh --panel @panel.csv --population @population.toml --out @w.csv {options}".split()
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in words]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_weights_meet_the_margins_and_say_what_that_costs(folder: Path) -> None:
    summary = json.loads(weigh(folder, "--margins @margins.csv --json"))
    assert summary["max_gap"] < 1e-6
    assert summary["max_gap_before"] == pytest.approx(0.25)  # 10 women of 40, half wanted
    assert summary["design_effect"] == pytest.approx(1 + summary["variation"] ** 2)
    table = pd.read_csv(folder / "w.csv", dtype={"annotator_id": "str"})
    assert table.columns.tolist() == ["annotator_id", "weight", "base_weight", "trimmed"]
    assert table["weight"].mean() == pytest.approx(1)
    races = pd.read_csv(folder / "panel.csv")["attr.race"]
    assert table["weight"][races.str.contains("Black")].sum() / 40 == pytest.approx(0.3)
    margins = pd.read_csv(folder / "margins.csv").set_index("level")
    assert margins.loc["woman", ["n", "target", "weighted"]].tolist() == pytest.approx([10, 0.5, 0.5])
    assert margins.loc["White", "panel"] == pytest.approx(0.8)
    text = weigh(folder)
    assert "0.250 before, 0.000 after" in text
    assert weigh(folder, "--quiet") == ""


def test_who_gave_feedback_stands_for_who_did_not(folder: Path) -> None:
    summary = json.loads(weigh(folder, "--responded @feedback.csv --response-by gender --json"))
    assert (summary["members"], summary["responded"], summary["response_by"]) == (38, 38, ["gender"])
    assert "38 of 40 members responded; adjusted by gender" in summary["notes"]
    assert "1 annotators of the feedback are not in the panel and have no weight" in summary["notes"]
    table = pd.read_csv(folder / "w.csv").set_index("annotator_id")
    assert table["base_weight"].iloc[[0, -1]].tolist() == pytest.approx([10 / 8, 1])  # 8 of 10 women, all men


def test_replicates_travel_with_the_weights(folder: Path) -> None:
    weigh(folder, "--replicates 40 --seed 1")
    first = (folder / "w.csv").read_bytes()
    weigh(folder, "--replicates 40 --seed 1")
    assert (folder / "w.csv").read_bytes() == first
    table = pd.read_csv(folder / "w.csv", dtype={"annotator_id": "str"}).set_index("annotator_id")
    replicates = table.filter(like=PREFIX)
    assert ((replicates == 0).sum() == 1).all()  # 40 replicates of 40 members: each left out once
    weights = read_weights(folder / "w.csv")  # as `feedback aggregate` reads them
    assert weights is not None
    y = pd.Series(np.arange(40) % 3, index=table.index)
    found = replicate_estimate(lambda w: float(y @ w / w.sum()), weights, replicates)
    assert found.ci_low < found.estimate < found.ci_high


def test_trim_by_name(folder: Path) -> None:
    assert json.loads(weigh(folder, "--trim none --json"))["cap"] is None
    assert json.loads(weigh(folder, "--trim 1.5 --json"))["largest_weight"] == pytest.approx(1.5)
    assert json.loads(weigh(folder, "--trim auto --json"))["notes"] is not None


def test_faults_name_what_is_allowed(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--trim 'lots'; allowed: a number > 1, none or auto"):
        weigh(folder, "--trim lots")
    with pytest.raises(SettingsError, match=r"trim = 0\.5; allowed"):
        weigh(folder, "--trim 0.5")
    with pytest.raises(SettingsError, match="response_by needs to know who responded"):
        weigh(folder, "--response-by gender")
    panel = pd.read_csv(folder / "panel.csv", dtype="str")
    panel.assign(inclusion_probability=["0.5"] * 39 + ["often"]).to_csv(folder / "panel.csv", index=False)
    with pytest.raises(RowError, match="panel row 40: inclusion_probability 'often'"):
        weigh(folder)
    panel.assign(annotator_id=[f"x{i}" for i in range(40)]).to_csv(folder / "panel.csv", index=False)
    with pytest.raises(RowError, match="none of its 39 annotators is among the panel's 40"):
        weigh(folder, "--responded @feedback.csv")
    panel[panel["attr.gender"] == "man"].assign(**{"attr.race": "Black"}).to_csv(folder / "panel.csv", index=False)
    (folder / "population.toml").write_text('[margins."gender*race"]\nman = {Black=1}\n[margins.age]\nold = 1\n')
    with pytest.raises(ColumnError, match=r"panel lacks column 'attr\.age'"):
        weigh(folder)


def test_contradicting_margins_end_in_an_error(folder: Path) -> None:
    panel = pd.read_csv(folder / "panel.csv", dtype="str")
    panel.assign(**{"attr.race": np.where(panel["attr.gender"] == "woman", "Black", "White")}).to_csv(
        folder / "panel.csv", index=False
    )
    with pytest.raises(InfeasibleError, match="no weights of these members meet all margins"):
        weigh(folder)
    assert json.loads(weigh(folder, "--accept-gap 0.4 --json"))["settled"] is False
