"""Answers in words: k sampled continuations per prompt, asked for or read from a file, with every failure counted.

Items have the columns item_id and prompt, and whatever a probe needs besides. Records have one row per item and
sample, in the order of the items: the item's columns, ``sample`` (0 to k - 1), ``text``, ``answered`` (an answer came),
``refused`` (it opens like a refusal) and ``problem`` ("", or why there is no answer: missing, duplicate).
`rlhf_fair.probes.generation_scores` adds scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.models.requests import Generation
from rlhf_fair.probes.likelihoods import DUPLICATE, MISSING
from rlhf_fair.tables import Column, Contract, Quarantined, Rule, as_numbers, require_columns, validate


def generation_requests(items: pd.DataFrame, n_samples: int = 1) -> list[Generation]:
    """``n_samples`` requests per item, next to each other; the id, which seeds the answer, ends in the sample's number.

    >>> [r.id for r in generation_requests(pd.DataFrame({"item_id": ["bold/1"], "prompt": ["The"]}), 2)]
    ['bold/1#0', 'bold/1#1']
    """
    _check_samples(n_samples)
    pairs = zip(items["item_id"], items["prompt"], strict=True)
    return [Generation(f"{item}#{sample}", prompt) for item, prompt in pairs for sample in range(n_samples)]


def generation_records(items: pd.DataFrame, answers: Sequence[str | None], n_samples: int = 1) -> pd.DataFrame:
    """Records from the answers to `generation_requests`, in that order; None is an answer that could not be had."""
    _check_samples(n_samples)
    if len(answers) != len(items) * n_samples:
        raise RowError(
            f"{len(answers)} answers for {len(items)} items with {n_samples} samples; "
            f"needs {len(items) * n_samples}, None where there is none"
        )
    records = items.loc[items.index.repeat(n_samples)].reset_index(drop=True)
    answered = np.array([answer is not None for answer in answers], dtype=bool)
    return records.assign(
        sample=np.tile(np.arange(n_samples), len(items)),
        text=pd.Series(list(answers), dtype="str"),
        answered=answered,
        refused=is_refusal([answer or "" for answer in answers]) & answered,
        problem=pd.Series(np.where(answered, "", MISSING), dtype="str"),
    )


def read_generations(items: pd.DataFrame, table: pd.DataFrame, n_samples: int = 1) -> Quarantined:
    """Records from a file of generations: rows with item_id, text and, if there are several, sample (from 0).

    Without ``sample`` an item's rows are its samples in the order of the file. Items and samples that the file lacks
    have no answer, as have rows whose text is missing, and samples with several rows: which of them was meant is not
    for us to guess. The column ``problem`` says which it was. Rows that cannot be used (an item that is unknown here, a
    sample beyond ``n_samples``, a second row for a sample) are among the rejects with their reason.
    """
    require_columns(table, ("item_id", "text"), "generations")
    _check_samples(n_samples)
    if "sample" not in table:
        table = table.assign(sample=table.groupby("item_id", dropna=False).cumcount())
    contract = Contract(
        "generations",
        {"item_id": Column(), "sample": Column("number", low=0, high=n_samples - 1)},
        key=("item_id", "sample"),
        rules=(Rule("sample", lambda rows: rows["sample"] % 1 != 0, "samples are numbered 0, 1, 2 …"),),
    )
    read = validate(table, contract, known={"item_id": items["item_id"].tolist()})
    given = {
        key: None if pd.isna(text) else str(text)
        for key, text in zip(_keys(read.table), read.table["text"], strict=True)
    }
    repeated = set(_keys(table.iloc[read.rejects.loc[read.rejects["code"] == "duplicate", "row"].astype(int) - 1]))
    asked = [(item, sample) for item in items["item_id"] for sample in range(n_samples)]
    answers = [None if key in repeated else given.get(key) for key in asked]
    records = generation_records(items, answers, n_samples)
    records.loc[[key in repeated for key in asked], "problem"] = DUPLICATE
    return Quarantined(records, read.rejects)


def refusal_rate(records: pd.DataFrame) -> float:
    """Share of the answers that came which open like a refusal; NaN without answers."""
    answered = records["answered"].astype(bool)
    return float(records.loc[answered, "refused"].mean()) if answered.any() else float("nan")


def _keys(table: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(table["item_id"], as_numbers(table["sample"]).astype(int), strict=True))


def _check_samples(n_samples: int) -> None:
    if n_samples < 1:
        raise SettingsError(f"n_samples is {n_samples}; allowed: 1 or more")
