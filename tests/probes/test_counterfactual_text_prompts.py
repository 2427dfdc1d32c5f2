from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.probes.counterfactual_text import restore
from rlhf_fair.probes.counterfactual_text_prompts import (
    make_counterfactuals,
    read_prompts,
    read_replacements,
    to_ask,
)

PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["a", "b", "c", "d"],
        "prompt": ["My wife asks.", "A Muslim and his sister", "It rains.", "She is pregnant."],
        "topic": ["x", "x", "y", "y"],
    }
)


def test_every_prompt_has_a_twin_for_every_other_group() -> None:
    made = make_counterfactuals(PROMPTS, ["gender", "religion"])
    rows = made.table.set_index("prompt_id")
    # gender: a and b with a twin each; religion: b with four twins; c has no word, d is about what one group has
    assert len(rows) == 2 * 2 + 5
    assert rows.loc["a~gender=man", "prompt"] == "My husband asks."
    assert rows.loc["b~religion=Jewish", "prompt"] == "A Jew and his sister"
    assert rows.loc["b~gender=woman", ["prompt", "topic", "twin_of"]].tolist() == ["A Muslim and her brother", "x", "b"]
    assert made.never_asked == ["c", "d"]
    reasons = made.left_out.set_index(["prompt_id", "attribute"])["reason"]
    assert "no word" in reasons["a", "religion"]
    assert "pregnant" in reasons["d", "gender"]


def test_the_table_alone_gives_the_originals_back() -> None:
    made = make_counterfactuals(PROMPTS, ["gender", "religion"]).table
    originals = PROMPTS.set_index("prompt_id")["prompt"]
    for row in made.itertuples():
        assert restore(row.prompt, read_replacements(row.replacements)) == originals[row.twin_of]


def test_a_comparison_holds_an_original_and_its_own_twins() -> None:
    asked = to_ask(make_counterfactuals(PROMPTS, ["gender", "religion"]))
    assert asked["prompt_id"].is_unique
    assert len(asked) == 2 + 6  # b is asked once, though it counts for both attributes
    assert (asked.groupby(["twin_of", "gender"]).size() == 1).all()
    assert asked.loc[asked["prompt_id"].str.contains("religion="), "gender"].isna().all()
    assert asked.set_index("prompt_id").loc["b", ["gender", "religion"]].tolist() == ["man", "Muslim"]


def test_modes_and_names() -> None:
    prompts = pd.DataFrame({"prompt_id": ["a"], "prompt": ["Emily met her husband."]})
    assert make_counterfactuals(prompts, ["gender"]).table["prompt"][1] == "Jonathan met his wife."
    subject = make_counterfactuals(prompts, ["gender"], mode="subject").table["prompt"][1]
    assert subject == "Jonathan met his husband."
    assert make_counterfactuals(prompts, ["gender"], names=False).table["prompt"][1] == "Emily met his wife."


def test_prompts_from_text_and_tables(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("First line\n\n  Third line  \n")
    assert read_prompts(tmp_path / "p.txt").to_dict("list") == {
        "prompt_id": ["line-1", "line-3"],
        "prompt": ["First line", "Third line"],
    }
    (tmp_path / "p.csv").write_text("topic,prompt\nx,One\ny,Two\n")
    assert read_prompts(tmp_path / "p.csv")["prompt_id"].tolist() == ["row-1", "row-2"]


def test_faulty_prompts_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "p.csv").write_text("text\nOne\n")
    with pytest.raises(ColumnError, match="'prompt'"):
        read_prompts(tmp_path / "p.csv")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(RowError, match="no prompts"):
        read_prompts(tmp_path / "blank.txt")
    with pytest.raises(RowError, match="'a' occurs more than once"):
        make_counterfactuals(pd.concat([PROMPTS, PROMPTS]), ["gender"])
    with pytest.raises(SettingsError, match="each once"):
        make_counterfactuals(PROMPTS, ["gender", "gender"])
