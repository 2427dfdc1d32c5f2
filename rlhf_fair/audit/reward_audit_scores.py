"""Rewards of the texts of the audit ``reward``: from a model, or from a file in which each text goes by its id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import sha256_file, sha256_tree
from rlhf_fair.audit.asking import Hear
from rlhf_fair.audit.reward_audit_items import Items
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.preference import within_prompt_sd
from rlhf_fair.probes import reward_pairs
from rlhf_fair.stats.columns import Floats
from rlhf_fair.tables import Column, Contract, read_validated, write_table

TEXTS_NAME = "texts.csv"
ID_LENGTH = 16
NO_PROMPTS = "the plan has no prompts with two answers, whose SD is the unit of a gap"
NO_SCORES = f"no scores: give --reward-model, or score {TEXTS_NAME} and give --predictions"
SCORES = Contract("scores", {"text_id": Column(), "score": Column("number", nullable=True)}, key=("text_id",))


@dataclass(frozen=True)
class Scores:
    """``rewards``: text -> reward, NaN where there is none. ``problems``: reason -> texts without a score."""

    rewards: dict[str, float]
    name: str
    inputs: dict[str, str]
    problems: dict[str, int]


@dataclass(frozen=True)
class Unit:
    """What one unit of a gap is, in raw reward, and over which texts it was taken.

    ``reason``: why no gap can be told in it; "" if it can.
    """

    sd: float
    over: str
    reason: str = ""


def text_id(text: str) -> str:
    """A text's name in a score file: the start of its SHA-256, so it is the same in every audit.

    >>> text_id("Hello")
    '185f8db32271fe25'
    """
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:ID_LENGTH]


def write_texts(path: Path, texts: Sequence[str]) -> None:
    """The texts to be scored: text_id, text."""
    write_table(path, pd.DataFrame({"text_id": [text_id(text) for text in texts], "text": list(texts)}))


def score_texts(target: Target, texts: Sequence[str], hear: Hear) -> Scores:
    """The rewards of ``texts``, in one pass of the model or from the file."""
    if target.reward_model is not None:
        return _from_model(target.reward_model, texts, hear)
    if target.predictions is not None:
        return _from_file(target.predictions, texts)
    return Scores(dict.fromkeys(texts, float("nan")), "none", {}, {NO_SCORES: len(texts)})


def with_rewards(items: Items, scores: Scores) -> pd.DataFrame:
    """The records: every row of every part with its rewards and lengths instead of its texts."""
    parts = [_scored(table, scores.rewards) for table in items.tables.values()]
    records = pd.concat(parts, ignore_index=True)
    absent = {"base_text_id": None, "base_reward": np.nan}  # where no part compares a text with another
    return records.assign(**{name: value for name, value in absent.items() if name not in records})


def reward_unit(records: pd.DataFrame, least_share: float = 0.0) -> Unit:
    """SD of the reward among answers to one prompt, told of the reference group; else over those texts at large.

    ``least_share``: where the first is a smaller share of the second, the model hardly tells answers to one prompt
    apart, and a gap in that unit would be large whatever it is: no gap is told.

    Raises
    ------
    SettingsError
        All texts have the same reward.
    """
    pairs = records[records["probe"] == reward_pairs.PROBE]
    if pairs.empty:
        return Unit(float("nan"), "no prompt with two answers is part of this plan", NO_PROMPTS)
    pairs = pairs.drop_duplicates("base_text_id")
    if not pairs["base_reward"].notna().any():
        return Unit(float("nan"), "nothing was scored")
    at_large = float(pairs["base_reward"].std())
    if not at_large > 0:
        raise SettingsError("every text has the same reward: nothing can be measured")
    sd = within_prompt_sd(pairs["base_reward"], pairs["prompt_id"] + "/" + pairs["attribute"] + "/" + pairs["term"])
    if np.isnan(sd):
        return Unit(
            at_large, "SD of the reward over the texts about the reference groups, for no prompt has two answers"
        )
    if sd == 0 or sd < least_share * at_large:
        reason = (
            f"the model hardly tells answers to one prompt apart: the reward's SD is {sd:.2g} between them and "
            f"{at_large:.2g} over all these texts, so any gap would be large in that unit"
        )
        return Unit(float("nan"), "SD of the reward between answers to the same prompt, which is too small", reason)
    return Unit(sd, "SD of the reward between answers to the same prompt, told of the reference groups")


def _scored(table: pd.DataFrame, rewards: dict[str, float]) -> pd.DataFrame:
    sides = {"text": "", "base_text": "base_"}
    found = table.drop(columns=[name for name in (*sides, "refused", "base_refused") if name in table])
    for column, prefix in sides.items():
        if column in table:
            found[f"{prefix}text_id"] = table[column].map(text_id)
            found[f"{prefix}reward"] = table[column].map(rewards).astype(float)
            found[f"{prefix}length"] = table[column].str.len()
    if "base_text" in table:
        found["length_difference"] = found["length"] - found["base_length"]
        refused = {name: table[name].astype(float) if name in table else 0.0 for name in ("refused", "base_refused")}
        found["refusal_difference"] = refused["refused"] - refused["base_refused"]
    return found


def _from_model(source: str, texts: Sequence[str], hear: Hear) -> Scores:
    from rlhf_fair.models.reward_scorer import open_reward  # loads torch

    model = open_reward(source)
    rewards: Floats = model.score(list(texts), on_batch=lambda done: hear("scoring texts", done, len(texts)))
    folder = Path(source)
    inputs = {"reward_model": sha256_tree(folder)} if folder.is_dir() else {}
    return _counted(dict(zip(texts, rewards.tolist(), strict=True)), folder.name, inputs, "the model gives no number")


def _from_file(path: Path, texts: Sequence[str]) -> Scores:
    read = read_validated(path, SCORES)
    duplicates = read.rejects[read.rejects["code"] == "duplicate"]
    if len(duplicates):
        raise RowError(f"{path}: {duplicates['message'].iloc[0]}")
    table = read.table
    known = dict(zip(table["text_id"], table["score"].astype(float), strict=True))
    rewards = {text: known.get(text_id(text), np.nan) for text in texts}
    if not any(text_id(text) in known for text in texts):
        raise RowError(f"{path} has a score for none of the {len(texts):,} texts of this audit; see {TEXTS_NAME}")
    return _counted(rewards, path.name, {"predictions": sha256_file(path)}, "no score in the file")


def _counted(rewards: dict[str, float], name: str, inputs: dict[str, str], problem: str) -> Scores:
    lost = sum(not np.isfinite(reward) for reward in rewards.values())
    return Scores(rewards, name, inputs, {problem: lost} if lost else {})
