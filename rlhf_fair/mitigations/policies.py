"""What answers prompts: a language model, the best of several of its answers, or its answers under a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.models.causal_lm import CausalLM

Hear = Callable[[int], None]
Value = Callable[[pd.DataFrame, Sequence[str]], NDArray[np.float64]]
"""``value(prompts, answers) -> (n,)``: what an answer to the prompt in the same row is worth."""


class Policy(Protocol):
    """Anything that answers. ``prompts`` has prompt_id, prompt and the columns of the groups."""

    @property
    def draws(self) -> int:
        """How often a prompt is answered to give one answer, as far as ``hear`` is told of it."""
        ...

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[str]:
        """One answer for each row, in order; the same rows and seed give the same answers."""
        ...


@dataclass(frozen=True)
class ModelPolicy:
    """A causal language model that samples. An answer depends on its prompt_id and the seed alone."""

    model: CausalLM
    max_new_tokens: int
    temperature: float = 1.0
    draws: int = 1

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[str]:
        """Sampled answers."""
        completions = self.model.generate(
            prompts["prompt"].tolist(),
            prompts["prompt_id"].astype(str).tolist(),
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            temperature=self.temperature,
            on_batch=hear,
        )
        return [completion.text for completion in completions]


@dataclass(frozen=True)
class BestOfNPolicy:
    """The most valuable of ``n`` answers of ``inner``; the first of equals."""

    inner: Policy
    n: int
    value: Value

    @property
    def draws(self) -> int:
        """n, and as often what each answer takes."""
        return self.n * self.inner.draws

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[str]:
        """Answers drawn with n seeds, one chosen for each prompt."""
        return choose(self.draw(prompts, seed=seed, hear=hear), lambda texts: self.value(prompts, texts))

    def draw(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[list[str]]:
        """The n candidates for every prompt: n lists in the order of the prompts."""
        streams = np.random.SeedSequence(seed).generate_state(self.n)
        return [self.inner.answers(prompts, seed=int(stream), hear=hear) for stream in streams]


def choose(candidates: Sequence[Sequence[str]], value: Callable[[Sequence[str]], NDArray[np.float64]]) -> list[str]:
    """For each prompt the candidate of the highest value; ``candidates``: n lists in the order of the prompts.

    >>> choose([["a", "bbb"], ["aa", "b"]], lambda texts: np.array([float(len(text)) for text in texts]))
    ['aa', 'bbb']
    """
    best = np.stack([value(texts) for texts in candidates]).argmax(axis=0)
    return [candidates[k][row] for row, k in enumerate(best.tolist())]


@dataclass(frozen=True)
class FilteredPolicy:
    """Answers of ``inner`` that a rule accepts: others are drawn again, ``tries`` times in all, then ``fallback``.

    Where the rule accepts at last, the answer is a draw from the inner policy given that it is accepted (rejection
    sampling).
    """

    inner: Policy
    accepts: Callable[[Sequence[str]], NDArray[np.bool_]]
    tries: int
    fallback: str

    @property
    def draws(self) -> int:
        """The first try; how many follow, nobody knows."""
        return self.inner.draws

    def answers(self, prompts: pd.DataFrame, *, seed: int, hear: Hear | None = None) -> list[str]:
        """Accepted answers, or the fallback. The first try uses ``seed`` itself, so it is the inner policy's answer."""
        found = np.full(len(prompts), self.fallback, dtype=object)
        waiting = np.arange(len(prompts))
        again = np.random.SeedSequence(seed).generate_state(self.tries)
        for attempt in range(self.tries):
            stream, heard = (seed, hear) if attempt == 0 else (int(again[attempt]), None)
            drawn = self.inner.answers(prompts.iloc[waiting], seed=stream, hear=heard)
            accepted = self.accepts(drawn)
            found[waiting[accepted]] = np.asarray(drawn, dtype=object)[accepted]
            waiting = waiting[~accepted]
            if not len(waiting):
                break
        return [str(text) for text in found]
