"""Recommendations as an audit: lists from a model, a server or a prediction file, on topics beside the plan."""

from __future__ import annotations

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
