"""From a config to a reward model on disk with its held-out quality: the whole of ``rlhf-fair train reward``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import (
    MANIFEST_NAME,
    make_folder,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    write_json,
    write_manifest,
)
from rlhf_fair.errors import MissingFileError, RowError, SettingsError
from rlhf_fair.models.loading import load_for_reward, resolve
from rlhf_fair.models.reward_heads import declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import write_table
from rlhf_fair.training.reward.config import FeedbackSource, RatingSource, RewardConfig
from rlhf_fair.training.reward.evaluation import is_constant, split_by_key
from rlhf_fair.training.reward.feedback import read_feedback
from rlhf_fair.training.reward.group_quality import group_predictions, group_quality
from rlhf_fair.training.reward.mitigations import Swaps
from rlhf_fair.training.reward.quality import evaluate
from rlhf_fair.training.reward.rows import single_judgements, split_rows
from rlhf_fair.training.reward.sources import Source, read_pairs, read_ratings
from rlhf_fair.training.reward.task import Prepared, prepare
from rlhf_fair.training.reward.trainer import RewardRun, steps_of, train_reward_model

METRICS_NAME = "metrics.json"
HELD_OUT_NAME = "held_out.parquet"
BY_GROUP_NAME = "held_out_by_group.parquet"
TEXT_COLUMNS = ["text", "text_a", "text_b", "key"]
CHECKPOINT_NAME = "checkpoint.pt"

Progress = Callable[[str, int, int], None]
"""Hears (what, done, total)."""


@dataclass(frozen=True)
class RewardJob:
    """Where the model lies, the content of ``metrics.json``, and whether an earlier run had already finished."""

    folder: Path
    metrics: dict[str, Any]
    already_done: bool


def train_reward(config_path: Path, data_dir: Path, out: Path, *, progress: Progress | None = None) -> RewardJob:
    """Train what ``config_path`` describes into ``out``; the same call resumes a stopped run, skips a finished one."""
    progress = progress or (lambda what, done, total: None)
    config = read_toml(config_path, RewardConfig, "training config")
    inputs = _inputs(config, config_path, data_dir)
    if (out / MANIFEST_NAME).is_file():
        if read_json(out / MANIFEST_NAME, "manifest")["inputs"] != inputs:
            raise SettingsError(f"{out} holds a run of another config or other data; delete it or choose another --out")
        return RewardJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=True)
    make_folder(out)
    sources = [_read(source, data_dir, config) for source in config.sources]
    items, excluded = split_items(sources, config)
    rejects = pd.concat([source.rejects for source in sources], ignore_index=True)
    write_table(out / "rejects.csv", rejects)

    find = partial(_find, config_path, data_dir)
    prepared = prepare(training_rows(items, sources, config, find), config, find)
    heads = prepared.heads
    loaded = load_for_reward(resolve(config.model, data_dir), seed=config.training.seed, heads=len(heads.names))
    declare_heads(loaded.model.config, heads)
    n_steps = steps_of(prepared.n_rows, config.training)
    run = train_reward_model(
        loaded.model,
        loaded.tokenizer,
        prepared.task,
        config.training,
        on_step=lambda row: progress("training", int(row["step"]), n_steps),
        checkpoint=out / CHECKPOINT_NAME,
    )
    model = RewardModel(loaded.model, loaded.tokenizer, max_length=config.training.max_length)
    held_out = predict(model, items[items["split"] != "train"], progress)
    metrics = _summary(config, items, sources, excluded, prepared, run)
    metrics |= evaluate(held_out, sources, seed=config.split.seed)
    if config.groups:
        by_group = group_predictions(items[items["split"] == "test"], held_out, sources, config, find)
        metrics["test_by_group"] = group_quality(by_group, list(config.groups), seed=config.split.seed)
        write_table(out / BY_GROUP_NAME, by_group.drop(columns=TEXT_COLUMNS, errors="ignore"))
    model.save(out)
    write_table(out / HELD_OUT_NAME, held_out.drop(columns=TEXT_COLUMNS, errors="ignore"))
    write_json(out / "training.json", _record(config, run).model_dump(mode="json"))
    write_json(out / METRICS_NAME, metrics)
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    write_manifest(out, inputs=inputs, seeds={"split": config.split.seed, "training": config.training.seed})
    return RewardJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=False)


def split_items(sources: list[Source], config: RewardConfig) -> tuple[pd.DataFrame, int]:
    """All items with ``split`` and, for ratings, ``target`` (see `rating_target`).

    Sources that hold nothing out lose the items whose text another source holds out; the second result counts them.
    """
    items = pd.concat([source.items for source in sources], ignore_index=True)
    holding = {source.name for source in config.sources if source.held_out}
    held = items["source"].isin(holding)
    if not held.any():
        raise SettingsError("no source holds texts out: at least one needs held_out = true")
    s = config.split
    items["split"] = "train"
    items.loc[held, "split"] = split_by_key(items.loc[held, "key"], validation=s.validation, test=s.test, seed=s.seed)
    leaks = ~held & items["key"].isin(items.loc[items["split"] != "train", "key"])
    items = items[~leaks].reset_index(drop=True)
    for part in ("train", "test"):
        if not (items["split"] == part).any():
            raise RowError(f"no item is left for the {part} split: {len(items)} items in all")
    if s.few is not None:
        train = items.index[items["split"] == "train"].to_numpy()
        kept = np.random.default_rng([s.seed, 3]).permutation(train)[: s.few]
        items = items[(items["split"] != "train") | items.index.isin(kept)].reset_index(drop=True)
    if "rating" in items:
        items["target"] = rating_target(items, items, config.target)
    return items, int(leaks.sum())


def rating_target(rows: pd.DataFrame, items: pd.DataFrame, target: str) -> pd.Series:
    """Ratings of ``rows`` standardised: less the mean and divided by the SD of the training ``items``' ratings.

    Over all sources together, or within each source.
    """
    result = pd.Series(0.0, index=rows.index)
    for name in sorted(items["source"].unique()) if target == "within_source" else ["all sources"]:
        every = target != "within_source"
        seen = items.loc[(items["split"] == "train") & (every | (items["source"] == name)), "rating"]
        if len(seen) < 2 or is_constant(seen):
            raise RowError(f"{name}: the training items all have the same rating, nothing can be learnt")
        place = rows.index[every | (rows["source"] == name)]
        result[place] = (rows.loc[place, "rating"] - seen.mean()) / seen.std()
    return result


def training_rows(
    items: pd.DataFrame, sources: list[Source], config: RewardConfig, find: Callable[[str], Path]
) -> pd.DataFrame:
    """The rows of the training split, with ``target`` where ratings are learnt."""
    train = items[items["split"] == "train"]
    single = single_judgements(config)
    rows = split_rows(train, sources, config, find, by_raters=config.learns_by_raters, single=single)
    if "rating" in rows:
        rows["target"] = rating_target(rows, items, config.target)
    return rows


def predict(model: RewardModel, items: pd.DataFrame, progress: Progress) -> pd.DataFrame:
    """``items`` with the model's ``prediction``; pairs become two rows, ``side`` a and b, with ``target`` p_a."""
    if "text" in items:
        long = items.assign(side="")
    else:
        a = items.assign(side="a", text=items["text_a"], target=items["p_a"])
        b = items.assign(side="b", text=items["text_b"], target=1 - items["p_a"])
        long = pd.concat([a, b], ignore_index=True)
    texts = long["text"].tolist()
    scores = model.score(texts, on_batch=lambda done: progress("scoring held-out texts", done, len(texts)))
    return long.assign(prediction=scores)


def _read(source: Any, data_dir: Path, config: RewardConfig) -> Source:
    if isinstance(source, RatingSource):
        return read_ratings(source, data_dir, config.panel)
    if isinstance(source, FeedbackSource):
        return read_feedback(source, data_dir)
    return read_pairs(source, data_dir)


def _inputs(config: RewardConfig, config_path: Path, data_dir: Path) -> dict[str, str]:
    """Hashes of config, data and base model."""
    paths = {source.path for source in config.sources}
    paths |= {s.texts.path for s in config.sources if isinstance(s, RatingSource) and s.texts is not None}
    for source in config.sources:
        if isinstance(source, FeedbackSource):
            paths |= {path for path in (source.items, source.annotators) if path is not None}
    if config.panel is not None:
        paths.add(config.panel.census)
    for path in sorted(paths):
        if not (data_dir / path).is_file():
            raise MissingFileError(data_dir / path, "data file", f"named in {config_path}, relative to --data-dir")
    base = resolve(config.model, data_dir)
    model = sha256_tree(Path(base)) if Path(base).is_dir() else sha256_bytes(base.encode())
    data = {f"data/{path}": sha256_file(data_dir / path) for path in sorted(paths)}
    swaps = [m for m in config.mitigations if isinstance(m, Swaps)]
    terms = {part.terms for part in [*swaps, *config.groups.values()] if part.terms is not None}
    data |= {f"terms/{path}": sha256_file(_find(config_path, data_dir, path)) for path in sorted(terms)}
    return {"config": sha256_file(config_path), "base_model": model, **data}


def _find(config_path: Path, data_dir: Path, name: str) -> Path:
    """A small file that comes with a config lies beside it; else it is one of the data files."""
    for path in (config_path.parent / name, data_dir / name):
        if path.is_file():
            return path
    raise MissingFileError(data_dir / name, "table of terms", f"named in {config_path}; not beside it either")


def _summary(
    config: RewardConfig,
    items: pd.DataFrame,
    sources: list[Source],
    excluded: int,
    prepared: Prepared,
    run: RewardRun,
) -> dict[str, Any]:
    counts = items.groupby(["source", "split"]).size().unstack(fill_value=0)
    return {
        "title": config.title,
        "objective": config.objective,
        **({"target": config.target} if "rating" in items else {}),
        "heads": prepared.heads.model_dump(mode="json"),
        "mitigations": [m.model_dump(mode="json") for m in config.mitigations],
        "base_model": config.model,
        "training_rows": prepared.n_rows,
        "rows_of_no_head": prepared.left_out,
        "settings": config.training.model_dump(mode="json"),
        "items": {str(name): {str(k): int(v) for k, v in row.items()} for name, row in counts.iterrows()},
        "left_out_same_text_as_held_out": excluded,
        "rows": {source.name: source.n_rows for source in sources},
        "rejects": {s.name: {str(k): int(v) for k, v in s.rejects["code"].value_counts().items()} for s in sources},
        "panel": {source.name: source.panel for source in sources if source.panel},
        "truncated_texts": run.truncated,
        "steps": run.steps,
        "seconds": round(run.seconds, 1),
    }


def _record(config: RewardConfig, run: RewardRun) -> TrainingRun:
    return TrainingRun(
        name=config.title,
        kind="reward",
        panel="census-weighted" if config.panel else "",
        steps=run.steps,
        seconds=run.seconds,
        curve=tuple(run.curve),
    )
