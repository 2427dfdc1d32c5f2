from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_language_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from rlhf_fair.artifacts import verify_manifest
from rlhf_fair.cli.train import app
from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.demonstrations import (
    Demonstrations,
    DemonstrationSource,
    DemonstrationSplit,
    Reading,
    chat_texts,
    read_demonstrations,
)
from rlhf_fair.training.sft_job import perplexity, train_sft

CONFIG = """
title = "Kind answers"
model = "base"
seed = 1
device = "cpu"

[data]
path = "demonstrations.csv"
groups = ["gender"]

[held_out]
share = 0.25

[training]
epochs = 4
batch_size = 8
learning_rate = 5e-2
checkpoint_steps = 3
"""
ENDED = "{{ eos_token if m['role'] == 'assistant' else '' }}"
TURNS = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}" + ENDED + "\n{% endfor %}"
INVITED = TURNS + "{% if add_generation_prompt %}assistant : {% endif %}"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tiny_language_model(tokenizer).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [
        {"prompt": f"the {how} {who} {n}", "answer": "is kind .", "gender": who}
        for n, how in enumerate(["old", "young", "nice", "good", "bad"] * 3)
        for who in ("man", "woman")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "demonstrations.csv", index=False)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_the_whole_job(world: Path) -> None:
    out = world / "out"
    steps: list[float] = []
    job = train_sft(world / "config.toml", world, out, on_step=lambda row, total: steps.append(row["step"] / total))
    assert job.metrics["rows"] == {"input": 30, "train": 22, "held_out": 8}
    assert steps == [step / 12 for step in range(1, 13)]  # 3 batches of 22 rows, 4 times
    verify_manifest(out)
    # perplexity of an untrained model is about its vocabulary, of one that knows the answer about 1
    levels = job.metrics["perplexity"]
    assert levels["start"]["estimate"] == pytest.approx(len(tiny_tokenizer()), rel=0.3)
    assert levels["end"]["estimate"] < 3
    assert levels["ratio"]["estimate"] == pytest.approx(levels["end"]["estimate"] / levels["start"]["estimate"])
    assert set(job.metrics["perplexity_by_group"]["gender"]) == {"man", "woman"}

    # held-out perplexity again, by plain transformers on the saved model, one text at a time
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    held_out = pd.read_parquet(out / "held_out.parquet")
    assert not {"prompt", "answer", "before_text"} & set(held_out)
    table = pd.read_csv(world / "demonstrations.csv")
    nats = []
    for prompt in table["prompt"]:
        start = tokenizer(prompt)["input_ids"]
        ids = [*start, *tokenizer("is kind .")["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        nats.append(-sum(float(logprobs[at - 1, ids[at]]) for at in range(len(start), len(ids))))
    assert all(np.min(np.abs(np.array(nats) - found)) < 1e-4 for found in held_out["after"])
    assert held_out["tokens"].eq(4).all()
    assert levels["end"]["estimate"] == pytest.approx(math.exp(held_out["after"].sum() / 32))

    again = train_sft(world / "config.toml", world, out)
    assert again.already_done
    assert again.metrics == job.metrics


class Killed(BaseException):
    """Ends a run as a kill does."""


def test_a_killed_job_goes_on_as_if_nothing_had_happened(world: Path) -> None:
    def kill(row: Any, total: int) -> None:
        if row["step"] == 7:
            raise Killed

    config = world / "config.toml"
    train_sft(config, world, world / "whole")
    with pytest.raises(Killed):
        train_sft(config, world, world / "out", on_step=kill)
    train_sft(config, world, world / "out")
    for name in ("model.safetensors", "held_out.parquet", "rejects.csv"):
        assert (world / "out" / name).read_bytes() == (world / "whole" / name).read_bytes()
    curves = [json.loads((world / run / "training.json").read_text())["curve"] for run in ("out", "whole")]
    assert curves[0] == curves[1]


def test_the_command(world: Path) -> None:
    call = ["sft", str(world / "config.toml"), "--data-dir", str(world), "--out", str(world / "out")]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0
    assert "12 steps on 22 demonstrations, 8 held out, 0 of 30 rows rejected" in result.stdout
    assert "held out, perplexity, gender woman: " in result.stdout
    found = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert found["already_done"] is True
    assert "Example: rlhf-fair train sft" in CliRunner().invoke(app, ["sft", "--help"]).stdout


def test_perplexity_by_hand() -> None:
    """Nats 2, 4, 6 over 2, 2, 4 tokens: exp(12 / 8). From nats twice as large it is exp(-12 / 8) of what it was."""
    nats, tokens = pd.Series([2.0, 4.0, 6.0]), pd.Series([2.0, 2.0, 4.0])
    level = perplexity(nats, tokens, clusters=[], alpha=0.05)
    assert level.estimate == pytest.approx(math.exp(1.5))
    assert level.ci_low < level.estimate < level.ci_high
    ratio = perplexity(nats, tokens, clusters=[], alpha=0.05, log_change_from=2 * nats)
    assert ratio.estimate == pytest.approx(math.exp(-1.5))


def chat_tokenizer() -> Any:
    tokenizer = tiny_tokenizer(["user", "assistant", "system", ":", "hi", "hello", "dog", "cat", "kind"])
    tokenizer.chat_template = INVITED
    return tokenizer


def test_of_a_chat_the_last_turn_is_learnt_and_the_end_token_stands_once() -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "dog"},
        {"role": "assistant", "content": "kind cat"},
    ]
    before, said = chat_texts(chat_tokenizer(), turns)
    assert before == "user : hi\nassistant : hello[EOS]\nuser : dog\nassistant : "
    assert said == "kind cat"
    forgetful = chat_tokenizer()
    forgetful.chat_template = "{{ messages|length }}{{ messages[-1]['content'] }}"
    with pytest.raises(ValueError, match="no answer can be cut out"):
        chat_texts(forgetful, turns)


def read(folder: Path, *, chat: bool = False, limit: int | None = None, **source: Any) -> Demonstrations:
    tokenizer = chat_tokenizer() if chat else tiny_tokenizer()
    split, folders = DemonstrationSplit(share=0.5), Folders(folder / "config", folder)
    return read_demonstrations(DemonstrationSource(**source), split, folders, Reading(tokenizer, chat, limit), seed=0)


def test_chats_are_read_and_what_is_none_is_told(tmp_path: Path) -> None:
    def chat(*turns: tuple[str, Any]) -> str:
        return json.dumps({"messages": [{"role": role, "content": said} for role, said in turns]})

    lines = [
        *(chat(("user", f"hi {n}"), ("assistant", "hello")) for n in range(4)),
        chat(("user", "hi"), ("assistant", "hello"), ("user", "dog")),
        chat(("narrator", "hi"), ("assistant", "hello")),
        chat(("user", "hi"), ("assistant", None)),
        json.dumps({"messages": "hello"}),
        json.dumps({"messages": None}),
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    found = read(tmp_path, chat=True, path="chats.jsonl", messages="messages")
    assert len(found.train) + len(found.held_out) == 4
    assert found.train["before"].str.endswith("assistant : ").all()
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [
        [5, "not_a_chat"], [6, "not_a_chat"], [7, "not_a_chat"], [8, "not_a_chat"], [9, "missing"]
    ]  # fmt: skip
    assert "the last message is not an answer of the assistant" in found.rejects["message"][0]
    with pytest.raises(SettingsError, match="messages needs a chat template"):
        read(tmp_path, path="chats.jsonl", messages="messages")


def test_long_rows_are_left_out_and_not_cut(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"prompt": ["the dog", "the cat", "a", None, "b"], "answer": ["kind"] * 2 + ["dog " * 9, "a", ""]}
    )
    table.to_csv(tmp_path / "d.csv", index=False)
    found = read(tmp_path, path="d.csv", limit=6, separator=" , ")
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [[3, "too_long"], [5, "missing"]]
    kept = pd.concat([found.train, found.held_out]).set_index("before")["said"].to_dict()
    assert kept == {"the dog , ": "kind", "the cat , ": "kind", "": "a"}  # no separator after nothing
    assert found.n_rows == 5


def test_faults_are_told(tmp_path: Path) -> None:
    pd.DataFrame({"prompt": ["a"], "answer": ["b"]}).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ColumnError, match="lacks column 'reply'"):
        read(tmp_path, path="d.csv", answer="reply")
    with pytest.raises(RowError, match=r"no row is left to train on|hold out"):
        read(tmp_path, path="d.csv")
    with pytest.raises(ValueError, match="name either messages, or prompt and answer"):
        DemonstrationSource(path="d.csv", messages="m", answer="b")
