"""Choosing, filtering, blocking: what may come out of each policy, whatever goes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS, byte_pair_tokenizer, tiny_language_model

from rlhf_fair.mitigations.divergence import kl_samples
from rlhf_fair.mitigations.policies import BestOfNPolicy, FilteredPolicy, ModelPolicy, choose
from rlhf_fair.mitigations.rules import BlockedWordsPolicy, without_words, word_tokens
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_lm import ChatTokenizer

words = st.sampled_from(["good", "weak", "Weak", "weakness", "poor.", "poor-ish", "fine"])
sentences = st.lists(words, min_size=1, max_size=4).map(" ".join)


@dataclass
class Scripted:
    """Gives the listed answers: one list for each call, in turn."""

    script: list[list[str]]
    seeds: list[int] = field(default_factory=list)
    draws: int = 1

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: object = None) -> list[str]:
        self.seeds.append(seed)
        return self.script[len(self.seeds) - 1][: len(prompts)]


def prompts(n: int) -> pd.DataFrame:
    return pd.DataFrame({"prompt_id": [f"p{k}" for k in range(n)], "prompt": ["I am"] * n})


@given(st.integers(1, 5).flatmap(lambda rows: st.lists(st.lists(sentences, min_size=rows, max_size=rows), min_size=1)))
def test_the_best_of_n_is_one_of_them_and_none_is_worth_more(candidates: list[list[str]]) -> None:
    def worth(texts: Sequence[str]) -> np.ndarray:
        return np.array([float(len(text)) for text in texts])

    best = choose(candidates, worth)
    for row, text in enumerate(best):
        column = [texts[row] for texts in candidates]
        assert text == max(column, key=len)  # of equals the first, as max does


def test_candidates_have_streams_of_their_own() -> None:
    inner = Scripted([["a"], ["bbb"], ["cc"]])
    policy = BestOfNPolicy(inner, 3, lambda rows, texts: np.array([float(len(text)) for text in texts]))
    assert policy.answers(prompts(1), seed=5) == ["bbb"]
    assert len(set(inner.seeds)) == 3
    assert policy.draws == 3


@given(st.lists(st.lists(sentences, min_size=6, max_size=6), min_size=3, max_size=3))
def test_a_filter_never_lets_a_blocked_word_through(script: list[list[str]]) -> None:
    accepts = without_words(["weak", "poor"])
    policy = FilteredPolicy(Scripted(script), accepts, tries=3, fallback="nothing")
    answers = policy.answers(prompts(6), seed=1)
    assert accepts(answers).all()
    assert not any({"weak", "poor"} & set(text.lower().replace(".", " ").replace("-", " ").split()) for text in answers)
    first = accepts(script[0])
    assert [a for a, ok in zip(answers, first, strict=True) if ok] == [
        a for a, ok in zip(script[0], first, strict=True) if ok
    ]


def test_a_filter_tries_as_often_as_it_may_and_then_says_the_fallback() -> None:
    inner = Scripted([["weak", "fine"], ["weak"], ["good"], ["never asked"]])
    accepts = without_words(["weak"])
    assert FilteredPolicy(inner, accepts, tries=2, fallback="-").answers(prompts(2), seed=9) == ["-", "fine"]
    inner.seeds.clear()
    assert FilteredPolicy(inner, accepts, tries=4, fallback="-").answers(prompts(2), seed=9) == ["good", "fine"]
    assert inner.seeds[0] == 9  # so that what passes at once is what the inner policy says
    assert len(inner.seeds) == len(set(inner.seeds)) == 3


def test_no_rule_accepts_everything() -> None:
    assert without_words([])(["weak", ""]).all()


@pytest.fixture(scope="module")
def model() -> CausalLM:
    tokenizer = byte_pair_tokenizer()
    return CausalLM(tiny_language_model(tokenizer, initializer_range=0.5).eval(), tokenizer)


def test_blocked_words_are_not_said_in_their_usual_tokens(model: CausalLM) -> None:
    rows = prompts(64)
    free = BlockedWordsPolicy(model, (), 12).answers(rows, seed=0)
    said = pd.Series([token for ids in model.tokenizer(free)["input_ids"] for token in ids]).value_counts()
    texts = {model.tokenizer.decode([token]).strip().lower(): int(n) for token, n in said.items()}
    usual = [word for word in WORDS if texts.get(word, 0) > 3][:2]
    assert usual, "the model says no whole word; choose another"
    blocked = BlockedWordsPolicy(model, tuple(usual), 12)
    answers = blocked.answers(rows, seed=0)
    assert answers == blocked.answers(rows, seed=0)
    assert answers != free
    tokens = {ids[0] for ids in word_tokens(model.tokenizer, usual) if len(ids) == 1}
    assert not tokens & {token for ids in model.tokenizer(answers)["input_ids"] for token in ids}


def test_divergence_of_a_policy_from_itself_is_0(model: CausalLM) -> None:
    policy = ModelPolicy(model, 8)
    assert np.abs(kl_samples(policy, policy, prompts(20), seed=0)).max() < 1e-4


def test_divergence_counts_what_stands_before_any_end_of_an_answer(model: CausalLM) -> None:
    """Where every token ends a turn, answers have one token, whatever their limit."""
    other = CausalLM(tiny_language_model(model.tokenizer, seed=1, initializer_range=0.5).eval(), model.tokenizer)
    ended = CausalLM(model.model, ChatTokenizer(model.tokenizer, frozenset(range(len(model.tokenizer)))))
    found = kl_samples(ModelPolicy(ended, 8), ModelPolicy(other, 8), prompts(20), seed=0)
    assert found == pytest.approx(kl_samples(ModelPolicy(model, 1), ModelPolicy(other, 1), prompts(20), seed=0))


def test_divergence_against_all_next_tokens_enumerated(model: CausalLM) -> None:
    import torch

    other = CausalLM(tiny_language_model(model.tokenizer, seed=1, initializer_range=0.5).eval(), model.tokenizer)
    ids = torch.tensor(model.tokenizer(["I am"])["input_ids"])
    with torch.no_grad():
        p, q = (m.model(input_ids=ids).logits[0, -1].double().log_softmax(-1) for m in (model, other))
    exact = float((p.exp() * (p - q)).sum())
    drawn = kl_samples(ModelPolicy(model, 1), ModelPolicy(other, 1), prompts(4000), seed=0)
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / np.sqrt(len(drawn))
    assert exact > 0.1
