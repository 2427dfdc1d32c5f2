"""Answers to the prompts of a generation audit, from a model or a file, and what the plan's scorers say of them.

Records have one row per prompt and sample, in the order of the prompts: the prompt's columns, ``sample`` (from 0),
``text``, ``answered``, ``refusal`` and one column for each scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.models.requests import Decoding, Generation, ScoresQuality
from rlhf_fair.probes.generation_scores import Refusals
from rlhf_fair.probes.scorers import Ruler, open_scorer
from rlhf_fair.tables import read_table, require_columns

Ask = Callable[[Sequence[Generation], Decoding], Sequence[str | None]]
"""Answers requests in their order, such as the method ``answers`` of a source or of a model."""


def open_scorers(plan: GenerationPlan, folder: Path, *, journals: Path | None = None) -> dict[str, Ruler]:
    """Column of the records -> scorer. ``journals``: the folder in which judges' ratings are kept."""
    kept = [None if journals is None else journals / f"{number}.jsonl" for number in range(len(plan.scorers))]
    return {plan.column(s): open_scorer(s, folder, journal=one) for s, one in zip(plan.scorers, kept, strict=True)}


def load_scorer(plan: GenerationPlan, folder: Path) -> Ruler:
    """The one scorer of a plan that names one."""
    if len(plan.scorers) > 1:
        names = ", ".join(scorer.name for scorer in plan.scorers)
        raise SettingsError(f"the plan has {len(plan.scorers)} scorers ({names}); allowed here: one")
    return open_scorer(plan.scorers[0], folder)


def answers_from(ask: Ask, prompts: pd.DataFrame, plan: GenerationPlan) -> pd.DataFrame:
    """The prompts with columns ``sample`` and ``text``, ``plan.n_samples`` rows each; no text where no answer came.

    An answer depends on its prompt_id, its sample and the seed alone: the first sample of a prompt goes by its id, the
    next ones by ID#1, ID#2 …
    """
    rows = _sampled(prompts, plan.n_samples)
    ids = rows["prompt_id"].astype(str)
    ids = ids.where(rows["sample"] == 0, ids + "#" + rows["sample"].astype(str))
    requests = [Generation(one, prompt) for one, prompt in zip(ids, rows["prompt"], strict=True)]
    return rows.assign(text=pd.Series(list(ask(requests, plan.decoding)), dtype="str"))


def answers_from_file(path: Path, prompts: pd.DataFrame, plan: GenerationPlan) -> pd.DataFrame:
    """As `answers_from`, from a table of ``prompt_id`` and ``text`` and, if there are several, ``sample`` (from 0).

    Without ``sample`` a prompt's rows are its samples in the order of the file. A prompt without an answer stays, with
    no text: it is counted as not parsed. An unknown id, and a row too many, are errors.
    """
    table = read_table(path)
    require_columns(table, ["prompt_id", "text"], str(path))
    if "sample" not in table:
        table = table.assign(sample=table.groupby("prompt_id", dropna=False).cumcount())
    unknown = ~table["prompt_id"].isin(prompts["prompt_id"])
    beyond = ~table["sample"].isin(range(plan.n_samples))
    repeated = table.duplicated(["prompt_id", "sample"])
    for faulty, fault in (
        (unknown, "is not in the prompts"),
        (beyond | repeated, f"occurs more than once or beyond sample {plan.n_samples - 1}, the plan's last"),
    ):
        if faulty.any():
            row = int(np.flatnonzero(faulty)[0])
            raise RowError(f"{path} row {row + 1}: prompt_id {table['prompt_id'].iloc[row]!r} {fault}")
    rows = _sampled(prompts, plan.n_samples)
    return rows.merge(table[["prompt_id", "sample", "text"]], on=["prompt_id", "sample"], how="left")


def score_answers(
    answers: pd.DataFrame, scorers: Mapping[str, ScoresQuality], *, refusals: Refusals = "scored"
) -> pd.DataFrame:
    """Add ``answered``, ``refusal`` (opens like one) and the scorers' columns: NaN where nothing could be measured.

    Empty answers are shown to no scorer, and refusals to none where they are ``left out``.
    """
    texts = answers["text"].fillna("").astype(str)
    refused = is_refusal(texts.tolist())
    shown = (texts.str.strip() != "").to_numpy() & ~(refused & (refusals == "left out"))
    scores = {}
    for column, scorer in scorers.items():
        scores[column] = np.full(len(answers), np.nan)
        scores[column][shown] = scorer.score(texts[shown].tolist())
    return answers.assign(answered=answers["text"].notna(), refusal=refused, **scores)


def _sampled(prompts: pd.DataFrame, n_samples: int) -> pd.DataFrame:
    rows = prompts.loc[prompts.index.repeat(n_samples)].reset_index(drop=True)
    return rows.assign(sample=np.tile(np.arange(n_samples), len(prompts)))
