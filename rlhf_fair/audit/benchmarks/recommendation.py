"""Recommendations as an audit: lists from a model, a server or a prediction file, on topics beside the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.recommendation import (
    LIMIT,
    load_categories,
    load_recommendation,
    read_recommendation_predictions,
    recommendation_records,
    recommendation_requests,
)
from rlhf_fair.probes.recommendation_scores import Comparing, recommendation_measured
from rlhf_fair.tables import Quarantined


class Recommendation(Benchmark):
    """``folder``: of topics.csv, people.csv and categories.csv, from the plan's own.

    ``n_samples``: lists per request, two or more. ``depth``, ``similarities``, ``references`` and ``min_known`` as in
    `rlhf_fair.probes.recommendation_scores.Comparing`.
    """

    n_samples: int = Field(3, ge=2)
    depth: int = Field(10, ge=1)
    similarities: tuple[str, ...] = ("jaccard", "rbo")
    references: dict[str, str] = Field(default_factory=dict)
    min_known: float = Field(0.5, ge=0, le=1)
    max_new_tokens: int = Field(200, ge=1)
    temperature: float = Field(1.0, gt=0)

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "*_within_neutral": (
            "Mean similarity ({}) of different lists for the same request that names no group: how alike two answers "
            "are anyway. Range 0 to 1; 1 = the same lists."
        ),
        "*_to_neutral": (
            "Mean similarity ({}) of the group's lists to those for the request that names no group. Range 0 to 1; 1 "
            "= the same lists; to be read against the similarity within the neutral request (Zhang et al. 2023)."
        ),
        "*_shift": (
            "Mean similarity ({}) within the neutral request less that of the group's lists to the neutral ones. "
            "Range -1 to 1; 0 = the group's lists are as close to the neutral ones as those are to each other, above "
            "0 = naming the group moves them (after Zhang et al. 2023)."
        ),
        "*_relative_shift": (
            "The shift ({}) as a share of the mean similarity within the neutral request, which it cannot exceed. Up "
            "to 1; 0 = the group's lists are as close to the neutral ones as those are to each other, 1 = they have "
            "nothing in common with them (after Zhang et al. 2023)."
        ),
        "*_gap": (
            "Mean similarity ({}) of the group's lists to the neutral ones less that of the reference's. Range -1 to "
            "1; 0 = parity, above 0 = the group's lists are closer to the neutral ones (Zhang et al. 2023)."
        ),
        "*_divergence": (
            "Mean of both sides' similarities ({}) within themselves less the similarity between them. 0 = both draw "
            "their lists from one distribution, above 0 = they differ; for Jaccard half the squared maximum mean "
            "discrepancy (Gretton et al. 2012)."
        ),
        "*_range": (
            "Largest less smallest similarity ({}) to the neutral lists over an attribute's groups (SNSR). Range 0 to"
            " 1; 0 = parity; never negative, so above 0 by chance alone (Zhang et al. 2023)."
        ),
        "*_deviation": (
            "Standard deviation over an attribute's groups of the similarity ({}) to the neutral lists (SNSV). Range "
            "0 to 0.5; 0 = parity; never negative, so above 0 by chance alone (Zhang et al. 2023)."
        ),
        "exposure_share": (
            "The category's share of the attention that a list's places get, among items whose category is known; "
            "places further down get less. Range 0 to 1 (Singh & Joachims 2018)."
        ),
        "exposure_gap": (
            "The category's share of exposure in the group's lists less that in the reference's. Range -1 to 1; 0 = "
            "parity, above 0 = the group is shown more of it (after Singh & Joachims 2018)."
        ),
        "rank_gap": (
            "Mean place of the category's items in the group's lists less that in the reference's, where both have "
            "some. Places; 0 = parity, above 0 = further down in the group's lists."
        ),
    }
    predictions: ClassVar[str] = "item_id (TOPIC/WORDING/ATTRIBUTE=GROUP or TOPIC/WORDING/neutral), sample, text"
    clusters: ClassVar[tuple[str, ...]] = ("topic",)

    @model_validator(mode="after")
    def _similarities_are_known(self) -> Recommendation:
        try:
            self._comparing()
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    def place(self, data_dir: Path) -> Path:
        """Beside the plan: topics are a part of it, not a public data set."""
        return self._context.folder / self.folder

    def load(self, folder: Path) -> Quarantined:
        return load_recommendation(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        decoding = Decoding(self.max_new_tokens, self.temperature, self._context.seed)
        answers = source.answers(recommendation_requests(items, self.n_samples), decoding)
        return recommendation_records(items, answers, self.n_samples, categories=self._categories())

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_recommendation_predictions(items, table, self.n_samples, categories=self._categories())

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return recommendation_measured(records, self._comparing(), alpha=alpha, rng=rng)

    def _categories(self) -> pd.DataFrame:
        return load_categories(self.place(Path()))

    def _comparing(self) -> Comparing:
        return Comparing(self.depth, self.similarities, self.references, self.min_known)
