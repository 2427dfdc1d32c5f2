"""Winogender as an audit: a causal model's likelier referent, or a file of any system's choices."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.winogender import (
    LIMIT,
    load_winogender,
    read_winogender_predictions,
    winogender_measured,
    winogender_records,
    winogender_requests,
)
from rlhf_fair.tables import Quarantined


class Winogender(Benchmark):
    """Nothing to set: every sentence is asked about once."""

    folder: str = "winogender"

    limit: ClassVar[str] = LIMIT
    predictions: ClassVar[str] = "item_id (upstream's sentid), choice (occupation or participant), optionally refused"
    clusters: ClassVar[tuple[str, ...]] = ("occupation",)

    def load(self, folder: Path) -> Quarantined:
        return load_winogender(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        return winogender_records(items, source.log_likelihoods(winogender_requests(items)))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_winogender_predictions(items, table)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return winogender_measured(records, alpha=alpha)
