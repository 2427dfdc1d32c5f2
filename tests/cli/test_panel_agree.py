"""`rlhf-fair panel agree`: tables, warnings, a page that gives nothing away, and one-line faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, RowError, SettingsError

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 raters of 12 items; women and men split on items of topic ``split``; three people are of group ``few``."""
    tmp_path = tmp_path_factory.mktemp("agree")
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"annotator_id": [f"p{i:02d}" for i in range(40)]})
    people["attr.gender"] = ["woman", "man"] * 20
    people["attr.region"] = ["few"] * 3 + ["north", "south"] * 18 + [None]
    people.to_csv(tmp_path / "panel.csv", index=False)
    items = pd.DataFrame({"item_id": [f"i{k:02d}" for k in range(12)], "topic": ["split"] * 4 + ["calm"] * 8})
    items["prompt"] = HOSTILE
    items.to_csv(tmp_path / "items.csv", index=False)
    rows = []
    for item in range(12):
        for n, person in people.iterrows():
            split = item < 4 and n % 2
            rating = int(np.clip(round(rng.normal(1.5 if split else 3.5, 0.7)), 0, 4))
            key = {"item_id": f"i{item:02d}", "annotator_id": person["annotator_id"]}
            rows += [key | {"kind": "rating", "value": rating}, key | {"kind": "scalar", "value": rng.normal()}]
            rows.append(key | {"kind": "pair", "choice": "ab"[int(rng.random() < (0.9 if item % 2 else 0.2))]})
    pd.DataFrame(rows).to_json(tmp_path / "f.jsonl", orient="records", lines=True)
    return tmp_path


def run(folder: Path, options: str) -> str:
    words = f"agree --feedback @f.jsonl {options}".split()
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in words]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


MAP = "--panel @panel.csv --by gender --by region --items @items.csv --item-by topic --permutations 199 --out @out"


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    return run(folder, MAP)


def test_everything_is_written_and_the_planted_split_is_found(folder: Path, printed: str) -> None:
    text = printed
    assert "rating by gender, topic split" in text
    assert "few has" not in text
    assert "fewer than 5 raters: withheld" in text
    names = {"agreement.csv", "pairs.csv", "shares.csv", "items.csv", "cells.csv", "agreement.json", "map.html"}
    assert {path.name for path in (folder / "out").iterdir()} == names
    items = pd.read_csv(folder / "out/items.csv")
    ratings = items[(items["kind"] == "rating") & (items["attribute"] == "gender")]
    split = ratings[ratings["p_adjusted"] <= 0.05]
    assert split["item_id"].tolist() == ["i00", "i01", "i02", "i03"]
    assert (split["mean_b"] - split["mean_a"]).gt(1).all()  # planted: men (a) 1.5, women (b) 3.5
    agreement = pd.read_csv(folder / "out/agreement.csv")
    assert agreement.groupby("attribute", dropna=False)["kind"].nunique().tolist() == [3, 3, 3]
    few = agreement[agreement["group"] == "few"]
    assert few["alpha"].isna().all()
    assert few["raters"].eq(3).all()
    summary = json.loads((folder / "out/agreement.json").read_text())
    assert {"kind": "rating", "attribute": "region", "group": "few", "raters": 3} in summary["not_compared"]
    assert any("50 steps" in note for note in summary["notes"])  # scalars have as many values as rows


@pytest.mark.usefixtures("printed")
def test_small_cells_are_told_nowhere(folder: Path) -> None:
    cells = pd.read_csv(folder / "out/cells.csv")
    assert "few" not in set(cells["group"])
    assert (cells.loc[cells["mean"].notna(), "raters"] >= 5).all()
    # three of `few` and one of no region are hidden on each item: together fewer than five, so one group more is; and
    # of the 20 men 18 are of the north, of the 20 women 18 of the south: beside gender, either would tell two people
    region = cells[cells["attribute"] == "region"]
    hidden = region[region["mean"].isna()]
    assert len(hidden) == len(region)
    assert hidden["reason"].eq("withheld to cover a smaller group").all()
    assert not pd.read_csv(folder / "out/items.csv").query("attribute == 'region'")["between"].notna().any()


@pytest.mark.usefixtures("printed")
def test_same_seed_same_bytes_and_texts_only_if_asked_and_escaped(folder: Path) -> None:
    run(folder, f"{MAP.replace('@out', '@again')} --item-text prompt")
    first, again = ({path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("out", "again"))
    without, page = first.pop("map.html").decode(), again.pop("map.html").decode()
    assert first == again
    assert "On which items do groups split?" in without
    assert "alert(1)" not in without
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE not in page


def test_a_folder_holds_the_files_of_one_run(folder: Path) -> None:
    run(folder, "--panel @panel.csv --by gender --permutations 0 --out @twice")
    assert (folder / "twice/cells.csv").exists()
    (folder / "twice/notes.txt").write_text("somebody's own")
    run(folder, "--permutations 0 --out @twice")
    names = {"agreement.csv", "pairs.csv", "agreement.json", "map.html", "notes.txt"}
    assert {path.name for path in (folder / "twice").iterdir()} == names
    assert set(pd.read_csv(folder / "twice/agreement.csv")["group"]) == {"(all)"}


def test_without_groups_without_out_and_as_json(folder: Path) -> None:
    assert run(folder, "--quiet") == ""
    lines = run(folder, "").splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["pair", "rating", "scalar"]
    found = json.loads(run(folder, "--json --panel @panel.csv --by gender --by region --cross --permutations 19"))
    attributes = {row["attribute"] for row in found["agreement"]}
    assert attributes == {"", "gender", "region", "gender*region"}
    assert found["shares"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("--by gender", SettingsError, "--by gender needs --panel"),
        ("--panel @panel.csv --by faith", ColumnError, "attr.faith"),
        ("--panel @panel.csv --by gender --cross", SettingsError, "at least two --by"),
        ("--out @alpha.csv", SettingsError, "names a file"),
        ("--item-by topic", SettingsError, "needs --items"),
        ("--items @items.csv --item-by theme", ColumnError, "items lacks column 'theme'"),
        ("--scalar-level ratio", SettingsError, "scalar values at level 'ratio' must be >= 0"),
        ("--scalar-level ordinal", SettingsError, "distinct values of kind 'scalar' at level 'ordinal'"),
    ],
)
def test_faults(folder: Path, options: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(folder, options)


def test_texts_alone_cannot_agree(tmp_path: Path) -> None:
    row = {"item_id": "x", "annotator_id": "p", "kind": "edit", "text": "better"}
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RowError, match="no judgement of kind"):
        run(tmp_path, "")
