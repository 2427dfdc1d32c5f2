"""From a config to a reward model on disk with its held-out quality: the whole of ``rlhf-fair train reward``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import (
    MANIFEST_NAME,
    canonical_json,
    make_folder,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
)
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.dialogue import dialogue_text
from rlhf_fair.models.loading import load_tokenizer, resolve
from rlhf_fair.models.reward_scorer import RewardScorer
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import write_table
from rlhf_fair.training.reward.config import FeedbackSource, Raters, RatingSource, RewardConfig
from rlhf_fair.training.reward.feedback import read_feedback
from rlhf_fair.training.reward.group_quality import group_predictions, group_quality
from rlhf_fair.training.reward.learners import (
    CHECKPOINT_NAME,
    EMBEDDINGS_NAME,
    Learnt,
    Progress,
    Rows,
    Workplace,
    learn,
)
from rlhf_fair.training.reward.mitigations import Swaps
from rlhf_fair.training.reward.quality import evaluate, virtue_quality
from rlhf_fair.training.reward.rater_choice import as_judged_by, read_members
from rlhf_fair.training.reward.sources import Source, read_pairs, read_ratings
from rlhf_fair.training.reward.splits import rows_of, split_items
from rlhf_fair.training.reward.trainer import RewardRun

METRICS_NAME = "metrics.json"
HELD_OUT_NAME = "held_out.parquet"
BY_GROUP_NAME = "held_out_by_group.parquet"
TEXT_COLUMNS = ["text", "text_a", "text_b", "prompt", "response_a", "response_b", "key"]


@dataclass(frozen=True)
class RewardJob:
    """Where the model lies, the content of ``metrics.json``, and whether an earlier run had already finished."""

    folder: Path
    metrics: dict[str, Any]
    already_done: bool


def train_reward(
    config_path: Path,
    data_dir: Path,
    out: Path,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    members: Path | None = None,
    progress: Progress | None = None,
) -> RewardJob:
    """Train what ``config_path`` describes into ``out``; the same call resumes a stopped run, skips a finished one.

    ``only`` and ``members`` stand in for the config's ``[raters]``.
    """
    progress = progress or (lambda what, done, total: None)
    config = _with_raters(read_toml(config_path, RewardConfig, "training config"), only or {}, members)
    inputs = _inputs(config, config_path, data_dir)
    if (out / MANIFEST_NAME).is_file():
        if read_json(out / MANIFEST_NAME, "manifest")["inputs"] != inputs:
            raise SettingsError(f"{out} holds a run of another config or other data; delete it or choose another --out")
        return RewardJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=True)
    make_folder(out)
    sources = [_read(source, data_dir, config) for source in config.sources]
    items, excluded = split_items(sources, config)
    items = in_chat_form(items, config, data_dir)
    rejects = pd.concat([source.rejects for source in sources], ignore_index=True)
    write_table(out / "rejects.csv", rejects)

    find = partial(_find, config_path, data_dir)
    taught, teachers, without = items, sources, 0
    if not config.raters.all_are_heard:
        panel = None if config.raters.members is None else read_members(find(config.raters.members))
        taught, teachers, without = as_judged_by(config.raters.only, items, sources, panel)
    rows = Rows(*(rows_of(split, taught, teachers, config, find) for split in ("train", "validation")))
    learnt = learn(config, rows, Workplace(data_dir, out, progress, find))
    held_out = predict(learnt.model, items[items["split"] != "train"], progress)
    metrics = _summary(config, items, sources, excluded, learnt)
    if not config.raters.all_are_heard:
        metrics["raters"] = _teachers(config, teachers) | {"items_that_none_of_them_judged": without}
    metrics |= evaluate(held_out, sources, seed=config.split.seed)
    if learnt.model.heads.kind == "objectives":
        metrics["test_by_virtue"] = virtue_quality(held_out, learnt.model.heads)
    if config.groups:
        test = items[items["split"] == "test"]
        by_group = group_predictions(test, held_out, sources, config, find)
        metrics["test_by_group"] = group_quality(test, held_out, sources, config, find)
        write_table(out / BY_GROUP_NAME, by_group.drop(columns=TEXT_COLUMNS, errors="ignore"))
    learnt.model.save(out)
    write_table(out / HELD_OUT_NAME, held_out.drop(columns=TEXT_COLUMNS, errors="ignore"))
    record = _record(config, learnt.run, weighted=any(source.panel for source in sources))
    write_json(out / "training.json", record.model_dump(mode="json"))
    write_json(out / METRICS_NAME, metrics)
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    shutil.rmtree(out / EMBEDDINGS_NAME, ignore_errors=True)
    seed = config.trees.seed if config.learner == "trees" else config.training.seed
    seal(out, inputs=inputs, seeds={"split": config.split.seed, "training": seed})
    return RewardJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=False)


def _teachers(config: RewardConfig, teachers: Sequence[Source]) -> dict[str, Any]:
    """Whose judgements were learnt from, where not everybody's: as the config says it, and how many they are."""
    members = {"members": Path(config.raters.members).name} if config.raters.members else {}
    return {
        **config.raters.model_dump(mode="json", exclude={"members"}),
        **members,
        "people": {source.name: source.ratings["rater_id"].nunique() for source in teachers},
        "judgements": {source.name: len(source.ratings) for source in teachers},
    }


def in_chat_form(items: pd.DataFrame, config: RewardConfig, data_dir: Path) -> pd.DataFrame:
    """Pairs whose texts are dialogues in the model's chat template, where it has one and the config wants it."""
    if config.chat == "no" or "prompt" not in items:
        return items
    tokenizer = load_tokenizer(resolve(config.model, data_dir))
    if not tokenizer.chat_template:
        if config.chat == "yes":
            raise SettingsError(f"chat = 'yes': model {config.model} has no chat template")
        return items
    texts = {
        f"text_{side}": [
            dialogue_text(tokenizer, prompt, answer)
            for prompt, answer in zip(items["prompt"], items[f"response_{side}"], strict=True)
        ]
        for side in ("a", "b")
    }
    return items.assign(**texts)


def predict(model: RewardScorer, items: pd.DataFrame, progress: Progress) -> pd.DataFrame:
    """``items`` with the model's ``prediction``; pairs become two rows, ``side`` a and b, with ``target`` p_a.

    ``uncertainty`` is there where the heads know one. Where heads stand for virtues, ``head`` is the output of the one
    whose virtue was judged.
    """
    if "text" in items:
        long = items.assign(side="")
    else:
        a = items.assign(side="a", text=items["text_a"], target=items["p_a"])
        b = items.assign(side="b", text=items["text_b"], target=1 - items["p_a"])
        long = pd.concat([a, b], ignore_index=True)
    texts = long["text"].tolist()
    outputs = model.outputs(texts, on_batch=lambda done: progress("scoring held-out texts", done, len(texts)))
    long = long.assign(prediction=model.heads.reward(outputs), uncertainty=model.heads.uncertainty(outputs))
    if long["uncertainty"].isna().all():
        long = long.drop(columns="uncertainty")
    if model.heads.kind == "objectives":
        own = pd.Index(model.heads.names).get_indexer(pd.Index(long["virtue"]))
        long["head"] = np.where(own >= 0, outputs[np.arange(len(long)), own], np.nan)
    return long


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
    model = model_digest(resolve(config.model, data_dir))
    data = {f"data/{path}": sha256_file(data_dir / path) for path in sorted(paths)}
    swaps = [m for m in config.mitigations if isinstance(m, Swaps)]
    named = [part.terms for part in [*swaps, *config.groups.values()]] + [m.neutral for m in swaps]
    terms = {name for name in named if name is not None}
    data |= {f"terms/{path}": sha256_file(_find(config_path, data_dir, path)) for path in sorted(terms)}
    raters: dict[str, str] = {}
    if not config.raters.all_are_heard:
        raters["raters"] = sha256_bytes(canonical_json({"only": config.raters.model_dump(mode="json")["only"]}))
    if config.raters.members is not None:
        raters["members"] = sha256_file(_find(config_path, data_dir, config.raters.members))
    return {"config": sha256_file(config_path), "base_model": model, **raters, **data}


def _with_raters(config: RewardConfig, only: Mapping[str, Sequence[str]], members: Path | None) -> RewardConfig:
    """The config with the raters that a caller names."""
    update: dict[str, Any] = {"only": {name: tuple(levels) for name, levels in only.items()}} if only else {}
    if members is not None:
        update["members"] = str(members.resolve())
    return config.model_copy(update={"raters": Raters(**config.raters.model_dump() | update)}) if update else config


def _find(config_path: Path, data_dir: Path, name: str) -> Path:
    """A small file that comes with a config lies beside it; else it is one of the data files."""
    for path in (config_path.parent / name, data_dir / name):
        if path.is_file():
            return path
    raise MissingFileError(data_dir / name, "table", f"named in {config_path}; not beside it either")


def _summary(
    config: RewardConfig, items: pd.DataFrame, sources: list[Source], excluded: int, learnt: Learnt
) -> dict[str, Any]:
    prepared, run = learnt.prepared, learnt.run
    trees = {"trees": config.trees.model_dump(mode="json")} if config.learner == "trees" else {}
    counts = items.groupby(["source", "split"]).size().unstack(fill_value=0)
    return {
        "title": config.title,
        "objective": config.objective,
        "learner": config.learner,
        **({"target": config.target} if "rating" in items else {}),
        "heads": prepared.heads.model_dump(mode="json"),
        "mitigations": [m.model_dump(mode="json") for m in config.mitigations],
        "base_model": config.model,
        "training_rows": prepared.n_rows,
        "rows_of_no_head": prepared.left_out,
        "settings": trees or config.training.model_dump(mode="json"),
        "items": {str(name): {str(k): int(v) for k, v in row.items()} for name, row in counts.iterrows()},
        "left_out_same_text_as_held_out": excluded,
        "rows": {source.name: source.n_rows for source in sources},
        "rejects": {s.name: {str(k): int(v) for k, v in s.rejects["code"].value_counts().items()} for s in sources},
        "panel": {source.name: source.panel for source in sources if source.panel},
        "truncated_texts": run.truncated,
        "steps": run.steps,
        "seconds": round(run.seconds, 1),
    }


def _record(config: RewardConfig, run: RewardRun, *, weighted: bool) -> TrainingRun:
    return TrainingRun(
        name=config.title,
        kind="reward",
        panel="census-weighted" if weighted else "",
        steps=run.steps,
        seconds=run.seconds,
        curve=tuple(run.curve),
    )
