"""Rule constraints on the answers of plain PPO: words it must not use, and answers that are drawn again.

Both know nothing of groups. Where a group gets unkind words more often, forbidding them helps it; a gap among the
remaining words stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.policies import FilteredPolicy, Hear, Policy
from rlhf_fair.mitigations.policy_optimisation import plain
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.token_sampling import pad_left
from rlhf_fair.tables import read_table

RULES_NAME = "rules.json"
BATCH = 256


def write_rules(kit: Kit, out: Path) -> None:
    """The words and the lowest score that pass, from the training scorer and the SFT policy's answers."""
    s = kit.settings.rules
    scores = kit.scorer.score(read_table(kit.made.pairs / "items.parquet")["response_a"].tolist())
    scores = scores[np.isfinite(scores)]
    lowest = float(np.quantile(scores, s.lowest_share)) if len(scores) else None
    write_json(
        out / RULES_NAME,
        {"blocked_words": lowest_words(kit.scorer, s.blocked_words, allowed=s.fallback), "lowest_score": lowest},
    )


def lowest_words(scorer: LexiconScorer, n: int, *, allowed: str = "") -> list[str]:
    """The ``n`` words with the lowest weights, of those that count against an answer and are not in ``allowed``.

    >>> lowest_words(LexiconScorer("x", {"poor": -1.0, "weak": -2.0, "good": 1.0}), 5)
    ['weak', 'poor']
    """
    ordered = sorted(scorer.phrases, key=lambda word: (scorer.phrases[word], word))
    return [word for word in ordered if scorer.phrases[word] < 0 and without_words([word])([allowed])[0]][:n]


def without_words(words: Sequence[str]) -> Callable[[Sequence[str]], NDArray[np.bool_]]:
    """A rule that accepts texts in which none of the words stands, whatever their case."""
    if not words:
        return lambda texts: np.ones(len(texts), dtype=bool)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)", re.IGNORECASE)
    return lambda texts: np.array([pattern.search(text) is None for text in texts], dtype=bool)


def at_least(scorer: LexiconScorer, lowest: float) -> Callable[[Sequence[str]], NDArray[np.bool_]]:
    """A rule that accepts texts whose score is not below ``lowest``; one without a score passes."""
    return lambda texts: ~(scorer.score(list(texts)) < lowest)


def blocked_words(kit: Kit, out: Path) -> Policy:
    """Plain PPO's model, whose next token is never the last one of a blocked word."""
    rules = read_json(out / RULES_NAME, "rules")
    policy = kit.model_policy(kit.trained("plain-ppo", plain))
    return BlockedWordsPolicy(policy.model, tuple(rules["blocked_words"]), policy.max_new_tokens, policy.temperature)


def response_filter(kit: Kit, out: Path) -> Policy:
    """Plain PPO's answers without blocked words and not below the lowest score; others are drawn again."""
    rules, s = read_json(out / RULES_NAME, "rules"), kit.settings.rules
    words, lowest = without_words(rules["blocked_words"]), rules["lowest_score"]
    score = at_least(kit.scorer, -np.inf if lowest is None else float(lowest))
    inner = kit.model_policy(kit.trained("plain-ppo", plain))
    return FilteredPolicy(inner, lambda texts: words(texts) & score(texts), s.tries, s.fallback)


@dataclass(frozen=True)
class BlockedWordsPolicy:
    """Sampling in which the tokens of ``words`` have no probability, by the rule of transformers' ``bad_words_ids``.

    A word spelled in other tokens than its usual ones can still slip through; `FilteredPolicy` lets none through.
    """

    model: CausalLM
    words: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 1.0
    draws: int = 1

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[str]:
        """Sampled answers; the same rows in the same order and seed give the same answers."""
        found = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for start in range(0, len(prompts), BATCH):
                found += self._batch(prompts["prompt"].tolist()[start : start + BATCH])
                if hear is not None:
                    hear(min(BATCH, len(prompts) - start))
        return found

    def _batch(self, prompts: list[str]) -> list[str]:
        tokenizer = self.model.tokenizer
        ids, mask = pad_left(tokenizer(prompts)["input_ids"], tokenizer.pad_token_id)
        sampled = self.model.model.generate(
            input_ids=ids,
            attention_mask=mask.long(),
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.max_new_tokens,
            bad_words_ids=word_tokens(tokenizer, self.words) or None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        answers: list[str] = tokenizer.batch_decode(sampled[:, ids.shape[1] :], skip_special_tokens=True)
        return answers


def word_tokens(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """The usual token ids of each word, as it stands within and at the start of a sentence; each sequence once."""
    forms = [form for word in words for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")]
    encoded = tokenizer(forms, add_special_tokens=False)["input_ids"] if forms else []
    return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in encoded) if ids]
