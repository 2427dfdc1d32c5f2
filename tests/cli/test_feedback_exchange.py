"""`rlhf-fair feedback import` and `export`: files of other tools, and attributes that stay at home."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from rlhf_fair.cli.feedback import app
from rlhf_fair.errors import RowError, SettingsError

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
