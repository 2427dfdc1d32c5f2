from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_bert, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.cli.train import app
from rlhf_fair.errors import OutputError

CONFIG = """
title = "t"
model = "base"
objective = "rating"
training = { epochs = 1, max_length = 16 }

[[sources]]
format = "ratings"
name = "words"
path = "ratings.csv"
scale = [0, 1]
better = "high"
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    texts = [f"{'good' if n % 2 else 'bad'} {'dog ' * (n // 2)}" for n in range(40)]
    table = pd.DataFrame({"item_id": range(40), "rater_id": "a", "rating": [n % 2 for n in range(40)], "text": texts})
    table.to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def train(world: Path, *more: str) -> str:
    arguments = ["reward", str(world / "config.toml"), "--data-dir", str(world), "--out", str(world / "rm"), *more]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_text_json_and_quiet(world: Path) -> None:
    text = train(world)
    assert text.startswith("Trained in ")
    assert "held out, words: pearson r " in text
    found = json.loads(train(world, "--json"))
    assert found["already_done"] is True
    assert found["test"]["pooled"]["pearson_r"]["n"] == 8
    assert train(world, "--quiet") == ""


def test_a_folder_that_cannot_be_written_is_one_clear_error(world: Path) -> None:
    (world / "rm").write_text("a file is in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        train(world)


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["reward", "--help"])
    assert "Example: rlhf-fair train reward" in result.stdout
