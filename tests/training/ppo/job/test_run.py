from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from forked import CAN_FORK, in_two_processes
from job_world import CONFIG, make_world
from tiny import tiny_gpt2, tiny_llama, tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlhf_fair.artifacts import read_results, verify_manifest
from rlhf_fair.errors import MissingFileError, ModelLoadError, RlhfFairError, RowError, SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.settings import read_toml
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.ppo.job import run as ppo_job
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.run import train_ppo
from rlhf_fair.training.ppo.job.run_files import RunFiles

LOGS = ("curve.jsonl", "groups.jsonl", "samples.jsonl")
SAMPLES = "\n[samples]\nevery = 2\nn = 3\n"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_whole_job(tmp_path: Path) -> None:
    config, out = make_world(tmp_path), tmp_path / "out"
    heard: list[tuple[float, int]] = []
    said: set[str] = set()
    notes: list[str] = []
    job = train_ppo(
        config,
        tmp_path,
        out,
        progress=lambda what, done, total: said.add(what),
        on_step=lambda row, steps: heard.append((row["step"], steps)),
        on_note=notes.append,
    )
    assert not job.already_done
    assert len(notes) == 1
    assert "2 of 2 groups of held-out prompts have fewer than 25 independent ones (gender: man: 3)" in notes[0]
    limits = read_results(out).audit["limits"]
    assert any(limit.startswith("2 of 2 groups of held-out prompts") for limit in limits)
    assert heard == [(float(step), 6) for step in range(1, 7)]
    assert said == {"held-out answers before training", "held-out answers after training"}
    verify_manifest(out)

    # equal texts stay on one side, and so do twins: 10 times two pairs, 3 of them held out, two answers to each prompt
    assert job.metrics["prompts"] == {
        "input": 40, "reported": 40, "excluded": 0, "unknown": 0, "train": 28, "held_out": 12
    }  # fmt: skip
    before, after = (pd.read_parquet(out / f"held_out_{side}.parquet") for side in ("start", "end"))
    assert len(before) == len(after) == 24
    assert before.groupby("twin_of")["gender"].nunique().eq(2).all()
    assert job.metrics["reward"]["end"]["estimate"] == pytest.approx(after["reward"].mean())
    change = (after["reward"] - before["reward"]).mean()
    assert job.metrics["reward"]["change"]["estimate"] == pytest.approx(change)
    assert job.metrics["kl"]["estimate"] == pytest.approx(after["log_ratio"].mean())
    assert before["log_ratio"].isna().all()

    # what was measured is what lies on disk: the saved policy gives the same answers to the same draws
    policy = CausalLM.load(out)
    prompts = pd.read_csv(tmp_path / "prompts.csv").set_index("prompt_id")["prompt"]
    ids = [f"{row.prompt_id}#{row.sample}" for row in after.itertuples()]
    texts = [prompts[str(row.prompt_id)] for row in after.itertuples()]
    answers = policy.generate(texts, ids, max_new_tokens=6, seed=3)
    kind = [
        a.text.split().count("kind") * (2 if who == "man" else 1)
        for a, who in zip(answers, after["gender"], strict=True)
    ]
    assert after["reward"].tolist() == kind
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(out).eos_token == "[EOS]"

    curve, groups = rows(out / "curve.jsonl"), rows(out / "groups.jsonl")
    assert [row["step"] for row in curve] == [1, 2, 3, 4, 5, 6]
    assert {(row["step"], row["group"]) for row in groups} == {(s, g) for s in range(1, 7) for g in ("man", "woman")}
    record = read_results(out).training.runs[0]
    assert record.steps == 6
    assert record.curve[2]["share:man"] == [row["share"] for row in groups if row["group"] == "man"][2]
    assert [row.stage for row in read_results(out).ledger] == ["start", "fair_ppo"]
    assert {entry["role"] for entry in job.metrics["gaps"]} == {"ruler used in training", "certifying", "outcome"}

    # no text of a prompt or an answer is written unless asked for
    for path in out.iterdir():
        if path.suffix in {".jsonl", ".parquet", ".csv"} or path.name in {"metrics.json", "results.json"}:
            assert b"the good man is" not in path.read_bytes(), path.name
    assert not (out / "samples.jsonl").exists()

    again = train_ppo(config, tmp_path, out)
    assert again.already_done
    assert again.metrics == job.metrics
    config.write_text(CONFIG.replace("strength = 5.0", "strength = 1.0"))
    with pytest.raises(SettingsError, match="holds a run of another config"):
        train_ppo(config, tmp_path, out)


def test_what_was_trained_makes_room_for_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is loaded to be trained, then once more as it was saved, and as the reference beside that."""
    load, loaded = CausalLM.load, list[Callable[[], Any]]()
    beside: list[int] = []

    def counted(*args: Any, **options: Any) -> CausalLM:
        beside.append(sum(model() is not None for model in loaded))
        policy = load(*args, **options)
        loaded.append(weakref.ref(policy.model))
        return policy

    monkeypatch.setattr(CausalLM, "load", counted)
    train_ppo(make_world(tmp_path), tmp_path, tmp_path / "out")
    assert beside == [0, 0, 1]


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def test_a_process_knows_its_device_before_it_loads_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded to "cuda" before each process has a GPU of its own, reward models would all be on the first."""
    load, seen = CausalLM.load, list[str]()

    def opened(name: str) -> torch.device:
        seen.append(f"open {name}")
        return torch.device("cpu", 0)

    def policy(source: str, device: str) -> CausalLM:
        seen.append(f"policy {device}")
        return load(source, device=device)

    def reward(*arguments: Any) -> None:
        seen.append(f"reward {arguments[-1]}")
        raise Killed

    monkeypatch.setattr(ppo_job, "open_device", opened)
    monkeypatch.setattr(CausalLM, "load", policy)
    monkeypatch.setattr(ppo_job, "open_part", reward)
    config = make_world(tmp_path, config=CONFIG.replace('device = "cpu"', 'device = "auto"'))
    with pytest.raises(Killed):
        train_ppo(config, tmp_path, tmp_path / "out")
    assert seen == ["open auto", "policy cpu:0", "reward cpu:0"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


def stopped(config: Path, out: Path, monkeypatch: pytest.MonkeyPatch, at: int, *, before_writing: bool) -> None:
    """A run killed at a step, before its lines are written or after; half a line is left in the file."""
    original = RunFiles.hear

    def hear(self: RunFiles, row: Mapping[str, Any], done: Any) -> dict[str, Any]:
        if before_writing and row["step"] == at:
            raise Killed
        return original(self, row, done)

    def on_step(row: Mapping[str, Any], steps: int) -> None:
        if row["step"] == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "hear", hear)
        with pytest.raises(Killed):
            train_ppo(config, config.parent, out, on_step=on_step)
    with (out / "curve.jsonl").open("a") as stream:
        stream.write('{"step": 99.0, "rew')


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints follow every second step. Killed between two, before the lines of a step were written, at the end."""
    config = make_world(tmp_path, config=CONFIG + SAMPLES)
    train_ppo(config, tmp_path, tmp_path / "whole")
    for at, before_writing in ((3, False), (4, True), (6, True), (6, False)):
        out = tmp_path / f"stopped-{at}-{before_writing}"
        stopped(config, out, monkeypatch, at, before_writing=before_writing)
        steps: list[float] = []
        train_ppo(config, tmp_path, out, on_step=lambda row, n, steps=steps: steps.append(row["step"]))
        assert steps == [float(step) for step in range(at // 2 * 2 + 1, 7)]
        for name in LOGS:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (at, name)
        expected, found = weights(tmp_path / "whole"), weights(out)
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        ours, theirs = (
            json.loads((f / "metrics.json").read_text()) | {"seconds": 0} for f in (out, tmp_path / "whole")
        )
        assert ours == theirs
        assert not {"checkpoint.pt", "begun.json", "start.json", "step.json"} & {p.name for p in out.iterdir()}


def test_what_a_run_goes_on_from_stays_until_the_manifest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just before the manifest, then just after it."""
    config, out = make_world(tmp_path, config=CONFIG.replace("steps = 6", "steps = 2")), tmp_path / "out"
    passing = {"checkpoint.pt", "begun.json", "start.json"}

    def die(*args: Any, **named: Any) -> None:
        raise Killed

    for name in ("seal", "clear"):
        with monkeypatch.context() as patch:
            patch.setattr(ppo_job, name, die)
            with pytest.raises(Killed):
                train_ppo(config, tmp_path, out)
        assert passing <= {path.name for path in out.iterdir()}
    steps: list[float] = []
    assert train_ppo(config, tmp_path, out, on_step=lambda row, n: steps.append(row["step"])).already_done
    assert not steps
    assert not passing & {path.name for path in out.iterdir()}
    verify_manifest(out)


def test_a_run_that_failed_before_its_first_answer_leaves_the_folder_to_another(tmp_path: Path) -> None:
    config, out = make_world(tmp_path), tmp_path / "out"
    config.write_text(CONFIG.replace("steps = 6", "steps = 1").replace('gender = "man" }', 'gender = "nobody" }'))
    with pytest.raises(SettingsError):
        train_ppo(config, tmp_path, out)
    assert (out / "begun.json").is_file()
    config.write_text(CONFIG.replace("steps = 6", "steps = 1"))
    assert not train_ppo(config, tmp_path, out).already_done


def test_a_stopped_run_is_not_taken_up_by_another_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = make_world(tmp_path), tmp_path / "out"
    stopped(config, out, monkeypatch, 3, before_writing=False)
    config.write_text(CONFIG.replace("steps = 6", "steps = 8"))
    with pytest.raises(SettingsError, match="holds a stopped run of another config"):
        train_ppo(config, tmp_path, out)


def test_a_run_that_exploded_goes_on_with_a_lower_learning_rate(tmp_path: Path) -> None:
    """From step 3 on, at the new rate: (1 - 2 / 6) of it, whatever rate the kept optimiser had."""
    high = CONFIG.replace("learning_rate = 5e-3", "learning_rate = 5e-3\nmax_grad_norm = 1e-30\n# too high")
    config, out, pay = make_world(tmp_path, config=high), tmp_path / "out", tmp_path / "pay.py"
    steady, left = pay.read_text(), tmp_path / "left"
    pay.write_text(f"from pathlib import Path\nLEFT = Path({str(left)!r})\n" + steady.replace(
        "    return [", "    if len(gender) == 16:\n        LEFT.write_text(LEFT.read_text()[1:])\n"
        "        if not LEFT.read_text():\n            return [float('inf')] * 16\n    return ["))  # fmt: skip
    left.write_text("...")
    with pytest.raises(RlhfFairError, match="gave inf"):
        train_ppo(config, tmp_path, out)
    left.write_text("." * 100)
    low = CONFIG.replace("learning_rate = 5e-3", "learning_rate = 1e-4")
    config.write_text(low.replace("seed = 3", "seed = 4"))
    with pytest.raises(SettingsError, match=r"may go on with another training\.learning_rate, max_grad_norm"):
        train_ppo(config, tmp_path, out)
    config.write_text(low)
    train_ppo(config, tmp_path, out)
    rates = [row["learning_rate"] for row in rows(out / "curve.jsonl")]
    assert rates == pytest.approx([5e-3, 5e-3 * 5 / 6, *(1e-4 * part / 6 for part in (4, 3, 2, 1))])
    assert "learning_rate = 1e-4" in (out / "config.toml").read_text()
    config.write_text(high)
    with pytest.raises(SettingsError, match="holds a run of another config"):  # what is finished is what it is
        train_ppo(config, tmp_path, out)


def test_samples_are_escaped_unless_raw_text_is_asked_for(tmp_path: Path) -> None:
    config = make_world(tmp_path, config=CONFIG.replace("steps = 6", "steps = 3") + SAMPLES)
    table = pd.read_csv(tmp_path / "prompts.csv")
    table.assign(prompt=table["prompt"] + " <b>").to_csv(tmp_path / "prompts.csv", index=False)
    train_ppo(config, tmp_path, tmp_path / "escaped")
    kept = rows(tmp_path / "escaped" / "samples.jsonl")
    assert [row["step"] for row in kept] == [1, 1, 1, 3, 3, 3]
    assert all(row["prompt"].endswith("&lt;b&gt;") for row in kept)
    config.write_text(config.read_text() + 'text = "raw"\n')
    train_ppo(config, tmp_path, tmp_path / "raw")
    assert all(row["prompt"].endswith(" <b>") for row in rows(tmp_path / "raw" / "samples.jsonl"))


def test_several_rewards_on_the_scale_of_the_start(tmp_path: Path) -> None:
    """Each standardised over the untrained policy's answers to prompts of training, not held-out ones."""
    more = """
[[rewards]]
kind = "scorer"
name = "length"
weight = -0.5
scale = "start"
unmeasured = -1.0
scorer = { quantity = "goodness", kind = "lexicon", file = "training.json" }
"""
    text = CONFIG.replace("[fairness]", more + "\n[fairness]").replace(
        '"pay.py:kindness"', '"pay.py:kindness"\nscale = "start"'
    )
    text = text.replace("steps = 6", "steps = 2")
    config, out = make_world(tmp_path, config=text), tmp_path / "out"
    train_ppo(config, tmp_path, out)
    before = pd.read_parquet(out / "held_out_start.parquet")
    table = opened(config, tmp_path / "out2").table.train
    ids = [f"{name}#0" for name in table["prompt_id"]]
    given = CausalLM.load(tmp_path / "policy").generate(table["prompt"].tolist(), ids, max_new_tokens=6, seed=3)
    words = [pd.Series(answer.text.split(), dtype=str) for answer in given]
    paid = {
        "kindness": [
            float((w == "kind").sum() * (1 + (who == "man"))) for w, who in zip(words, table["gender"], strict=True)
        ],
        # a lexicon's score is the mean weight of the phrases found; -1 (``unmeasured``) where there is none
        "length": [w.map({"kind": 1, "cruel": -1, "good": 0.5}).mean() for w in words],
    }
    start = pd.DataFrame(paid).fillna(-1.0)
    parts = {name: before[f"reward.{name}"] for name in ("kindness", "length")}
    scaled = {name: (x - start[name].mean()) / start[name].std() for name, x in parts.items()}
    assert before["reward"].to_numpy() == pytest.approx((scaled["kindness"] - 0.5 * scaled["length"]).to_numpy())
    assert {"reward_of:kindness", "reward_of:length"} <= rows(out / "curve.jsonl")[0].keys()


def test_without_a_penalty_groups_are_measured_all_the_same(tmp_path: Path) -> None:
    start, end = CONFIG.index("[fairness]"), CONFIG.index("[[certify]]")
    text = (CONFIG[:start] + CONFIG[end:]).replace("steps = 6", "steps = 2")
    job = train_ppo(make_world(tmp_path, config=text), tmp_path, tmp_path / "out")
    assert {entry["role"] for entry in job.metrics["gaps"]} == {"certifying", "outcome"}
    assert job.metrics["fairness"] is None
    assert not (tmp_path / "out" / "groups.jsonl").exists() or not rows(tmp_path / "out" / "groups.jsonl")
    assert read_results(tmp_path / "out").training.runs[0].name == "ppo"


def test_additions_of_low_rank_leave_a_plain_model(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tokenizer = tiny_tokenizer()
    text = CONFIG.replace("steps = 6", "steps = 2\nlora = { rank = 2, alpha = 4 }")
    config = make_world(tmp_path, config=text, model=tiny_gpt2(tokenizer, initializer_range=0.3))
    train_ppo(config, tmp_path, tmp_path / "out")
    names = {name for name, _ in AutoModelForCausalLM.from_pretrained(tmp_path / "out").named_parameters()}
    assert names == {name for name, _ in AutoModelForCausalLM.from_pretrained(tmp_path / "policy").named_parameters()}


def opened(config: Path, out: Path) -> ppo_job._Job:
    folders = Folders(config.parent, config.parent)
    return ppo_job._Job(read_toml(config, PPOConfig), folders, out, lambda what, done, total: None)


def test_a_chat_model_is_asked_in_its_template_and_the_reward_reads_the_table(tmp_path: Path) -> None:
    config = make_world(tmp_path, config=CONFIG.replace("steps = 6", "steps = 1"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    tokenizer.chat_template = (
        "{% for m in messages %}hi {{ m['content'] }} ?{% endfor %}{% if add_generation_prompt %} hello{% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "policy")
    (tmp_path / "pay.py").write_text(
        "def kindness(prompts, completions, **columns):\n"
        "    assert all(p.startswith('the ') for p in prompts)\n"
        "    return [0.0] * len(prompts)\n"
    )
    job = opened(config, tmp_path / "out")
    asked = job.table.train["asked"].tolist()
    assert all(text.startswith("hi the ") and text.endswith(" ? hello") for text in asked)
    train_ppo(config, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("path = \"prompts.csv\"", 'path = "absent.csv"'), MissingFileError, "absent.csv"),
        (("model = \"policy\"", 'model = "./nothing/here"'), ModelLoadError, "no such folder"),
        (("pay.py:kindness", "pay.py:absent"), SettingsError, r"no function 'absent'; has \['kindness'\]"),
        (("pay.py:kindness", "absent.py:kindness"), MissingFileError, "absent.py"),
        (('gender = "man"', 'gender = "men"'), SettingsError, r"'men' is none of .*\['man', 'woman'\]"),
        (("strength = 5.0", "strenght = 5.0"), SettingsError, "unknown key 'fairness.strenght'; allowed here: "),
        (('file = "certifying.json"', 'file = "training.json"'), SettingsError, "is used in training"),
        (('groups = ["gender"]', "groups = []\n"), SettingsError, "references: 'gender' is none of groups"),
        (("strength = 5.0", 'objective = "contrast"\nreference = "Man"'), SettingsError,
         r"fairness.reference: 'Man' is none of the groups .*\['man', 'woman'\]"),
        (("strength = 5.0", 'objective = "contrast"\ncontrasts = { gap = { man = 1, women = -1 } }'), SettingsError,
         r"fairness.contrasts.gap: 'women' is none of the groups .*\['man', 'woman'\]"),
        (("strength = 5.0", 'strata_by = ["gender"]'), SettingsError, "strata_by"),
        (("strength = 5.0", "strength = inf"), SettingsError, "fairness.strength = inf: "),
        (("learning_rate = 5e-3", "learning_rate = inf"), SettingsError, "training.learning_rate = inf: "),
        (("steps = 6", "steps = 6\nlora = { dropout = 0.1 }"), SettingsError, "lora.dropout = 0.1 would do nothing"),
        (("max_new_tokens = 6", "max_new_tokens = 64"), RowError, "no prompt is left .*; 40 rows: 40 too_long"),
    ],
)  # fmt: skip
def test_faults_are_one_clear_error(
    tmp_path: Path, change: tuple[str, str], error: type[Exception], message: str
) -> None:
    """And before the first step, not after the last."""
    config = make_world(tmp_path, config=CONFIG.replace(*change))
    with pytest.raises(error, match=message):
        train_ppo(config, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "curve.jsonl").exists()


def test_bounds_that_are_infinite_are_off(tmp_path: Path) -> None:
    """As the widest finite bounds: the same policy; files say "inf", which JSON has no number for."""
    for name, bound in (("off", "inf"), ("wide", "1e30")):
        text = CONFIG.replace("steps = 6", f"steps = 2\nvalue_clip_range = {bound}\nmax_grad_norm = {bound}")
        train_ppo(make_world(tmp_path, config=text), tmp_path, tmp_path / name)
    off, wide = weights(tmp_path / "off"), weights(tmp_path / "wide")
    assert all(torch.equal(off[name], wide[name]) for name in wide)
    settings = json.loads((tmp_path / "off" / "metrics.json").read_text())["settings"]
    assert (settings["value_clip_range"], settings["max_grad_norm"]) == ("inf", "inf")
    assert read_results(tmp_path / "off").audit["plan"]["training"] == settings


def test_a_critic_of_penalties_needs_a_penalty(tmp_path: Path) -> None:
    start, end = CONFIG.index("[fairness]"), CONFIG.index("[[certify]]")
    text = (CONFIG[:start] + CONFIG[end:]).replace("steps = 6", "steps = 6\nseparate_fairness_critic = true")
    with pytest.raises(SettingsError, match=r"separate_fairness_critic needs \[fairness\]"):
        train_ppo(make_world(tmp_path, config=text), tmp_path, tmp_path / "out")


def test_a_penalty_needs_two_groups_to_compare(tmp_path: Path) -> None:
    config = make_world(tmp_path)
    table = pd.read_csv(tmp_path / "prompts.csv")
    table[table["gender"] == "man"].to_csv(tmp_path / "prompts.csv", index=False)
    with pytest.raises(SettingsError, match=r"fairness compares groups of gender; prompts of training: \['man'\]"):
        train_ppo(config, tmp_path, tmp_path / "out")


def test_a_reward_that_breaks_names_its_line(tmp_path: Path) -> None:
    """It breaks on a batch of training, of 16, and not on held-out prompts; the run can go on."""
    config, pay = make_world(tmp_path), tmp_path / "pay.py"
    pay.write_text(
        pay.read_text().replace("    return", "    if len(gender) == 16:\n        raise ValueError('no')\n    return")
    )
    with pytest.raises(RlhfFairError, match=r"reward pay.py:kindness: ValueError: no \(line 6\)"):
        train_ppo(config, tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint.pt").is_file()


def test_the_critic_can_start_as_the_reward_model_on_its_scale(tmp_path: Path) -> None:
    save_reward(tmp_path / "rm")
    reward = 'kind = "model"\nmodel = "rm"\nseparator = " "\nweight = 2.0\nscale = "start"'
    text = CONFIG.replace('kind = "python"\nfunction = "pay.py:kindness"', reward).replace("steps = 6", "steps = 2")
    text = text.replace("seed = 3", 'seed = 3\ncritic = "reward model"')
    config = make_world(tmp_path, config=text)
    train_ppo(config, tmp_path, tmp_path / "out")
    before = pd.read_parquet(tmp_path / "out" / "held_out_start.parquet")
    # the same critic by hand: its values are 2 * (score - mean) / sd of what the reward model says at each position
    job = opened(config, tmp_path / "out2")
    (tmp_path / "out2").mkdir()
    job.start()
    critic, part = job._critic(), job.reward.parts[0]
    standard = 2 * (before["reward.rm"] - part.centre) / part.spread
    assert before["reward"].to_numpy() == pytest.approx(standard.to_numpy())
    assert critic is not None
    ids = torch.tensor([job.asks("the good man is kind")["input_ids"]])
    score = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")(ids[:, :-1]).logits.item()
    value = critic(ids, torch.ones_like(ids), 1).item()
    assert value == pytest.approx(2 * (score - part.centre) / part.spread, abs=1e-4)

    config.write_text(text.replace(reward, 'kind = "python"\nfunction = "pay.py:kindness"'))
    with pytest.raises(SettingsError, match="critic = 'reward model' needs a reward of kind 'model'"):
        train_ppo(config, tmp_path, tmp_path / "out3")


def save_reward(folder: Path) -> None:
    RewardModel(tiny_llama(), tiny_tokenizer(), device="cpu").save(folder)


def test_prompts_of_unknown_groups_train_without_a_penalty_and_are_counted(tmp_path: Path) -> None:
    words = 'derive = { gender = { kind = "words", words = { man = ["man"], woman = ["woman"] } } }\nunknown = "keep"'
    text = CONFIG.replace("[held_out]", words + "\n\n[held_out]").replace("steps = 6", "steps = 2")
    config = make_world(tmp_path, config=text)
    table = pd.read_csv(tmp_path / "prompts.csv").drop(columns="gender")
    neither = table["prompt"].str.replace(r"(wo)?man", "dog", regex=True)
    table["prompt"] = table["prompt"].mask(table["twin_of"] < 5, neither)
    table.to_csv(tmp_path / "prompts.csv", index=False)
    pay = (tmp_path / "pay.py").read_text()
    assert "gender" in pay  # the derived column reaches the reward too
    job = train_ppo(config, tmp_path, tmp_path / "out")
    assert {k: job.metrics["prompts"][k] for k in ("input", "reported", "excluded", "unknown")} == {
        "input": 40, "reported": 30, "excluded": 0, "unknown": 10
    }  # fmt: skip
    assert any(row["unknown"] > 0 for row in rows(tmp_path / "out" / "curve.jsonl"))
    gap = next(entry for entry in job.metrics["gaps"] if entry["measure"] == "reward")["gap"]["end"]
    after = pd.read_parquet(tmp_path / "out" / "held_out_end.parquet")
    assert gap["n_left_out"] == after["gender"].isna().sum() > 0


def test_a_tolerance_below_the_noise_is_refused_before_training(tmp_path: Path) -> None:
    multiplier = 'multiplier = { kind = "dual", tolerance = 0.001 }'
    config = make_world(tmp_path, config=CONFIG.replace("strength = 5.0", multiplier))
    with pytest.raises(SettingsError, match=r"multiplier.tolerance = 0.001 lies below the noise floor"):
        train_ppo(config, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "curve.jsonl").exists()


def gpt_neox(vocab_size: int) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=vocab_size, max_position_embeddings=64, **sizes, **ENDS))


def qwen2(vocab_size: int) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocab_size, intermediate_size=32, **sizes, **ENDS))


def gemma(vocab_size: int) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return GemmaForCausalLM(GemmaConfig(vocab_size=vocab_size, intermediate_size=32, head_dim=8, **sizes, **ENDS))


ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


@pytest.mark.parametrize("model", [gpt_neox, qwen2, gemma])
def test_other_architectures_work_unchanged(tmp_path: Path, model: Callable[[int], Any]) -> None:
    torch.manual_seed(0)
    # a ruler for any text: beside Qwen2, transformers opens a tokenizer that writes words without blanks between
    text = CONFIG.replace('kind = "lexicon", file = "training.json"', 'kind = "toxic terms"')
    text = text.replace("steps = 6", "steps = 2")
    config = make_world(tmp_path, config=text, model=model(len(tiny_tokenizer())))
    job = train_ppo(config, tmp_path, tmp_path / "out")
    assert job.metrics["kl"]["estimate"] is not None
    trained, before = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("out", "policy"))
    assert type(trained) is type(before)
    same = [torch.equal(a, b) for a, b in zip(trained.parameters(), before.parameters(), strict=True)]
    assert not any(same)


@pytest.mark.skipif(not CAN_FORK, reason="needs fork")
def test_two_processes_share_one_job_and_the_first_writes_it(tmp_path: Path) -> None:
    """Half the batch each; what they learn is what one learns from the whole, up to the order of additions."""
    text = CONFIG.replace("steps = 6", "steps = 3").replace("minibatch_size = 8", "minibatch_size = 16")
    config = make_world(tmp_path, config=text + SAMPLES)
    train_ppo(config, tmp_path, tmp_path / "one")
    in_two_processes(train_ppo, config, tmp_path, tmp_path / "two")
    verify_manifest(tmp_path / "two")
    one, two = ([*rows(tmp_path / run / "curve.jsonl")] for run in ("one", "two"))
    assert len(two) == 3
    for ours, theirs in zip(two, one, strict=True):
        for name in ("reward", "gap", "kappa", "refusals", "length"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) < 1e-3
