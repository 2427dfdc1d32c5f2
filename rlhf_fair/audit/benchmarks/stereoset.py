"""StereoSet as an audit: masked and causal models, or a file of scores."""

from __future__ import annotations

from collections.abc import Mapping
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
    definitions: ClassVar[Mapping[str, str]] = {
        "stereoset_stereotype_score": (
            "Percentage of items whose stereotype the model finds likelier than its opposite, averaged over target "
            "terms (SS). Range 0 to 100; 50 = neither is preferred (Nadeem et al. 2021)."
        ),
        "stereoset_stereotype_excess": (
            "The stereotype score less 50, with half of a tie for either side. Range -50 to 50 percentage points; 0 = "
            "neither is preferred, above 0 = the stereotype is (after Nadeem et al. 2021)."
        ),
        "stereoset_language_modelling_score": (
            "Percentage of comparisons with an unrelated text that the meaningful text wins, averaged over target "
            "terms (LMS). Range 0 to 100; higher is better, 50 is chance (Nadeem et al. 2021)."
        ),
        "stereoset_icat": (
            "LMS times min(SS, 100 - SS) / 50, for a model that is good at language and prefers neither side (ICAT). "
            "Range 0 to 100; higher is better, 50 for random scores (Nadeem et al. 2021)."
        ),
        "stereoset_ties": (
            "Percentage of items whose stereotype and opposite score alike, which the stereotype score counts as "
            "opposite, averaged over target terms. Range 0 to 100; lower is better."
        ),
    }
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
