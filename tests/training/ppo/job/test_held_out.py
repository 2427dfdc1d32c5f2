from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_gpt2, tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.chat_lm import ChatTokenizer
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.records import INTERSECTION
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.training.ppo.job.held_out import Sampling, answer, measure, with_total, without_texts
from rlhf_fair.training.ppo.job.held_out_change import BeforeAfter, compared_attributes
from rlhf_fair.training.ppo.job.record_columns import LOG_RATIO
from rlhf_fair.training.ppo.job.run_files import JsonLines, by_group, scalars
from rlhf_fair.training.ppo.rewards.total import Part, RewardSum

PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["a", "b", "c"],
        "prompt": ["the dog", "what do you think about the old cat", "hi"],
        "asked": ["the dog", "what do you think about the old cat", "hi"],
        "gender": ["man", "woman", "woman"],
    }
)
SAMPLING = Sampling(max_new_tokens=5, temperature=0.7, samples=2, seed=4)


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_an_answer_depends_on_its_prompt_and_sample_alone(tokenizer: Any) -> None:
    model = tiny_language_model(tokenizer, initializer_range=0.3).eval()
    done: list[int] = []
    all_of_them = answer(model, tokenizer, PROMPTS, SAMPLING, on_done=done.append)
    assert sum(done) == len(all_of_them) == 6
    alone = answer(model, tokenizer, PROMPTS.iloc[[2]].reset_index(drop=True), SAMPLING)
    assert all_of_them["text"].tolist()[4:] == alone["text"].tolist()
    assert all_of_them["text"].nunique() > 3
    assert all_of_them[LOG_RATIO].isna().all()


def test_what_follows_the_end_of_a_turn_is_not_counted(tokenizer: Any) -> None:
    model = tiny_language_model(tokenizer, initializer_range=0.3).eval()
    whole = answer(model, tokenizer, PROMPTS, SAMPLING)
    end = whole["text"][0].split()[1]
    ends = frozenset({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)})
    ended = answer(model, ChatTokenizer(tokenizer, ends), PROMPTS, SAMPLING)
    for before, after in zip(whole.itertuples(), ended.itertuples(), strict=True):
        words = before.text.split()
        if end in words:
            assert after.text.split() == words[: words.index(end)]
            assert (after.length <= before.length, after.unfinished) == (True, 0.0)
        else:
            assert (after.length, after.unfinished) == (before.length, before.unfinished)
    assert ended["length"].sum() < whole["length"].sum()


def test_the_log_ratio_is_0_to_itself_and_known_to_a_uniform_reference(tokenizer: Any) -> None:
    """A reference whose head is all zeros gives every token 1 / vocabulary at any temperature."""
    model = tiny_gpt2(tokenizer, initializer_range=0.3)
    same = answer(model, tokenizer, PROMPTS, SAMPLING, reference=model)
    assert same[LOG_RATIO].to_numpy() == pytest.approx(0, abs=1e-4)
    uniform = tiny_language_model(tokenizer).eval()
    uniform.lm_head.weight.data.zero_()
    found = answer(model, tokenizer, PROMPTS, SAMPLING, reference=uniform)
    for row in found.itertuples():
        prompt = tokenizer(row.asked)["input_ids"]
        ids = [*prompt, *tokenizer(row.text)["input_ids"]]
        if not row.unfinished:
            ids.append(tokenizer.eos_token_id)
        if len(ids) - len(prompt) != row.length:
            continue  # a special token was drawn, which the text leaves out
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0] / 0.7, -1)
        total = sum(float(logprobs[at - 1, ids[at]]) + np.log(len(tokenizer)) for at in range(len(prompt), len(ids)))
        assert row.log_ratio == pytest.approx(total, abs=1e-3)


def test_a_pass_of_the_reference_holds_no_more_logits_than_may_be(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MiB is 20 positions of a vocabulary of 13,000: four answers of 5 tokens; a larger one leaves one at a time."""
    model, shapes = tiny_gpt2(tokenizer, initializer_range=0.3), []
    reference = tiny_gpt2(tokenizer, seed=1, initializer_range=0.3)
    reference.lm_head.register_forward_hook(lambda module, given, logits: shapes.append(logits.shape[:2]))
    expected = answer(model, tokenizer, PROMPTS, SAMPLING, reference=reference)[LOG_RATIO]
    assert shapes == [(6, 5)]
    monkeypatch.setattr(BatchLimits, "for_model", lambda model: BatchLimits(logits_mib=1))
    for vocabulary, most in ((13_000, 4), (300_000, 1)):
        shapes.clear()
        monkeypatch.setattr(reference.config, "vocab_size", vocabulary)
        found = answer(model, tokenizer, PROMPTS, SAMPLING, reference=reference)[LOG_RATIO]
        assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
        assert max(rows for rows, _ in shapes) == most
        assert sum(rows for rows, _ in shapes) == 6


def test_records_have_what_was_measured_and_no_texts(tokenizer: Any) -> None:
    answers = PROMPTS.assign(
        sample=0,
        text=["good dog", "I'm sorry, but I can't help.", "the cat"],
        length=2.0,
        unfinished=0.0,
        log_ratio=np.nan,
    )
    ruler = LexiconScorer("w", {"good": 1.0})
    reward = RewardSum([Part("words", lambda p, c, **_: [len(text.split()) for text in c])])
    records = measure(answers, PROMPTS, reward, {"score.warmth:w": ruler})
    assert records["refused"].tolist() == [0, 1, 0]
    assert records["score.warmth:w"].fillna(-9).tolist() == [1, -9, -9]  # nothing found is no score
    standard = RewardSum([Part("words", reward.parts[0].reward, 2.0, centre=2.0, spread=2.0)])
    kept = with_total(without_texts(records, ["gender"]), standard)
    assert kept["reward"].tolist() == [0.0, 4.0, 0.0]  # 2, 6 and 2 words
    assert set(kept) == {
        "prompt_id", "sample", "gender", "length", "unfinished", "log_ratio", "refused", "reward.words",
        "score.warmth:w", "reward",
    }  # fmt: skip


def test_rewards_see_the_columns_of_prompts_under_any_name(tokenizer: Any) -> None:
    ours = {"text": ["x", "y", "z"], "length": [7, 8, 9], "sample": [5, 6, 4], "reward.words": [-1.0, -2.0, -3.0]}
    prompts, seen = PROMPTS.assign(**ours), []

    def length(asked: Any, completions: Any, **columns: Any) -> list[int]:
        seen.append(columns)
        return columns["length"]

    answers = answer(tiny_language_model(tokenizer).eval(), tokenizer, prompts, SAMPLING)
    records = measure(answers, prompts, RewardSum([Part("length", length)]), {})
    twice = {name: [value for value in values for _ in range(2)] for name, values in ours.items()}  # two samples
    assert {name: seen[0][name] for name in ours} == twice
    assert seen[0]["gender"] == ["man"] * 2 + ["woman"] * 4
    kept = without_texts(records, ["gender"])
    assert kept["reward.length"].tolist() == twice["length"]
    assert kept["sample"].tolist() == [0, 1] * 3
    assert kept["length"].between(0, 5).all()
    assert not {"text", "reward.words"} & set(kept)


def two_sides(before: list[float], after: list[float], groups: list[str], twins: list[int]) -> BeforeAfter:
    ids = {"prompt_id": [f"p{k}" for k in range(len(before))], "sample": 0, "gender": groups, "twin": twins}
    sides = [pd.DataFrame(ids | {"reward": values}) for values in (before, after)]
    return BeforeAfter(sides[0], sides[1], (("gender", "man"),), ("twin",), 0.05)


def test_levels_gaps_and_who_moved_by_hand() -> None:
    """Men 5, 3 -> 4, 4; women 2, 2 -> 3, 2: the gap men less women goes from 2 to 1.5, by women's +.5."""
    both = two_sides([5, 2, 3, 2], [4, 3, 4, 2], ["man", "woman"] * 2, [0, 0, 1, 1])
    assert [both.level("reward")[side].estimate for side in ("start", "end", "change")] == [3.0, 3.25, 0.25]
    gap = both.gap("reward", "gender", "man")
    assert [gap[side].estimate for side in ("start", "end", "change")] == pytest.approx([2.0, 1.5, -0.5])
    moved = both.groups("reward", "gender")
    assert {group: level["change"].estimate for group, level in moved.items()} == {"man": 0.0, "woman": 0.5}
    start, end = both.ledger("reward", "reward", "fair_ppo")
    assert (start.stage, start.estimate, end.stage, end.estimate, end.change_from) == (
        "start", 2.0, "fair_ppo", pytest.approx(1.5), "start"
    )  # fmt: skip
    assert end.change == pytest.approx(-0.5)
    assert [(g.group, g.mean) for g in end.groups] == [("man", 4.0), ("woman", 2.5)]


def test_a_gap_that_turns_round_has_closed_by_what_is_left_and_its_interval_is_paired() -> None:
    """From +2 to -1 in every pair of twins, with noise that twins share: |gap| fell by 1."""
    rng = np.random.default_rng(0)
    shared, groups = np.repeat(rng.normal(0, 5, 40), 2), ["man", "woman"] * 40
    before = shared + rng.normal(0, 0.1, 80) + np.tile([2.0, 0.0], 40)
    after = shared + rng.normal(0, 0.1, 80) + np.tile([0.0, 1.0], 40)
    both = two_sides(before.tolist(), after.tolist(), groups, np.repeat(range(40), 2).tolist())
    change = both.gap("reward", "gender", "man")["change"]
    sizes = [abs((side.reshape(40, 2) @ [1.0, -1.0]).mean()) for side in (before, after)]
    assert change.estimate == pytest.approx(sizes[1] - sizes[0])
    assert change.ci_low < -1 < change.ci_high
    assert change.ci_high - change.ci_low < 0.3  # the shared noise of 5 cancels twice
    labels = pd.Series(groups)
    twins = [pd.Series(np.repeat(range(40), 2))]
    plain = contrast_estimate(after, labels, {"man": 1.0, "woman": -1.0}, clusters=twins, rates=False)
    found = both.gap("reward", "gender", "man")["end"]
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((plain.estimate, plain.ci_low, plain.ci_high))


def test_attributes_are_each_column_and_all_crossed() -> None:
    table = pd.DataFrame({"gender": ["man", "woman"] * 2, "age": ["old", "old", "young", "young"]})
    assert compared_attributes(table, ["gender"], {}) == (("gender", "man"),)
    found = compared_attributes(table, ["gender", "age"], {"age": "young"})
    assert found == (("gender", "man"), ("age", "young"), (f"gender{INTERSECTION}age", "man & young"))
    with pytest.raises(SettingsError, match=r"references.gender = 'men' is none of the held-out groups"):
        compared_attributes(table, ["gender"], {"gender": "men"})


def test_lines_beyond_a_step_and_half_lines_are_cut(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "curve.jsonl")
    assert file.rows() == []
    file.append([{"step": 1.0, "kl": float("nan")}, {"step": 2.0, "kl": 0.5}])
    file.append([{"step": 3.0, "kl": 0.7}])
    with file.path.open("a") as stream:
        stream.write('{"step": 4.0, "k')
    file.cut(2)
    assert [json.loads(line) for line in file.path.read_text().splitlines()] == [
        {"step": 1.0, "kl": None}, {"step": 2.0, "kl": 0.5}
    ]  # fmt: skip


def test_entries_of_groups_are_told_from_those_of_measures() -> None:
    row = {"step": 1.0, "gap": 0.2, "gap:refused": 0.1, "mean:man": 0.5, "refused:man": 0.0, "contrast:a": 1.0}
    assert by_group(row) == [{"step": 1.0, "group": "man", "mean": 0.5, "refused": 0.0}]
    assert scalars(row) == {"step": 1.0, "gap": 0.2, "gap:refused": 0.1, "contrast:a": 1.0}
