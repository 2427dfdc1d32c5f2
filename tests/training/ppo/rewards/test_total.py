from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import Reply, says, serving
from tiny import tiny_bert, tiny_llama, tiny_tokenizer

from rlhf_fair.errors import EndpointError, ModelLoadError, RlhfFairError, SettingsError
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.ppo.rewards.endpoint import KEY_VARIABLE, RewardEndpoint
from rlhf_fair.training.ppo.rewards.sources import EndpointReward, ModelReward, PythonReward, ScorerReward
from rlhf_fair.training.ppo.rewards.total import Part, RewardSum, open_part, reward_inputs

PROMPTS, ANSWERS = ["what do you think ?", "hello"], ["a good dog", "bad day"]


def test_a_sum_of_two_rewards_by_hand() -> None:
    """2 * (3 - 1) / 4 - (10 - 0) / 1 = -9; 2 * (5 - 1) / 4 - (20 - 0) / 1 = -18."""
    seen: list[Any] = []

    def first(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[int]:
        seen.append((prompts, completions, columns))
        return [3, 5]

    heard: list[Any] = []
    parts = [Part("a", first, 2.0, 1.0, 4.0), Part("b", lambda *_, **__: np.array([10.0, 20.0]), -1.0)]
    reward = RewardSum(parts, heard.append)
    asked = ["<user> p <bot>", "<user> q <bot>"]
    assert reward(asked, ["x", "y"], prompt=["p", "q"], gender=["woman", "man"]).tolist() == [-9.0, -18.0]
    assert seen == [(["p", "q"], ["x", "y"], {"gender": ["woman", "man"]})]  # as the table has them
    assert heard[0].answers()[1] == {"prompt": "q", "completion": "y", "reward": -18.0}
    assert {name: values.tolist() for name, values in heard[0].parts.items()} == {"a": [3, 5], "b": [10, 20]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "reward 'r' gave no numbers"),
        ([1.0], r"gave shape \(1,\); one number per answer is \(2,\)"),
        ([1.0, float("inf")], r"gave inf for answer 2 of 2 \(1 characters\)"),
        ([None, 1.0], "gave nan for answer 1 of 2"),
    ],
)
def test_what_is_no_number_for_each_answer_names_its_reward(values: Any, message: str) -> None:
    reward = RewardSum([Part("r", lambda *_, **__: values)])
    with pytest.raises(RlhfFairError, match=message):
        reward(["p", "q"], ["x", "y"], prompt=["p", "q"])


def save(folder: Path, model: Any, tokenizer: Any) -> str:
    RewardModel(model, tokenizer, device="cpu").save(folder)
    return str(folder)


def test_a_reward_model_reads_prompt_and_answer_as_it_was_trained_to(tmp_path: Path) -> None:
    place = save(tmp_path / "rm", tiny_bert(), tiny_tokenizer())
    source = ModelReward(kind="model", model="rm", separator=" , ", ending=" .")
    part = open_part(source, tmp_path, tmp_path, "cpu")
    expected = RewardModel.load(place).score(["what do you think ? , a good dog .", "hello , bad day ."])
    assert part.label == "rm"
    assert np.asarray(part.reward(PROMPTS, ANSWERS, gender=["woman", "man"])) == pytest.approx(expected)


def test_a_reward_model_of_chats_reads_its_template(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    place = save(tmp_path / "rm", tiny_llama(), tokenizer)
    part = open_part(ModelReward(kind="model", model="rm"), tmp_path, tmp_path, "cpu")
    expected = RewardModel.load(place).score(
        ["user what do you think ? assistant a good dog ", "user hello assistant bad day "]
    )
    assert np.asarray(part.reward(PROMPTS, ANSWERS)) == pytest.approx(expected)
    save(tmp_path / "plain", tiny_llama(), tiny_tokenizer())
    with pytest.raises(SettingsError, match="model plain has no chat template; allowed: auto or no"):
        open_part(ModelReward(kind="model", model="plain", chat="yes"), tmp_path, tmp_path, "cpu")


def test_a_conservative_ensemble_pays_its_most_pessimistic_head(tmp_path: Path) -> None:
    model = tiny_bert(num_labels=3)
    declare_heads(model.config, RewardHeads(kind="ensemble", names=("1", "2", "3"), combine="min"))
    place = save(tmp_path / "rm", model, tiny_tokenizer())
    part = open_part(ModelReward(kind="model", model="rm", separator=" "), tmp_path, tmp_path, "cpu")
    heads = RewardModel.load(place).outputs([f"{p} {a}" for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    assert np.asarray(part.reward(PROMPTS, ANSWERS)) == pytest.approx(heads.min(axis=1))


def test_a_model_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such folder"):
        open_part(ModelReward(kind="model", model="./absent/rm"), tmp_path, tmp_path, "cpu")


def test_a_ruler_pays_and_finds_nothing_in_some_answers(tmp_path: Path) -> None:
    content = {"name": "w", "source": "t", "phrases": {"good": 1, "bad": -1}}
    (tmp_path / "words.json").write_text(json.dumps(content))
    scorer = {"quantity": "warmth", "kind": "lexicon", "file": "words.json"}
    source = ScorerReward.model_validate({"kind": "scorer", "scorer": scorer, "unmeasured": -0.25})
    part = open_part(source, tmp_path, tmp_path, "cpu")
    assert part.label == "warmth"
    assert np.asarray(part.reward(["p"] * 3, ["good", "blue", "bad"])).tolist() == [1.0, -0.25, -1.0]
    assert list(reward_inputs(source, tmp_path, tmp_path)) == ["reward/warmth/scorer/warmth/words.json"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def pay(:\n    pass\n", r"cannot be loaded: SyntaxError: .*line 1"),
        ("import absent_module\n", r"cannot be loaded: ModuleNotFoundError: .* \(line 1\)"),
        ("def other(p, c): ...\n", r"has no function 'pay'; has \['other'\]"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "pay.py").write_text(code)
    source = PythonReward(kind="python", function="pay.py:pay")
    with pytest.raises(SettingsError, match=message):
        open_part(source, tmp_path, tmp_path, "cpu")


def endpoint(url: str, **changes: Any) -> RewardEndpoint:
    settings = {"kind": "endpoint", "url": url, "batch_size": 2, "attempts": 1, "timeout_s": 5.0}
    return RewardEndpoint(EndpointReward.model_validate(settings | changes))


def paid(request: dict[str, Any], path: str) -> Reply:
    """As many points as the answer has words, less what the column says."""
    lengths = [len(text.split()) for text in request["completions"]]
    return says({"rewards": [n - (f or 0) for n, f in zip(lengths, request["columns"]["fine"], strict=True)]})


def test_a_server_is_sent_prompts_answers_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    with serving(paid) as server:
        reward = endpoint(server.url)
        answers = ["one", "one two", "one two three", "", "a b c d e"]
        found = reward([f"p{k}" for k in range(5)], answers, fine=[0.5, None, float("nan"), 1, 2])
        assert found.tolist() == [0.5, 2.0, 3.0, -1.0, 3.0]
        assert sorted(len(request["prompts"]) for request in server.requests) == [1, 2, 2]
        assert {headers["authorization"] for headers in server.headers} == {"Bearer secret-key"}


def test_a_server_that_stumbles_is_asked_again() -> None:
    calls: list[int] = []

    def stumbles(request: dict[str, Any], path: str) -> Reply:
        calls.append(1)
        return says({"error": "busy"}, status=503, **{"Retry-After": "0"}) if len(calls) == 1 else paid(request, path)

    with serving(stumbles) as server:
        assert endpoint(server.url, attempts=3)(["p"], ["one two"], fine=[0]).tolist() == [2.0]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ({"scores": [1]}, 200, r'malformed reply: it is not \{"rewards"'),
        ({"rewards": [1, 2]}, 200, "2 rewards for 1 answers"),
        ({"rewards": [None]}, 200, "reward 1 is None, not a finite number"),
        ({"rewards": [True]}, 200, "reward 1 is True"),
        ({"error": "no"}, 401, "status 401"),
        ({"error": "odd"}, 422, "status 422"),
    ],
)
def test_a_server_that_gives_no_reward_stops_the_run(content: Any, status: int, message: str) -> None:
    with serving(lambda *_: says(content, status=status)) as server, pytest.raises(EndpointError, match=message):
        endpoint(server.url)(["p"], ["x"])


def test_nobody_there_and_a_url_with_a_secret() -> None:
    with pytest.raises(EndpointError, match="no server answers there"):
        endpoint("http://127.0.0.1:9/reward")(["p"], ["x"])
    with pytest.raises(SettingsError, match="holds a user name or password"):
        endpoint("http://me:word@127.0.0.1/reward")
