"""StereoSet as an audit: masked and causal models, or a file of scores."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.stereoset import (
    LIMIT,
    MASKED,
    Normalisation,
    load_stereoset,
    read_stereoset_predictions,
    stereoset_masked_requests,
    stereoset_records,
    stereoset_requests,
)
from rlhf_fair.probes.stereoset_scores import stereoset_measured
from rlhf_fair.tables import Quarantined


class StereoSet(Benchmark):
    """``normalisation``: of a text's log probability. ``tokens``: those of a text that a masked model is asked about,
    "changed" for what fills the blank (and the sentence that follows a context), "all" for every one."""

    folder: str = "stereoset"
    normalisation: Normalisation = "per token"
    tokens: Literal["changed", "all"] = "changed"

    limit: ClassVar[str] = LIMIT
    predictions: ClassVar[str] = "id of a text (or target, context, sentence), score (higher = likelier)"
    clusters: ClassVar[tuple[str, ...]] = ("target",)

    def load(self, folder: Path) -> Quarantined:
        return load_stereoset(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        if source.masked:
            answers = source.pseudo_log_likelihoods(stereoset_masked_requests(items, self.tokens))
            return stereoset_records(items, answers, self.normalisation, method=MASKED[self.tokens])
        return stereoset_records(items, source.log_likelihoods(stereoset_requests(items)), self.normalisation)

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_stereoset_predictions(items, table)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return stereoset_measured(records, alpha=alpha)
