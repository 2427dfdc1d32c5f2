"""Answers to prompts that training never sees, and what rewards and rulers say of them; before and after training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.causal_lm import decode
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.models.sampling_check import check_sampling
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import ends_of, item_uniforms, pad_left, sample_tokens
from rlhf_fair.training.ppo.job.prompt_table import ASKED, prompt_batch
from rlhf_fair.training.ppo.job.record_columns import (
    LENGTH,
    LOG_RATIO,
    MEASURED,
    PREFIXES,
    REFUSED,
    REWARD,
    SAMPLE,
    TEXT,
    UNFINISHED,
)
from rlhf_fair.training.ppo.policy import reference_logprobs
from rlhf_fair.training.ppo.rewards.total import RewardSum


@dataclass(frozen=True)
class Sampling:
    """How held-out prompts are answered. ``samples``: answers to each prompt."""

    max_new_tokens: int
    temperature: float
    samples: int
    seed: int


def answer(
    model: Any,
    tokenizer: Any,
    prompts: pd.DataFrame,
    sampling: Sampling,
    *,
    reference: Any = None,
    on_done: Callable[[int], None] = lambda count: None,
) -> pd.DataFrame:
    """``prompts`` with `SAMPLE`, the answer's `TEXT`, its `LENGTH` in tokens, `UNFINISHED` and `LOG_RATIO`.

    These take the place of columns of the same names.

    The randomness of an answer depends on its prompt_id, its sample and the seed alone, so that two policies answer
    with the same luck. The log ratio (nats per answer, policy less ``reference``, at the sampling temperature) averages
    to the KL divergence; it is NaN without a reference. ``on_done`` hears how many answers each batch brought.
    """
    check_sampling(model)
    rows = prompts.loc[prompts.index.repeat(sampling.samples)].reset_index(drop=True)
    rows = rows.assign(**{SAMPLE: np.tile(np.arange(sampling.samples), len(prompts))})
    ids = (rows["prompt_id"].astype(str) + "#" + rows[SAMPLE].astype(str)).tolist()
    encoded = tokenizer(rows[ASKED].tolist())["input_ids"]
    order = sorted(range(len(rows)), key=lambda row: (len(encoded[row]), encoded[row]))
    found: dict[str, list[Any]] = {name: [None] * len(rows) for name in (TEXT, LENGTH, UNFINISHED, LOG_RATIO)}
    widths = [len(encoded[row]) + sampling.max_new_tokens for row in order]
    for batch in BatchLimits.for_model(model).runs(order, widths):
        answers = _batch(
            model, tokenizer, [encoded[row] for row in batch], [ids[row] for row in batch], sampling, reference
        )
        for row, values in zip(batch, zip(*answers, strict=True), strict=True):
            for name, value in zip(found, values, strict=True):
                found[name][row] = value
        on_done(len(batch))
    return rows.assign(**{name: pd.Series(values) for name, values in found.items()})


def _batch(
    model: Any, tokenizer: Any, encoded: list[list[int]], ids: list[str], sampling: Sampling, reference: Any
) -> tuple[list[str], list[float], list[float], list[float]]:
    """Texts, lengths, whether unfinished, and log ratios of one batch of answers."""
    device = input_device(model)
    prompt_ids, prompt_mask = (tensor.to(device) for tensor in pad_left(encoded, tokenizer.pad_token_id))
    sampled = sample_tokens(
        model,
        prompt_ids,
        prompt_mask,
        torch.from_numpy(item_uniforms(ids, sampling.max_new_tokens, sampling.seed)).to(device),
        eos_token_id=ends_of(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        temperature=sampling.temperature,
    )
    log_ratio = np.full(len(ids), np.nan)
    if reference is not None:
        mask = sampled.response_mask
        sequence = torch.cat([prompt_ids, sampled.tokens], dim=1)
        attention = torch.cat([prompt_mask, mask], dim=1)
        before = reference_logprobs(
            reference,
            sequence,
            attention,
            sampled.tokens,
            sampling.temperature,
            rows=_rows_at_once(reference, sampled.tokens.shape[1]),
        )
        log_ratio = ((sampled.logprobs - before) * mask).sum(-1).double().cpu().numpy()
    completions = decode(tokenizer, sampled)
    texts, lengths = [c.text for c in completions], [float(c.n_tokens) for c in completions]
    return texts, lengths, [float(not c.finished) for c in completions], log_ratio.tolist()


def _rows_at_once(model: Any, length: int) -> int:
    """Answers of ``length`` tokens whose logits one pass may hold; at least 1."""
    vocabulary = model.config.get_text_config().vocab_size
    return max(1, BatchLimits.for_model(model).most_logits(vocabulary) // length)


def measure(
    answers: pd.DataFrame, prompts: pd.DataFrame, reward: RewardSum, rulers: Mapping[str, ScoresQuality]
) -> pd.DataFrame:
    """``answers`` with `REFUSED`, one column for each ruler (NaN where it finds nothing) and ``reward.<label>``.

    Rewards get the columns of ``prompts`` as they do in training, whatever their names.
    """
    texts = answers[TEXT].tolist()
    asked = prompt_batch(prompts.set_index("prompt_id", drop=False).loc[answers["prompt_id"]])
    reward(asked.texts, texts, **asked.columns)
    parts = {f"{REWARD}.{label}": values for label, values in reward.latest.parts.items()}
    scores = {column: np.asarray(ruler.score(texts), dtype=float) for column, ruler in rulers.items()}
    answers = answers.drop(columns=[name for name in answers.columns if str(name).startswith(PREFIXES)])
    return answers.assign(**{REFUSED: is_refusal(texts).astype(float)}, **parts, **scores)


def with_total(records: pd.DataFrame, reward: RewardSum) -> pd.DataFrame:
    """`measure`'s records with the sum of the rewards on the scales that ``reward`` has now."""
    values = {part.label: records[f"{REWARD}.{part.label}"].to_numpy(dtype=float) for part in reward.parts}
    return records.assign(**{REWARD: reward.total(values)})


def without_texts(records: pd.DataFrame, kept: Sequence[str]) -> pd.DataFrame:
    """What may lie on disk: ids, the columns ``kept`` (groups, clusters), and what was measured."""
    measured = [name for name in records.columns if name in MEASURED or str(name).startswith(PREFIXES)]
    return records[list(dict.fromkeys(["prompt_id", SAMPLE, *kept, *measured]))]
