"""What a reward function in somebody else's worker process needs: its config, the user's functions, and the shaper.

The reward files of OpenRLHF and verl are thin: both hand their samples to the one `ShapingWorker` of the process.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rlhf_fair.backends.group_store import BufferedStore, HTTPStore
from rlhf_fair.backends.user_function import load_function
from rlhf_fair.errors import RlhfFairError, RowError, SettingsError
from rlhf_fair.settings import Settings, read_toml
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, GroupStore
from rlhf_fair.training.fairness.groups import ColumnGroups, strata_labels

CONFIG_VARIABLE = "RLHF_FAIR_BACKEND"
"""Environment variable with the path of the workers' config, where a trainer has no other way to name it."""

TRAIN = "train"

Floats = NDArray[np.float64]


class StoreSection(Settings):
    """``rows_per_step``: samples in one training step of the whole run, prompts times answers to each.

    A worker sends its sums once ``send_rows`` samples came together or ``send_s`` seconds went by.
    """

    url: str
    rows_per_step: int = Field(ge=1)
    send_rows: int = Field(8, ge=1)
    send_s: float = Field(5.0, gt=0)
    timeout_s: float = Field(5.0, gt=0)
    attempts: int = Field(5, ge=1)


class AnswerSection(Settings):
    """Where the answer stands in a text that holds prompt and answer, and which marks at its end are none of it.

    ``after``: the answer follows the last of this; empty: it follows the prompt.
    """

    after: str = ""
    end_marks: tuple[str, ...] = ("</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<eos>")


class WorkerConfig(Settings):
    """One file for the store and all workers. Functions are ``"file.py:name"``, beside this file, or ``"module:name"``.

    ``reward(prompts, completions, **columns)`` and ``scorer(completions)`` give a number for each text (NaN from the
    scorer: none), and so does ``refused(completions)``, 1 for a refusal. ``reference_means``: each group's mean score
    before training.
    """

    reward: str
    scorer: str
    refused: str = ""
    fairness: FairnessSettings = FairnessSettings()
    reference_means: dict[str, float] = Field(default_factory=dict)
    store: StoreSection
    answer: AnswerSection = AnswerSection()


@dataclass(frozen=True)
class Sample:
    """One answer and what is known of it; ``columns`` hold the group, and ``split`` if it is not for training."""

    prompt: str
    completion: str
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class ShapedSample:
    """reward: less the penalty; unshaped: before it. logs: finite or NaN numbers, the same names for every sample."""

    reward: float
    unshaped: float
    logs: dict[str, float]


LOGGED = ("gap", "noise_floor", "kappa", "version")
"""What of a curve's row every sample can tell; groups by name are in the store."""


class ShapingWorker:
    """Shapes single samples with the statistics of all workers; safe to use from several threads."""

    def __init__(self, config: WorkerConfig, folder: Path, store: GroupStore | None = None) -> None:
        self.config = config
        self.reward = load_function(config.reward, folder)
        self.scorer = load_function(config.scorer, folder)
        self.refused = load_function(config.refused, folder) if config.refused else None
        s = config.store
        if store is None:
            store = HTTPStore(s.url, timeout_s=s.timeout_s, attempts=s.attempts)
        self.store = BufferedStore(store, s.send_rows, s.send_s)
        self.shaper = FairnessShaper(config.fairness, config.reference_means, self.store)
        self._lock = threading.Lock()

    def shape(self, sample: Sample) -> ShapedSample:
        """The sample's reward less its penalty; a sample of another split than ``train`` enters no mean."""
        texts, columns = [sample.completion], {name: [value] for name, value in sample.columns.items()}
        rewards = _numbers("reward", self.reward([sample.prompt], texts, **columns))
        if not math.isfinite(rewards[0]):
            raise RlhfFairError(f"reward {self.config.reward} gave {rewards[0]}; a finite number is needed")
        scores = _numbers("scorer", self.scorer(texts))
        refused = None if self.refused is None else _numbers("refused", self.refused(texts))
        groups = ColumnGroups(self.config.fairness.group_by)((), columns)
        strata = strata_labels(columns, self.config.fairness.strata_by)
        with self._lock:  # scores and rewards are computed side by side, statistics one after the other
            if sample.columns.get("split", TRAIN) == TRAIN:
                shaped = self.shaper.shape(rewards, scores, groups, strata=strata, refused=refused)
            else:
                with self.shaper.frozen():
                    shaped = self.shaper.shape(rewards, scores, groups, strata=strata, refused=refused)
            stale = self.store.staleness_s
        logs = {name: shaped.metrics.get(name, math.nan) for name in LOGGED}
        logs |= {"penalty": float(shaped.penalties[0]), "score": float(scores[0]), "staleness_s": stale}
        return ShapedSample(float(shaped.rewards[0]), float(rewards[0]), logs)


def answer_in(query: str, prompt: str, section: AnswerSection) -> str:
    """The answer within a text that holds the prompt before it."""
    if section.after:
        _, found, answer = query.rpartition(section.after)
    else:
        _, found, answer = query.partition(prompt)
    if not found:
        what = f"answer.after = {section.after!r}" if section.after else "its prompt"
        raise RowError(f"a text of {len(query)} characters does not hold {what}; set answer.after to what precedes it")
    marks = list(section.end_marks)
    while ended := next((mark for mark in marks if answer.rstrip().endswith(mark)), None):
        answer = answer.rstrip().removesuffix(ended)
    return answer.strip()


@cache
def worker(path: str = "") -> ShapingWorker:
    """The worker of this process; ``path`` of its config, or what the environment names."""
    named = path or os.environ.get(CONFIG_VARIABLE, "")
    if not named:
        raise SettingsError(f"no config for the reward: set ${CONFIG_VARIABLE} to the path of a TOML file")
    file = Path(named)
    return ShapingWorker(read_toml(file, WorkerConfig, "backend config"), file.parent)


def _numbers(what: str, given: Any) -> Floats:
    try:
        numbers = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise RlhfFairError(f"{what} gave {type(given).__name__}, which is no sequence of numbers") from error
    if numbers.shape != (1,):
        raise RlhfFairError(f"{what} gave numbers of shape {numbers.shape} for one text; needed is (1,)")
    return numbers
