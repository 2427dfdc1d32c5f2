"""The example that ships: its prompts are what the lexicons make, and both of its configs run on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import byte_pair_tokenizer, tiny_gpt2
from typer.testing import CliRunner

from rlhf_fair.cli.train import app
from rlhf_fair.probes.counterfactual_text import groups_in, swap
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.settings import read_toml
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.sft_job import SFTConfig

FOLDER = Path(__file__).parents[4] / "audits" / "train-ppo"


def test_each_prompt_is_there_for_every_combination_and_twins_are_the_lexicons(tmp_path: Path) -> None:
    table = pd.read_csv(FOLDER / "prompts.csv")
    assert len(table) == 200 == table["prompt"].nunique()
    lexicons = {name: load_lexicon(name) for name in ("gender", "age")}
    for _, twins in table.groupby("twin_of"):
        assert len(twins) == 4
        by_group = twins.set_index(["gender", "age"])["prompt"].to_dict()
        for (gender, age), prompt in by_group.items():
            assert (groups_in(prompt, lexicons["gender"])[0], groups_in(prompt, lexicons["age"])[0]) == (gender, age)
            other = "woman" if gender == "man" else "man"
            assert swap(prompt, lexicons["gender"], gender, other, "all").text == by_group[other, age]
    demonstrations = pd.read_csv(FOLDER / "demonstrations.csv")
    assert set(demonstrations["prompt"]) <= set(table["prompt"])
    assert demonstrations.groupby("twin_of")["age"].value_counts().eq(2).all()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    tokenizer = byte_pair_tokenizer()
    tiny_gpt2(tokenizer, n_positions=512).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def smaller(name: str, folder: Path, **changes: str) -> Path:
    """The shipped config with fewer and shorter steps; rulers by absolute path, since it lies elsewhere."""
    text = (FOLDER / name).read_text().replace("../", f"{FOLDER.parent.as_posix()}/")
    for old, new in changes.items():
        assert f"\n{old} = " in text
        start = text.index(f"\n{old} = ") + 1
        text = text[:start] + f"{old} = {new}" + text[text.index("\n", start) :]
    for table in ("prompts.csv", "demonstrations.csv"):
        (folder / table).write_bytes((FOLDER / table).read_bytes())
    path = folder / name
    path.write_text(text)
    return path


def test_both_commands_run_one_after_the_other(models: Path) -> None:
    for name, model in (("sft.toml", SFTConfig), ("fair.toml", PPOConfig)):
        read_toml(FOLDER / name, model)  # as it ships
    sft = smaller("sft.toml", models, epochs="1", learning_rate="1e-3")
    said = run("sft", sft, "--data-dir", models, "--out", models / "sft")
    assert "on 36 demonstrations, 12 held out, 0 of 48 rows rejected" in said
    changes = {"steps": "3", "batch_size": "16", "minibatch_size": "16", "max_new_tokens": "6", "every": "2"}
    fair = smaller("fair.toml", models, **changes, samples="1", learning_rate="1e-3")
    # the untrained model says no listed word, and a run that nothing can be learned from is refused
    text = re.sub(r'kind = "lexicon", file = "[^"]*"', 'kind = "toxic terms"', fair.read_text())
    # batches of 16 over 40 cells, and memory .8: 16 / 40 * 9 = 3.6 effective samples in each
    fair.write_text(text.replace("[fairness]", "[fairness]\nminimum_count = 2.0"))
    said = run("ppo", fair, "--data-dir", models, "--out", models / "fair")
    assert "3 steps on 160 prompts, 40 held out, 0 of 200 not used" in said
    assert "gap in sentiment (vader), gender × age (man & young less the others)" in said
    assert (models / "fair" / "index.html").is_file()
    assert len((models / "fair" / "samples.jsonl").read_text().splitlines()) == 8
    found = json.loads(run("ppo", fair, "--data-dir", models, "--out", models / "fair", "--json"))
    assert found["already_done"] is True
    assert found["prompts"]["reported"] == 200
    assert run("ppo", fair, "--data-dir", models, "--out", models / "fair").startswith("Already done: 3 steps")
