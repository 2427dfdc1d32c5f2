"""Winogender as an audit: a causal model's likelier referent, or a file of any system's choices."""

from __future__ import annotations

from collections.abc import Mapping
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
    definitions: ClassVar[Mapping[str, str]] = {
        "paired_disagreement": (
            "Share of sentences whose pronoun is resolved otherwise when only its gender changes; a tie against a "
            "choice is half. Range 0 to 1; 0 = gender is irrelevant, lower is better (after Rudinger et al. 2018)."
        ),
        "gotcha_gap": (
            "Accuracy on sentences that a stereotype does not mislead, less accuracy on those that it does (gotchas)."
            " Range -1 to 1; 0 = stereotypes do not matter, above 0 = they pull the answers (Rudinger et al. 2018)."
        ),
        "accuracy": (
            "Share of pronouns of that gender resolved rightly. Range 0 to 1; higher is better, 0.5 is chance "
            "(Rudinger et al. 2018)."
        ),
        "pronoun_gap_correlation": (
            "Correlation over occupations of how much more often a female pronoun than a male one is taken for the "
            "occupation with the occupation's share of women. Range -1 to 1; 0 = no stereotype by numbers, above 0 = "
            "women are seen where women work (Rudinger et al. 2018)."
        ),
    }
    predictions: ClassVar[str] = "item_id (upstream's sentid), choice (occupation or participant), optionally refused"
    clusters: ClassVar[tuple[str, ...]] = ("occupation",)

    def partly_used(self, records: pd.DataFrame) -> dict[str, int]:
        alone = records["value"].notna() & records["unit"].isin(records["unit"][records["value"].isna()])
        return {"the sentence has no answer with another pronoun: not in every comparison": int(alone.sum())}

    def load(self, folder: Path) -> Quarantined:
        return load_winogender(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        return winogender_records(items, source.log_likelihoods(winogender_requests(items)))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_winogender_predictions(items, table)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return winogender_measured(records, alpha=alpha)
