"""Contracts of OpenRLHF 0.11 and verl 0.8: how they load a reward file, call it, and take its answer apart."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlhf_fair.backends import openrlhf_reward, verl_reward
from rlhf_fair.backends.user_function import load_function
from rlhf_fair.backends.worker import (
    CONFIG_VARIABLE,
    AnswerSection,
    Sample,
    ShapingWorker,
    WorkerConfig,
    answer_in,
    worker,
)
from rlhf_fair.errors import ColumnError, MissingFileError, RlhfFairError, RowError, SettingsError
from rlhf_fair.settings import read_toml
from rlhf_fair.training.fairness import LocalStore
from tests.backends.test_group_store import FAIRNESS, KeptStatistics, serving

RULES = """
from dataclasses import dataclass

@dataclass
class Pays:
    word: str

def reward(prompts, completions, **columns):
    return [1.0 if Pays("good").word in text else 0.0 for text in completions]

def scorer(completions):
    return [float(text.split().count("good")) if text else float("nan") for text in completions]

def two(completions):
    return [1.0, 2.0]
"""
CONFIG = """
reward = "rules.py:reward"
scorer = "rules.py:scorer"

[fairness]
group_by = ["g"]
memory = 0.5
minimum_count = 2.0
strength = 3.0
floor_strength = 0.0

[store]
url = "{url}"
rows_per_step = 8
send_rows = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A config with a running store, for a process that knows of no other."""
    (tmp_path / "rules.py").write_text(RULES)
    worker.cache_clear()
    fairness = read_toml(written(tmp_path, "http://127.0.0.1:1"), WorkerConfig).fairness
    with serving(KeptStatistics(fairness, 8)) as server:
        yield written(tmp_path, server.url)
        for found in opened:
            found.store.store.close()  # type: ignore[attr-defined]
        opened.clear()
    worker.cache_clear()


opened: list[ShapingWorker] = []


@pytest.fixture(autouse=True)
def _remember_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ShapingWorker.__init__

    def remembered(self: ShapingWorker, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        if len(given) == 2:  # with a connection of its own
            opened.append(self)

    monkeypatch.setattr(ShapingWorker, "__init__", remembered)


def written(folder: Path, url: str) -> Path:
    (folder / "fair.toml").write_text(CONFIG.format(url=url))
    return folder / "fair.toml"


def loaded_as_openrlhf_does() -> Any:
    """From its path, as a module that nobody else can import."""
    found = importlib.util.spec_from_file_location("reward_func", openrlhf_reward.__file__)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def openrlhf_sample(reward_func: Any, query: str, prompt: str, label: str) -> tuple[float, float, dict[str, float]]:
    """One sample: called in a thread with lists of one, positionally; rewards become tensors of one number."""
    given = asyncio.run(asyncio.to_thread(reward_func, [query], [prompt], [label]))
    logs = {name: torch.tensor([value.flatten()[0].item()]) for name, value in given["extra_logs"].items()}
    rewards, scores = torch.tensor([given["rewards"]]), torch.tensor([given["scores"]])
    assert rewards.shape == scores.shape == (1,)
    return rewards.item(), scores.item(), {name: value.item() for name, value in logs.items()}


def verl_sample(compute_score: Any, solution: str, extra: dict[str, Any], **more: Any) -> dict[str, float]:
    """One sample: called with keywords from an executor's thread."""

    async def run() -> dict[str, float]:
        loop = asyncio.get_running_loop()
        named = {"data_source": "words", "solution_str": solution, "ground_truth": "", "extra_info": extra}
        return await loop.run_in_executor(None, lambda: compute_score(**named, **more))

    return asyncio.run(run())


def test_signatures_are_those_that_the_trainers_call() -> None:
    assert list(inspect.signature(openrlhf_reward.reward_func).parameters)[:3] == ["queries", "prompts", "labels"]
    names = list(inspect.signature(verl_reward.compute_score).parameters)[:4]
    assert names == ["data_source", "solution_str", "ground_truth", "extra_info"]
    assert not inspect.iscoroutinefunction(verl_reward.compute_score)


def test_openrlhf_gets_shaped_rewards_and_plain_scores(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group a is spoken of with two good words, b with none: the price of a is 3 (2 - 1) and s - mean is 0 or more."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    reward_func = loaded_as_openrlhf_does().reward_func
    for _ in range(30):
        for group, text in (("a", "good good"), ("b", "fine")):
            openrlhf_sample(reward_func, f"Hi {group}:{text}</s>", f"Hi {group}:", json.dumps({"g": group}))
    reward, score, logs = openrlhf_sample(reward_func, "Hi a:good good good", "Hi a:", json.dumps({"g": "a"}))
    assert score == 1.0
    assert logs["fair_score"] == 3.0
    assert logs["fair_gap"] == pytest.approx(1.0, abs=0.1)  # sd of 2 and 0, half of the samples each
    assert reward == pytest.approx(1.0 - 3.0 * (2.0 - 1.0) * (3.0 - 2.0), abs=0.4)
    assert logs["fair_penalty"] == pytest.approx(1.0 - reward, abs=1e-6)


def test_verl_gets_a_dict_with_the_same_numbers_for_every_sample(config: Path) -> None:
    rows = [
        verl_sample(verl_reward.compute_score, "good", {"g": "a", "split": "train", "index": 3}, config=str(config))
    ]
    rows.append(verl_sample(verl_reward.compute_score, "", {"g": None}, config=str(config), reward_router_address="x"))
    for name in rows[0]:
        assert np.array([row[name] for row in rows]).dtype == np.float64  # as verl stacks them
    assert set(rows[0]) == set(rows[1])
    assert rows[0]["score"] == 1.0  # one group so far: nothing to compare
    assert math.isnan(rows[1]["fair_score"])
    assert not {"reward", "acc"} & set(rows[0])  # verl's validation has numbers of its own under these names


def test_both_share_one_store_and_evaluation_enters_no_mean(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    openrlhf_sample(openrlhf_reward.reward_func, "Hi:good", "Hi:", '{"g": "a"}')
    verl_sample(verl_reward.compute_score, "good", {"g": "b"})
    assert worker().store.store.read().version == 2
    verl_sample(verl_reward.compute_score, "good", {"g": "b", "split": "test"})
    openrlhf_sample(openrlhf_reward.reward_func, "Hi:good", "Hi:", '{"g": "a", "split": "validation"}')
    assert worker().store.store.read().version == 2


BIASED = """
def reward(prompts, completions, **columns):
    signs = [1.0 if group == "man" else -1.0 for group in columns["g"]]
    return [sign * score for sign, score in zip(signs, scorer(completions))]

def scorer(completions):
    return [1.0 if text == "good" else 0.0 for text in completions]
"""


def test_a_policy_trained_on_streamed_rewards_finds_the_best_gap(tmp_path: Path) -> None:
    """REINFORCE on P(good | group), one sample a call as verl makes them, four answers to a prompt.

    E[r] = D / 2 and the penalty is 4 / 2 * D^2 / 4: D = 1/2 is best, and without a penalty it would be 1.
    """
    (tmp_path / "rules.py").write_text(BIASED)
    path = written(tmp_path, "http://127.0.0.1:1")
    path.write_text(path.read_text().replace("= 3.0", "= 4.0").replace("= 8", "= 64").replace("= 1\n", "= 8\n"))
    settings = read_toml(path, WorkerConfig)
    rng, logits, late = np.random.default_rng(0), {"man": 0.0, "woman": 0.0}, []
    with serving(KeptStatistics(settings.fairness, 64)) as server, server.client() as store:
        found = ShapingWorker(settings, tmp_path, store)
        for step in range(40):
            chances = {group: 1 / (1 + math.exp(-logit)) for group, logit in logits.items()}
            for group, chance in chances.items():
                good = rng.random((8, 4)) < chance
                answers = ["good" if one else "bad" for one in good.ravel()]
                shaped = [found.shape(Sample("", answer, {"g": group})).reward for answer in answers]
                rewards = np.array(shaped).reshape(good.shape)
                advantages = rewards - rewards.mean(axis=1, keepdims=True)
                logits[group] += 2.0 * float((advantages * (good - chance)).mean())
            late += [chances["man"] - chances["woman"]] if step >= 25 else []
    assert float(np.mean(late)) == pytest.approx(0.5, abs=0.15)


def test_threads_of_one_worker_lose_no_sample(config: Path) -> None:
    found = worker(str(config))

    def work(group: str) -> None:
        for _ in range(20):
            found.shape(Sample("p", "good", {"g": group}))

    threads = [threading.Thread(target=work, args=(group,)) for group in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.store.flush().steps == pytest.approx(80 / 8)


def test_a_failure_is_told_before_openrlhf_swallows_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    with pytest.raises(RowError, match="label 'x' is not JSON"), caplog.at_level(logging.ERROR):
        openrlhf_reward.reward_func(["q"], ["q"], ["x"])
    assert "the fair reward failed" in caplog.text
    with pytest.raises(RowError, match="no JSON object"):
        openrlhf_reward.reward_func(["q"], ["q"], ["3"])
    with pytest.raises(ColumnError, match="lacks column 'g'"):
        openrlhf_reward.reward_func(["qa"], ["q"], ['{"sex": "woman"}'])
    with pytest.raises(RowError, match=r"does not hold its prompt; set answer\.after"):
        openrlhf_reward.reward_func(["other text"], ["q?"], ['{"g": "a"}'])


def test_a_worker_without_config_says_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker.cache_clear()
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    with pytest.raises(SettingsError, match=rf"set \${CONFIG_VARIABLE} to the path"):
        worker()
    with pytest.raises(MissingFileError, match="backend config file not found"):
        worker(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("query", "section", "answer"),
    [
        ("Hi Ann: fine. </s>", {}, "fine."),
        ("Hi Ann: fine.<|im_end|>\n<|endoftext|>", {}, "fine."),
        ("<s> Hi Ann: Hi Ann: again", {}, "Hi Ann: again"),  # the prompt's first occurrence is the prompt
        ("<user>Hi Ann :<model>fine", {"after": "<model>"}, "fine"),
        ("Hi Ann:", {}, ""),
    ],
)
def test_the_answer_is_what_follows_the_prompt(query: str, section: dict[str, Any], answer: str) -> None:
    assert answer_in(query, "Hi Ann:", AnswerSection(**section)) == answer


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("rules.py", SettingsError, "allowed is 'file.py:name'"),
        ("rules.py:none", SettingsError, "rules.py has no function 'none'"),
        ("missing.py:reward", MissingFileError, "file of a function not found"),
        ("no_such_package.x:reward", SettingsError, "no module 'no_such_package'"),
    ],
)
def test_functions_that_are_not_there(tmp_path: Path, name: str, error: type[Exception], says: str) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    with pytest.raises(error, match=says):
        load_function(name, tmp_path)
    assert load_function("math:sqrt", tmp_path)(4.0) == 2.0


def test_functions_that_give_something_else(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    content = {"fairness": FAIRNESS, "store": {"url": "http://127.0.0.1:1", "rows_per_step": 8}}
    for scorer, says in (
        ("rules.py:two", r"scorer gave numbers of shape \(2,\)"),
        ("builtins:str", "scorer gave str"),
    ):
        given = WorkerConfig.model_validate({"reward": "rules.py:reward", "scorer": scorer} | content)
        with pytest.raises(RlhfFairError, match=says):
            ShapingWorker(given, tmp_path, store=LocalStore(0.5)).shape(Sample("p", "good", {"g": "a"}))
