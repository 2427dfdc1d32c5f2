"""The two learners behind one config: a fine-tuned network, and trees over frozen embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.loading import load_for_reward, resolve
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel, encode
from rlhf_fair.models.reward_scorer import RewardScorer
from rlhf_fair.models.tree_reward import TreeFacts, TreeReward, lightgbm, load_encoder
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.embedding_cache import CachedEmbeddings
from rlhf_fair.training.reward.group_balance import balanced_weights
from rlhf_fair.training.reward.mitigations import GroupBalance
from rlhf_fair.training.reward.objectives import Objective, mean_one
from rlhf_fair.training.reward.rows import GROUP_PREFIX, group_codes
from rlhf_fair.training.reward.task import Prepared, prepare
from rlhf_fair.training.reward.trainer import RewardRun, steps_of, train_reward_model
from rlhf_fair.training.reward.trees import EmbeddedRows, grow

Floats = NDArray[np.float64]

LEVEL_TEXTS = 1000

CHECKPOINT_NAME = "checkpoint.pt"
EMBEDDINGS_NAME = "embeddings"
"""What a stopped run leaves so that it can go on; both vanish with its end."""

Progress = Callable[[str, int, int], None]
"""Hears (what, done, total)."""


@dataclass(frozen=True)
class Rows:
    """Rows of both splits as they are learnt from; see `rlhf_fair.training.reward.rows`."""

    train: pd.DataFrame
    validation: pd.DataFrame


@dataclass(frozen=True)
class Workplace:
    """Where data and results lie, who hears of progress, and where a file is that the config names."""

    data_dir: Path
    out: Path
    progress: Progress
    find: Callable[[str], Path]


@dataclass(frozen=True)
class Learnt:
    """A reward model ready to score, what it was to learn, and what happened."""

    model: RewardScorer
    prepared: Prepared
    run: RewardRun


def learn(config: RewardConfig, rows: Rows, place: Workplace) -> Learnt:
    """Train the learner that the config names; a stopped call goes on."""
    return _learn_trees(config, rows, place) if config.learner == "trees" else _learn_network(config, rows, place)


def _learn_network(config: RewardConfig, rows: Rows, place: Workplace) -> Learnt:
    prepared = prepare(rows.train, config, place.find)
    source = resolve(config.model, place.data_dir)
    loaded = load_for_reward(source, seed=config.training.seed, heads=len(prepared.heads.names))
    declare_heads(loaded.model.config, prepared.heads)
    loaded.tokenizer.truncation_side = config.truncation_side
    n_steps = steps_of(prepared.n_rows, config.training)
    run = train_reward_model(
        loaded.model,
        loaded.tokenizer,
        prepared.task,
        config.training,
        on_step=lambda row: place.progress("training", int(row["step"]), n_steps),
        checkpoint=place.out / CHECKPOINT_NAME,
    )
    options: dict[str, Any] = {"max_length": config.training.max_length, "device": config.training.device}
    model = RewardModel(loaded.model, loaded.tokenizer, **options)
    if config.objective == "preference" and prepared.heads.kind in ("ensemble", "groups"):
        prepared = replace(prepared, heads=_on_one_level(model, prepared))
        declare_heads(loaded.model.config, prepared.heads)
        model = RewardModel(loaded.model, loaded.tokenizer, **options)
    return Learnt(model, prepared, run)


def _on_one_level(model: RewardModel, prepared: Prepared) -> RewardHeads:
    """Heads that have the same mean over training texts, of which at most `LEVEL_TEXTS` are read."""
    texts = [text for column in zip(*prepared.task.objective.columns, strict=True) for text in column]
    chosen = np.linspace(0, len(texts) - 1, min(len(texts), LEVEL_TEXTS)).astype(int)
    means = model.outputs([texts[k] for k in chosen]).mean(axis=0)
    return prepared.heads.model_copy(update={"offsets": tuple(float(m) for m in means - means.mean())})


def _learn_trees(config: RewardConfig, rows: Rows, place: Workplace) -> Learnt:
    """Read every text once, then grow. What was read survives a stop; the trees, which take seconds, do not."""
    lightgbm()  # where it is not installed, before any text is read
    started = time.perf_counter()
    source = resolve(config.model, place.data_dir)
    encoder = load_encoder(source, max_length=config.training.max_length, device=config.training.device)
    encoder.tokenizer.truncation_side = config.truncation_side
    digest = model_digest(source)
    embeds = CachedEmbeddings(encoder, place.out / EMBEDDINGS_NAME / "by-text.sqlite", digest)
    prepared = prepare(rows.train, config, place.find)
    objective = prepared.task.objective
    train = _embedded(objective, _tree_weight(rows.train, rows.train, config, objective), embeds, place.progress)
    validation = None
    if config.trees.early_stopping:
        if rows.validation.empty:
            raise RowError("trees.early_stopping needs texts in the validation split, there is none; set it to 0")
        held = prepare(rows.validation, config.model_copy(update={"mitigations": ()}), place.find).task.objective
        weight = _tree_weight(rows.validation, rows.train, config, held)
        validation = _embedded(held, weight, embeds, place.progress)
    rounds = config.trees.rounds
    grown = grow(train, validation, config.trees, on_round=lambda number: place.progress("growing", number, rounds))
    facts = TreeFacts(
        encoder=config.model if config.model.startswith("package:") else source,
        encoder_sha256=digest,
        max_length=encoder.max_length,
        truncation_side=config.truncation_side,
        best_round=grown.best_round,
        heads=prepared.heads,
    )
    cut = sum(_n_cut(encoder, column) for column in objective.columns)
    run = RewardRun(grown.curve, time.perf_counter() - started, len(grown.curve), cut)
    return Learnt(TreeReward(grown.booster, embeds, facts), prepared, run)


def _tree_weight(rows: pd.DataFrame, train: pd.DataFrame, config: RewardConfig, objective: Objective) -> Floats:
    """(n,) weights of mean 1, balanced if the config says so between the groups that training knows.

    The validation split is weighed like the training one, so that stopping looks at the loss that is learnt.
    """
    weight = objective.weight
    for m in config.mitigations:
        assert isinstance(m, GroupBalance), "the config lets no other pass"
        labels = GROUP_PREFIX + m.groups
        _, names = group_codes(train[labels], config.groups[m.groups].at_least)
        codes = pd.Index(names).get_indexer(pd.Index(rows[labels].astype("object"))).astype(np.int64)
        weight = balanced_weights(codes, objective.weight)
    return np.asarray(mean_one(weight, len(rows)), dtype=np.float64)


def _embedded(objective: Objective, weight: Floats, embeds: CachedEmbeddings, progress: Progress) -> EmbeddedRows:
    texts = [text for column in objective.columns for text in column]
    total, done = len(set(texts)), 0

    def heard(count: int) -> None:
        nonlocal done
        done += count
        progress("reading texts", done, total)

    return EmbeddedRows(objective, embeds.embeddings(texts, progress=heard), weight)


def _n_cut(encoder: Encoder, texts: Sequence[str]) -> int:
    """How many texts are longer than the encoder reads."""
    return sum(len(row) > encoder.max_length for row in encode(encoder.tokenizer, texts, encoder.max_length + 1))
