"""SEAT as an audit of an encoder: its own vectors, or a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.seat import LIMIT, seat_measured, seat_records, seat_texts
from rlhf_fair.probes.seat_files import load_seat
from rlhf_fair.probes.seat_vectors import read_vectors
from rlhf_fair.tables import Quarantined


class Seat(Benchmark):
    """``tests``: names of upstream's files without extension; none means all. ``draws``: of rearrangements, where not
    all of them can be counted."""

    folder: str = "seat"
    tests: tuple[str, ...] = ()
    draws: int = Field(9999, ge=99)

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "association_effect_size": (
            "Mean association of the first set of targets less that of the second, in standard deviations over all "
            "targets; a target's association is its mean cosine to the first attributes less that to the second. 0 = "
            "no association; between -2 and 2 for sets of equal size; above 0 = the first targets go with the first "
            "attributes (Caliskan et al. 2017; May et al. 2019)."
        ),
    }
    predictions: ClassVar[str] = "text, embedding (a list of numbers)"
    clusters: ClassVar[tuple[str, ...]] = ("word",)
    apart: ClassVar[str] = "test"

    def load(self, folder: Path) -> Quarantined:
        found = load_seat(folder)
        names = found.table["test"].unique()
        unknown = [name for name in self.tests if name not in names]
        if unknown:
            raise SettingsError(f"tests: {unknown[0]!r} is not in {folder}; allowed: {', '.join(names)}")
        chosen = found.table["test"].isin(self.tests or names)
        return Quarantined(found.table[chosen].reset_index(drop=True), found.rejects)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        texts = seat_texts(items)
        return seat_records(items, texts, source.embeddings(texts))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        texts = seat_texts(items)
        read = read_vectors(texts, table)
        records = seat_records(items, texts, read.vectors, read.problems)
        records.attrs["predictions_without_item"] = read.n_strangers
        return records

    def lean(self) -> Self:
        return self.model_copy(update={"draws": 99})

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return seat_measured(records, alpha=alpha, draws=self.draws, rng=rng)
