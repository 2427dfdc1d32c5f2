"""From a config to a fine-tuned language model with its held-out perplexity: the whole of ``rlhf-fair train sft``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from rlhf_fair.artifacts import MANIFEST_NAME, make_folder, read_json, sha256_file, write_json
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_lm import ChatTokenizer, end_tokens
from rlhf_fair.models.chat_template import Chat
from rlhf_fair.models.loading import position_limit, quiet_transformers, resolve
from rlhf_fair.models.token_logprobs import token_logprobs
from rlhf_fair.records import Estimate, TrainingRun
from rlhf_fair.settings import Settings, read_toml
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.tables import write_table
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.demonstrations import (
    Demonstrations,
    DemonstrationSource,
    DemonstrationSplit,
    Reading,
    read_demonstrations,
)
from rlhf_fair.training.sft import SFTSettings, encode_pairs, train_causal_lm

CHECKPOINT_NAME = "checkpoint.pt"
METRICS_NAME = "metrics.json"
Progress = Callable[[str, int, int], None]
OnStep = Callable[[Mapping[str, Any], int], None]


class SFTConfig(Settings):
    """A whole job. The model is relative to ``--data-dir``; tables lie beside the config, or else there too.

    ``chat``: whether prompts and answers go through the model's chat template; auto: where it has one. ``max_length``
    (tokens; None: what the model's positions allow): longer rows are left out.
    """

    title: str
    model: str
    chat: Chat = "auto"
    seed: int = Field(0, ge=0)
    device: str = "auto"
    max_length: int | None = Field(None, ge=2)
    data: DemonstrationSource
    held_out: DemonstrationSplit = DemonstrationSplit()
    training: SFTSettings = SFTSettings()


@dataclass(frozen=True)
class SFTJob:
    """Where the model lies, the content of ``metrics.json``, and whether an earlier run had already finished."""

    folder: Path
    metrics: dict[str, Any]
    already_done: bool


def train_sft(
    config_path: Path,
    data_dir: Path,
    out: Path,
    *,
    progress: Progress | None = None,
    on_step: OnStep | None = None,
) -> SFTJob:
    """Train what ``config_path`` describes into ``out``; the same call resumes a stopped run, skips a finished one."""
    progress = progress or (lambda what, done, total: None)
    config = read_toml(config_path, SFTConfig, "training config")
    inputs = _inputs(config, config_path, data_dir)
    if (out / MANIFEST_NAME).is_file():
        if read_json(out / MANIFEST_NAME, "manifest")["inputs"] != inputs:
            raise SettingsError(f"{out} holds a run of another config or other data; delete it or choose another --out")
        return SFTJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=True)
    make_folder(out)
    policy = CausalLM.load(resolve(config.model, data_dir), device=config.device)
    chat = _uses_chat(config, policy.tokenizer)
    reading = Reading(policy.tokenizer, chat, config.max_length or position_limit(policy.model))
    rows = read_demonstrations(
        config.data, config.held_out, Folders(config_path.parent, data_dir), reading, seed=config.seed
    )
    write_table(out / "rejects.csv", rows.rejects)
    asks: Any = ChatTokenizer(policy.tokenizer, end_tokens(policy)) if chat else policy.tokenizer

    before = _likelihoods(policy.model, asks, rows.held_out, "before", progress)
    run = train_causal_lm(
        policy.model,
        asks,
        list(zip(rows.train["before"], rows.train["said"], strict=True)),
        config.training,
        seed=config.seed,
        name=config.title,
        on_step=None if on_step is None else lambda step, total, loss: on_step({"step": step, "loss": loss}, total),
        checkpoint=out / CHECKPOINT_NAME,
    )
    after = _likelihoods(policy.model, asks, rows.held_out, "after", progress)
    with quiet_transformers():
        policy.model.save_pretrained(out)
        policy.tokenizer.save_pretrained(out)
    kept = [*config.data.groups, *config.data.clusters]
    records = rows.held_out[kept].assign(tokens=before["tokens"], before=before["nats"], after=after["nats"])
    write_table(out / "held_out.parquet", records)
    write_json(out / METRICS_NAME, metrics(config, rows, records, run))
    write_json(out / "training.json", run.model_dump(mode="json"))
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    seal(out, inputs=inputs, seeds={"training": config.seed})
    return SFTJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=False)


def perplexity(
    nats: pd.Series,
    tokens: pd.Series,
    *,
    clusters: list[pd.Series],
    alpha: float,
    log_change_from: pd.Series | None = None,
) -> Estimate:
    """exp of the mean negative log-likelihood of an answer token: 1 = certain; no upper end; Jelinek et al. 1977.

    ``nats``: of whole answers of so many ``tokens``. The interval is that of the mean, clustered, on the log scale.
    ``log_change_from``: nats of the same answers under another model; the result then is the ratio of perplexities,
    1 = no change.
    """
    top = nats if log_change_from is None else nats - log_change_from
    mean = float(top.sum() / tokens.sum())
    # the delta method for a ratio of sums (Cochran 1977, section 2.11); tokens are at least 1, so the ratio is sound
    around = mean_estimate((top - mean * tokens) / tokens.mean(), clusters=clusters, rates=False, alpha=alpha)
    return Estimate(
        estimate=math.exp(mean),
        ci_low=math.exp(mean + around.ci_low),
        ci_high=math.exp(mean + around.ci_high),
        n=around.n,
        n_clusters=around.n_clusters,
        reason=around.reason,
    )


def metrics(config: SFTConfig, rows: Demonstrations, records: pd.DataFrame, run: TrainingRun) -> dict[str, Any]:
    """The content of metrics.json."""
    rejected = Counter(rows.rejects["code"].tolist())
    groups = {
        column: {
            str(group): _levels(records[records[column] == group], config) for group in sorted(records[column].unique())
        }
        for column in config.data.groups
    }
    return {
        "title": config.title,
        "base_model": config.model,
        "steps": run.steps,
        "seconds": round(run.seconds, 1),
        "rows": {"input": rows.n_rows, "train": len(rows.train), "held_out": len(rows.held_out)},
        "rejects": dict(sorted(rejected.items())),
        "left_out_same_prompt_as_held_out": rows.leaked,
        "settings": config.training.model_dump(mode="json"),
        "perplexity": _levels(records, config),
        "perplexity_by_group": groups,
    }


def _levels(records: pd.DataFrame, config: SFTConfig) -> dict[str, Any]:
    """Perplexity before, after, and the ratio of the two."""
    options: dict[str, Any] = {"clusters": [records[c] for c in config.data.clusters], "alpha": config.held_out.alpha}
    tokens, before, after = records["tokens"], records["before"], records["after"]
    found = {
        "start": perplexity(before, tokens, **options),
        "end": perplexity(after, tokens, **options),
        "ratio": perplexity(after, tokens, **options, log_change_from=before),
    }
    return {name: estimate.model_dump(mode="json") for name, estimate in found.items()}


def _likelihoods(model: Any, tokenizer: Any, rows: pd.DataFrame, when: str, progress: Progress) -> pd.DataFrame:
    """For each row the answer's negative log-likelihood (``nats``) and its number of tokens, the end among them."""
    pairs = encode_pairs(tokenizer, list(zip(rows["before"], rows["said"], strict=True)))
    done = 0

    def heard(finished: Any) -> None:
        nonlocal done
        done += len(finished)
        progress(f"held-out likelihoods {when} training", done, len(pairs))

    logprobs = token_logprobs(model, [ids for ids, _ in pairs], [max(n, 1) for _, n in pairs], on_done=heard)
    return pd.DataFrame({"nats": [-float(p.sum()) for p in logprobs], "tokens": [float(len(p)) for p in logprobs]})


def _uses_chat(config: SFTConfig, tokenizer: Any) -> bool:
    if config.chat == "yes" and not tokenizer.chat_template:
        raise SettingsError(f"chat = 'yes': model {config.model} has no chat template; allowed: auto or no")
    return config.chat != "no" and bool(tokenizer.chat_template)


def _inputs(config: SFTConfig, config_path: Path, data_dir: Path) -> dict[str, str]:
    """Hashes of config, data and base model."""
    found = {"config": sha256_file(config_path), "base_model": model_digest(resolve(config.model, data_dir))}
    folders = Folders(config_path.parent, data_dir)
    for name in filter(None, (config.data.path, config.held_out.path)):
        found[f"data/{name}"] = sha256_file(folders.find(name))
    return found
