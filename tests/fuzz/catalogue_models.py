"""Readers of model folders: a language model, a reward model, a decider of features."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import torch
from tiny import tiny_bert, tiny_language_model, tiny_tokenizer

from fuzz.reader import Files, Reader
from rlhf_fair.models.loading import is_masked, load_language_model, quiet_transformers
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.training.ppo.features.decider import Decider, DeciderConfig


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def _language_model() -> Files:
    with tempfile.TemporaryDirectory() as place:
        with quiet_transformers():
            tiny_language_model(tiny_tokenizer()).save_pretrained(place)
            tiny_tokenizer().save_pretrained(place)
        return _files(Path(place))


@cache
def _reward_model() -> Files:
    with tempfile.TemporaryDirectory() as place:
        with quiet_transformers():
            tiny_bert().save_pretrained(place)
            tiny_tokenizer().save_pretrained(place)
        return _files(Path(place))


def _open_language_model(folder: Path) -> object:
    return is_masked(folder), load_language_model("CausalLM", folder)


def _open_reward(folder: Path) -> object:
    return open_reward(folder, device="cpu").score(["i am good"])


DECIDER = {
    "actions": ["no", "yes"],
    "encoding": {"columns": [{"kind": "number", "name": "age", "mean": 40.0, "sd": 9.0}]},
    "network": {},
}


@cache
def _decider() -> Files:
    with tempfile.TemporaryDirectory() as place:
        Decider.new(DeciderConfig.model_validate(DECIDER), generator=torch.Generator()).save(Path(place))
        return _files(Path(place))


READERS = (
    Reader("language model", _language_model, _open_language_model, slow=True),
    Reader("decider", _decider, Decider.load),
    Reader("reward model", _reward_model, _open_reward, slow=True),
)
