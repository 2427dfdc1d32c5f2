"""`rlhf-fair feedback import` and `export`: files of other tools, and attributes that stay at home."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from rlhf_fair.cli.feedback import app
from rlhf_fair.errors import ColumnError, IntegrityError, RowError, SettingsError

POPQUORN = Path(__file__).parents[3] / "shared/data/popquorn/offensiveness/raw_data.csv.gz"
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {
            "item_id": f"i{i % 4}",
            "annotator_id": f"r{i // 4}",
            "kind": "pair",
            "choice": "ab"[i % 2],
            "attr.gender": "man" if i // 4 < 6 else "woman" if i // 4 < 12 else "non-binary",
            "attr.city": f"c{i // 4}",
        }
        for i in range(4 * 14)
    ]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "items.csv").write_text(
        "item_id,prompt,response_a,response_b\n" + "".join(f"i{i},Q{i},A{i},B{i}\n" for i in range(4))
    )
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    return tmp_path


def run(folder: Path, command: str) -> Result:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("form", "name"), [("jsonl", "o.jsonl"), ("csv", "o.csv"), ("label-studio", "o.json"), ("argilla", "o.json")]
)
def test_there_and_back_without_attributes(folder: Path, form: str, name: str) -> None:
    result = run(folder, f"export @f.jsonl --format {form} --items @items.csv --out @{name} --key-file @key --json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["kept_home"] == ["attr.gender", "attr.city"]
    text = (folder / name).read_text()
    assert not any(word in text for word in ("woman", "non-binary", "attr.", '"c1"', '"r1"', KEY))
    result = run(folder, f"import @{name} --format {form} --out @back.csv")
    assert result.exit_code == 0
    back = pd.read_csv(folder / "back.csv")
    assert len(back) == 56
    assert back["annotator_id"].nunique() == 14
    assert back["annotator_id"].str.fullmatch("[0-9a-f]{32}").all()


def test_attributes_leave_through_the_gate(folder: Path) -> None:
    command = "export @f.jsonl --format csv --out @o.csv --with-attributes"
    result = run(folder, f"{command} --quasi gender --k 5 --json")
    told = json.loads(result.stdout)
    # 2 of 14 are non-binary; the 6 men, the smallest companion, are withheld with them
    assert (told["withheld"], told["too_few"], told["companions"]) == (8, 2, 6)
    table = pd.read_csv(folder / "o.csv")
    assert table["attr.gender"].value_counts().to_dict() == {"woman": 24}
    assert "attr.city" not in table
    assert table["attributes_withheld"].sum() == 32
    (folder / "o.csv").unlink()
    result = run(folder, f"{command} --quasi gender --quasi city")
    assert result.exit_code == 1
    assert "nothing written" in result.stderr
    assert not (folder / "o.csv").exists()


def test_a_sensitive_attribute_that_a_group_shares(folder: Path) -> None:
    result = run(
        folder, "export @f.jsonl --format csv --out @o.csv --with-attributes --quasi gender --sensitive city --l 7"
    )
    assert result.exit_code == 1  # the women live in 6 cities


def panel_of(tmp_path: Path, people: list[tuple[str, str, str]]) -> None:
    """Feedback of two rows each by people of gender, race and illness."""
    rows = [
        {"item_id": f"i{i}", "annotator_id": f"r{n}", "kind": "rating", "value": (n + i) % 5, "attr.gender": gender}
        | {"attr.race": race, "attr.ill": ill}
        for n, (gender, race, ill) in enumerate(people)
        for i in range(2)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# 10 women and 10 men; both of 8 White and 2 Black people; illness: one x, the others y, in each gender
PEOPLE = [(g, "White" if n < 8 else "Black", "x" if n == 9 else "y") for g in ("woman", "man") for n in range(10)]


def test_everything_that_leaves_is_looked_at_together(folder: Path) -> None:
    panel_of(folder, PEOPLE)
    command = "export @p.jsonl --format csv --out @o.csv --with-attributes --quasi gender --sensitive race"
    result = run(folder, command)
    # gender alone keeps to k = 5, and each gender has two races: but with race, 2 and 2 are among fewer than 5
    assert result.exit_code == 1
    assert "4 among fewer than 5; the smallest group is of 2" in result.stderr
    assert not (folder / "o.csv").exists()
    result = run(folder, f"{command} --sensitive ill --allow-below-k 0.2 --json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    # by gender, race and illness: 8 + 1 + 1 of each gender
    assert {name: told["together"][name] for name in ("unique", "below_k", "smallest")} == {
        "unique": 4,
        "below_k": 4,
        "smallest": 1,
    }
    assert run(folder, f"{command} --allow-below-k 0.19").exit_code == 1
    with pytest.raises(SettingsError, match=r"l is 1, which protects nothing of race"):
        run(folder, f"{command} --l 1")


def test_popquorn_sensitive_columns_are_no_way_around_k(tmp_path: Path) -> None:
    if not POPQUORN.exists():
        pytest.skip("data set not at hand: ../shared/data/popquorn")
    ratings = pd.read_csv(POPQUORN, dtype="str", keep_default_na=False)
    columns = {name: f"attr.{name}" for name in ("gender", "race", "age", "education")}
    table = ratings.rename(columns=columns | {"user_id": "annotator_id", "instance_id": "item_id"})
    table = table.drop_duplicates("annotator_id").assign(item_id="i", kind="rating", value=1.0)
    table[["item_id", "annotator_id", "kind", "value", *columns.values()]].to_csv(tmp_path / "f.csv", index=False)
    command = "export @f.csv --format csv --out @o.csv --with-attributes --quasi gender --sensitive race"
    result = run(tmp_path, f"{command} --sensitive age --sensitive education --k 5")
    assert result.exit_code == 1
    alike = table.groupby(["attr.gender", "attr.race", "attr.age", "attr.education"])["annotator_id"].transform("size")
    told = re.search(r"together (\d+) of (\d+) people .* and (\d+) among fewer than 5", result.stderr)
    assert told is not None
    # as counted over all 262, less the few of a gender that is withheld, who may be among the unique
    unique, n, below = (int(number) for number in told.groups())
    assert 262 - n < 10
    assert 0 <= (alike == 1).sum() - unique <= 262 - n
    assert 0 <= (alike < 5).sum() - below <= 262 - n
    assert not (tmp_path / "o.csv").exists()


def test_what_has_left_counts_with_what_leaves(folder: Path) -> None:
    genders = [(g, "White" if n < 12 else "Black", "y") for g in ("woman", "man") for n in range(15)]
    panel_of(folder, genders + [("other", "White", "y")] * 5)
    alone = run(folder, "export @p.jsonl --format csv --with-attributes --out @alone.csv --quasi race --json")
    assert json.loads(alone.stdout)["withheld"] == 0  # 29 White and 6 Black people
    command = "export @p.jsonl --format csv --with-attributes --key-file @key"
    assert run(folder, f"{command} --out @one.csv --quasi gender --purpose one").exit_code == 0
    assert json.loads((folder / "key.released.jsonl").read_text()) == {"columns": ["attr.gender"], "purpose": "one"}
    result = run(folder, f"{command} --out @two.csv --quasi race --purpose two --json")
    told = json.loads(result.stdout)
    # with gender, which has left already, the 6 are 3 Black women and 3 Black men
    assert (told["earlier"], told["too_few"]) == (["attr.gender"], 6)
    one, two = pd.read_csv(folder / "one.csv"), pd.read_csv(folder / "two.csv")
    assert "attr.gender" not in two
    assert not set(one["annotator_id"]) & set(two["annotator_id"])  # ids of two purposes do not join
    # but rows do, in the order of the file: what is known together is of 5 people or more
    both = one[["annotator_id", "attr.gender"]].assign(race=two["attr.race"]).drop_duplicates().dropna()
    assert both.groupby(["attr.gender", "race"]).size().min() >= 5
    (folder / "key.released.jsonl").write_text("{}\n")
    with pytest.raises(IntegrityError, match="line 1 is no entry"):
        run(folder, f"{command} --out @two.csv --quasi race")
    (folder / "key.released.jsonl").write_text('{"columns": ["attr.faith"]}\n')
    with pytest.raises(SettingsError, match=r"'attr.faith' has left before .* --panel"):
        run(folder, f"{command} --out @two.csv --quasi race")


def test_only_columns_of_feedback_leave(folder: Path) -> None:
    table = pd.read_json(folder / "f.jsonl", lines=True)
    table["email"] = table["annotator_id"] + "@example.org"
    table["Attr.race"], table["note"] = "r", [f"n{n}" for n in range(len(table))]
    table["gender"] = table["attr.gender"]
    table.to_json(folder / "g.jsonl", orient="records", lines=True)
    command = "export @g.jsonl --format csv --out @o.csv"
    result = run(folder, command)
    assert "6 columns stay at home: attr.gender, attr.city, email, Attr.race, note, gender" in result.stdout
    assert list(pd.read_csv(folder / "o.csv")) == ["item_id", "annotator_id", "kind", "choice"]
    assert run(folder, f"{command} --keep note").exit_code == 0
    assert "note" in pd.read_csv(folder / "o.csv")
    (folder / "o.csv").unlink()
    # a column that says the same in all rows of a person is an attribute, whatever its name
    assert run(folder, f"{command} --keep email").exit_code == 1
    assert not (folder / "o.csv").exists()
    told = json.loads(run(folder, f"{command} --keep gender --json").stdout)
    assert (told["attributes"], told["withheld"]) == (["gender"], 8)  # 2 non-binary people, and the 6 men with them
    for name in ("attr.city", "Attr.race"):
        with pytest.raises(SettingsError, match=rf"{name}' is an attribute of people"):
            run(folder, f"{command} --keep {name}")
    with pytest.raises(ColumnError, match="lacks column 'age'"):
        run(folder, f"{command} --keep age")


def test_a_purpose_needs_a_key(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--purpose x needs --key-file"):
        run(folder, "export @f.jsonl --format csv --out @o.csv --purpose x")


def test_set_aside_entries_are_written_and_set_the_exit_code(folder: Path) -> None:
    assert run(folder, "export @f.jsonl --format label-studio --out @o.json").exit_code == 0
    tasks = json.loads((folder / "o.json").read_text())
    tasks[0]["annotations"][0]["was_cancelled"] = True
    (folder / "o.json").write_text(json.dumps(tasks))
    result = run(folder, "import @o.json --format label-studio --out @back.jsonl --json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["accepted"] == 55
    rejects = pd.read_csv(folder / "back.rejects.csv")
    assert rejects[["row", "column", "code"]].to_numpy().tolist() == [[1, "was_cancelled", "skipped"]]


def test_items_become_tasks(folder: Path) -> None:
    result = run(folder, "export --format label-studio --items @items.csv --out @tasks.json")
    assert "4 tasks to label" in result.stdout
    assert json.loads((folder / "tasks.json").read_text())[3]["data"]["left"] == "A3"


def test_faults_are_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match="label-studio keeps no attributes"):
        run(folder, "export @f.jsonl --format label-studio --out @o.json --with-attributes")
    with pytest.raises(SettingsError, match="give FEEDBACK, or --items"):
        run(folder, "export --format argilla --out @o.json")
    (folder / "o.json").write_text('[{"data": {}, "annotations": []}, 1]')
    with pytest.raises(RowError, match="no row of feedback in 1 entries"):
        run(folder, "import @o.json --format label-studio --out @b.csv")


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair feedback {command}" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("form", "name"), [("jsonl", "o.jsonl"), ("csv", "o.csv"), ("label-studio", "o.json"), ("argilla", "o.json")]
)
def test_addresses_and_phone_numbers_of_annotators_do_not_leave(folder: Path, form: str, name: str) -> None:
    direct = {"r0": "alice.smith0@example.org", "r1": "+44 20 7946 0958"}
    rows = [json.loads(line) for line in (folder / "f.jsonl").read_text().splitlines()]
    named = [row | {"annotator_id": direct.get(row["annotator_id"], row["annotator_id"])} for row in rows]
    (folder / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    command = f"export @f.jsonl --format {form} --items @items.csv --out @{name}"
    with pytest.raises(RowError, match=r"2 of 14 values of 'annotator_id' look like .* Give --key-file") as caught:
        run(folder, command)
    assert caught.value.exit_code == 2
    assert not any(text in str(caught.value) for text in direct.values())
    assert not (folder / name).exists()
    assert run(folder, f"{command} --key-file @key").exit_code == 0
    assert "alice" not in (folder / name).read_text()
    assert run(folder, f"{command} --with-identifiers").exit_code == 0
    assert direct["r0"] in (folder / name).read_text()
