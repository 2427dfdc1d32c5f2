"""Matched guise as an audit: what a causal model says of people who speak African American English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.probes.dialect import (
    LIMIT,
    PROMPTS,
    Attributes,
    dialect_measured,
    dialect_records,
    dialect_requests,
    load_attributes,
    load_dialect,
    read_dialect_predictions,
)
from rlhf_fair.probes.measured import Measured
from rlhf_fair.tables import Quarantined

ListName = Literal["katz", "occupations", "guilt", "penalty"]


class Dialect(Benchmark):
    """``attributes``: lists of words that are said of a speaker. ``pairs``: the file of statements in two dialects.

    An item is one statement with one word, so that every item is one record.
    """

    folder: str = "dialect-prejudice"
    pairs: str = "habitual"
    attributes: tuple[ListName, ...] = Field(("guilt", "penalty", "katz"), min_length=1)

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "dialect_association": (
            "Log probability of a word for a speaker after a statement in African American English, less that after "
            "the same statement in Standard American English, averaged over prompts. Nats; 0 = the dialect says "
            "nothing, above 0 = the word goes with African American English (Hofmann et al. 2024)."
        ),
        "dialect_log_odds_ratio": (
            "Association of the harsher word (convicted, death) with African American English less that of its "
            "opposite: the log odds ratio of the harsher outcome between the dialects. Nats; 0 = the dialect does not"
            " matter, above 0 = speakers of African American English are judged more harshly (Hofmann et al. 2024)."
        ),
    }
    predictions: ClassVar[str] = "id (dialect/LIST/PAIR/PROMPT/WORD/aae or sae), total, n_tokens"
    key: ClassVar[tuple[str, ...]] = ("item_id", "attributes", "attribute")
    clusters: ClassVar[tuple[str, ...]] = ("verb",)

    def load(self, folder: Path) -> Quarantined:
        pairs = load_dialect(folder, self.pairs)
        words = [(name, word) for name in self.attributes for word in load_attributes(folder, name).words]
        asked = pd.DataFrame(words, columns=["attributes", "attribute"], dtype="str")
        return Quarantined(asked.merge(pairs.table, how="cross"), pairs.rejects)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        records = []
        for pairs, attributes in _lists(items):
            answers = source.log_likelihoods(dialect_requests(pairs, attributes))
            records.append(dialect_records(pairs, answers, attributes))
        return pd.concat(records, ignore_index=True)

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        records = [read_dialect_predictions(pairs, table, attributes) for pairs, attributes in _lists(items)]
        return pd.concat(records, ignore_index=True)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return dialect_measured(records, alpha=alpha)


def _lists(items: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, Attributes]]:
    """The statements that go with each list of words, and the list."""
    for name, rows in items.groupby("attributes", sort=False):
        words = tuple(rows["attribute"].unique())
        yield rows.drop_duplicates("item_id"), Attributes(str(name), words, PROMPTS[str(name)])
