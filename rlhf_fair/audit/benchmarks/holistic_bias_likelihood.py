"""HolisticBias as an audit of a language model: which descriptors of people it finds odd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.models.requests import LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.holistic_bias import load_holistic_bias, sample_cells
from rlhf_fair.probes.holistic_bias_likelihood import (
    FEWEST_NOUNS,
    LIMIT,
    SCORINGS,
    Scoring,
    likelihood_items,
    likelihood_measured,
    likelihood_records,
    likelihood_requests,
    read_likelihood_predictions,
)
from rlhf_fair.probes.likelihoods import variant_in
from rlhf_fair.probes.measured import Measured
from rlhf_fair.tables import REJECT_COLUMNS, Quarantined


class HolisticBiasLikelihood(Benchmark):
    """``scoring``: of what tokens; "by model" takes the sentence's for a causal model and the shared ones for a masked.

    ``nouns_per_template`` of upstream's nouns, drawn with ``cell_seed``, in each template; 32 takes all of them.
    ``axes``, ``preferences``: of the descriptors, as upstream marks them; none means all.
    """

    folder: str = "holistic-bias/v1.1"
    scoring: Scoring | Literal["by model"] = "by model"
    nouns_per_template: int = Field(6, ge=FEWEST_NOUNS)
    cell_seed: int = Field(0, ge=0)
    axes: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ("", "reviewed")

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "likelihood_bias_excess": (
            "Share of pairs of descriptors of an axis whose perplexities differ within a template by a Mann-Whitney "
            "test at the level 0.05, less that 0.05. Range -0.05 to 0.95; 0 = no more pairs than chance allows, lower"
            " is better; it grows with the number of nouns (Smith et al. 2022)."
        ),
        "log_perplexity_deviation": (
            "Mean log perplexity of sentences with the descriptor less the mean over the descriptors of its axis in "
            "the same template and noun. Nats per token; 0 = as usual as the others, above 0 = the model finds the "
            "description odder (after Smith et al. 2022)."
        ),
    }
    predictions: ClassVar[str] = "id (holistic_bias/SCORING/ITEM), total, n_tokens"
    clusters: ClassVar[tuple[str, ...]] = ("template", "noun")
    apart: ClassVar[str] = "axis"

    def load(self, folder: Path) -> Quarantined:
        data = load_holistic_bias(folder)
        cells = sample_cells(data.templates, data.nouns, self.nouns_per_template, self.cell_seed)
        items = likelihood_items(data, cells, self.axes, self.preferences)
        return Quarantined(items, pd.DataFrame(columns=list(REJECT_COLUMNS), dtype="str"))

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        by_model: Scoring = "masked_shared" if source.masked else "sentence"
        scoring = by_model if self.scoring == "by model" else self.scoring
        requests = likelihood_requests(items, scoring)
        if scoring == "sentence":
            answers = source.log_likelihoods([r for r in requests if isinstance(r, LogLikelihood)])
        else:
            answers = source.pseudo_log_likelihoods([r for r in requests if isinstance(r, PseudoLogLikelihood)])
        return likelihood_records(items, answers, scoring)

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        scoring = variant_in(table, "holistic_bias", SCORINGS) if self.scoring == "by model" else self.scoring
        return read_likelihood_predictions(items, table, cast(Scoring, scoring))

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return likelihood_measured(records, alpha=alpha)
