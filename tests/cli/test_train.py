from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from job_world import CONFIG as PPO
from job_world import make_world
from tiny import tiny_bert, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.cli.train import app
from rlhf_fair.errors import OutputError
from rlhf_fair.integrity.verify import verify_folder

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


def test_raters_are_chosen_and_groups_told(world: Path) -> None:
    table = pd.read_csv(world / "ratings.csv")
    both = [table.assign(rater_id=who, side=side) for who, side in (("a", "left"), ("b", "right"))]
    pd.concat(both).to_csv(world / "ratings.csv", index=False)
    groups = '[groups.side]\nof = "raters"\nattributes = ["side"]\n'
    attribute = '[sources.attributes.side]\ncolumn = "side"\n'
    source, rest = CONFIG.split("[[sources]]")
    config = f"{source}{groups}[split]\ntest = 0.6\n[[sources]]{rest}{attribute}"
    (world / "config.toml").write_text(config)
    text = train(world, "--only", "side=right")
    assert "by side, left: pearson r " in text
    assert "1 raters: too few to speak of other raters" in text
    metrics = json.loads((world / "rm" / "metrics.json").read_text())
    assert metrics["raters"]["only"] == {"side": ["right"]}


def test_a_folder_that_cannot_be_written_is_one_clear_error(world: Path) -> None:
    (world / "rm").write_text("a file is in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        train(world)


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_help_has_an_example(stage: str) -> None:
    result = CliRunner().invoke(app, [stage, "--help"])
    assert f"Example: rlhf-fair train {stage}" in result.stdout


def test_a_policy_in_text_in_json_and_in_silence(tmp_path: Path) -> None:
    config = make_world(tmp_path, config=PPO.replace("steps = 6", "steps = 2"))
    call = ["ppo", str(config), "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(app, call, catch_exceptions=False)
    assert said.exit_code == 0
    assert "held out, KL to the policy before: " in said.stdout
    assert "gap in warmth (certifying), gender (man less the others): " in said.stdout
    assert "step 2/2 · reward " in said.stderr
    (tmp_path / "out" / "index.html").unlink()  # stopped between its last two files
    found = json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)
    assert found["already_done"] is True
    assert Path(found["report"]).is_file()
    assert verify_folder(tmp_path / "out").files > 10
    silent = CliRunner().invoke(app, [*call, "--quiet"], catch_exceptions=False)
    assert (silent.stdout, silent.stderr) == ("", "")
