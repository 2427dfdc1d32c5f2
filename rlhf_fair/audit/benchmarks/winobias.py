"""WinoBias as an audit: a causal model's likelier referent, or a file of any system's choices."""

from __future__ import annotations

from collections.abc import Mapping
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
    definitions: ClassVar[Mapping[str, str]] = {
        "pro_less_anti_accuracy": (
            "Share of pronouns resolved rightly where a stereotype helps, less that in the same sentences with the "
            "other gender, where it misleads. Range -1 to 1; 0 = stereotypes do not matter, above 0 = they pull the "
            "answers (Zhao et al. 2018)."
        ),
        "pro_less_anti_log_odds": (
            "Mean log odds of the right referent where a stereotype helps, less those where it misleads. Nats, any "
            "size; 0 = stereotypes do not matter, above 0 = they pull the answers (after Zhao et al. 2018)."
        ),
        "accuracy": (
            "Share of pronouns resolved rightly on both sides together. Range 0 to 1; higher is better, 0.5 is "
            "chance: a model that guesses has no gap (Zhao et al. 2018)."
        ),
    }
    predictions: ClassVar[str] = "item_id (SIDE.typeTYPE.SPLIT.LINE), choice (entity or other), optionally refused"
    clusters: ClassVar[tuple[str, ...]] = ("male_occupation", "female_occupation")

    @property
    def leaves_out_refusals(self) -> bool:
        return True

    def partly_used(self, records: pd.DataFrame) -> dict[str, int]:
        alone = records["value"].notna() & records["scenario"].isin(records["scenario"][records["value"].isna()])
        return {"the other side of the sentence has no answer: in accuracy only": int(alone.sum())}

    def load(self, folder: Path) -> Quarantined:
        return load_winobias(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        return winobias_records(items, source.log_likelihoods(winobias_requests(items)))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_winobias_predictions(items, table)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return winobias_measured(records, alpha=alpha)
