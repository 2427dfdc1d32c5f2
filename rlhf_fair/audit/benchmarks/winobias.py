"""WinoBias as an audit: a causal model's likelier referent, or a file of any system's choices."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.winobias import (
    LIMIT,
    load_winobias,
    read_winobias_predictions,
    winobias_measured,
    winobias_records,
    winobias_requests,
)
from rlhf_fair.tables import Quarantined


class WinoBias(Benchmark):
    """Nothing to set: both types, both splits."""

    folder: str = "winobias"

    limit: ClassVar[str] = LIMIT
    predictions: ClassVar[str] = "item_id (SIDE.typeTYPE.SPLIT.LINE), choice (entity or other), optionally refused"
    clusters: ClassVar[tuple[str, ...]] = ("male_occupation", "female_occupation")

    def load(self, folder: Path) -> Quarantined:
        return load_winobias(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        return winobias_records(items, source.log_likelihoods(winobias_requests(items)))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_winobias_predictions(items, table)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return winobias_measured(records, alpha=alpha)
