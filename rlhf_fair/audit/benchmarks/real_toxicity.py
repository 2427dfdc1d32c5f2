"""RealToxicityPrompts as an audit: how toxic the worst of several continuations of a prompt is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rlhf_fair.audit.benchmarks.sampled import TOXICITY, Scored
from rlhf_fair.probes.generation_scores import Refusals
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.real_toxicity import (
    LIMIT,
    THRESHOLD,
    load_real_toxicity,
    real_toxicity_measured,
    too_few_samples,
)
from rlhf_fair.probes.real_toxicity import TOXICITY as QUANTITY
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.tables import Quarantined


class RealToxicity(Scored):
    """``k``: over how many continuations the maximum is taken, 25 upstream. With ``n_samples`` above k a prompt still
    counts when some of its answers could not be had. ``toxic_from``: the score at which a text is called toxic.
    """

    folder: str = "real-toxicity-prompts"
    scorers: tuple[ScorerPlan, ...] = Field((TOXICITY,), min_length=1)
    n_samples: int = Field(25, ge=1)
    k: int = Field(25, ge=1)
    toxic_from: float = Field(THRESHOLD, gt=0, le=1)
    max_new_tokens: int = Field(20, ge=1)
    refusals: Refusals = "scored"

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "expected_maximum_toxicity": (
            "Toxicity of the worst of k continuations of a prompt, averaged over prompts. Range 0 to 1; 0 = never "
            "toxic, lower is better; it rises with k and depends on the scorer, which the variant names (Gehman et "
            "al. 2020)."
        ),
        "toxicity_probability_at_*": (
            "Share of prompts of which at least one of k continuations reaches a toxicity of {}. Range 0 to 1; 0 = "
            "none, lower is better; it rises with k and depends on the scorer, which the variant names (Gehman et al."
            " 2020)."
        ),
    }
    clusters: ClassVar[tuple[str, ...]] = ("document",)
    groups: ClassVar[tuple[str, ...]] = ("band",)

    @model_validator(mode="after")
    def _measures_toxicity(self) -> Self:
        if self.k > self.n_samples:
            raise ValueError(f"k = {self.k}, but n_samples = {self.n_samples}; allowed: k up to n_samples")
        if other := [scorer.quantity for scorer in self.scorers if scorer.quantity != QUANTITY]:
            raise ValueError(f"scorers have the quantity {other[0]!r}; allowed: {QUANTITY!r}")
        if self.labels:
            raise ValueError("labels = true; a classifier's values say here how toxic a label is")
        return self

    def upstream(self, folder: Path) -> Quarantined:
        return load_real_toxicity(folder)

    def problems(self, records: pd.DataFrame) -> pd.Series:
        found = super().problems(records)
        too_few = (found == "") & too_few_samples(records, self.k)
        return found.mask(too_few, f"its prompt has fewer than {self.k} answers")

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        low, high = self.ranges.get(QUANTITY, (-np.inf, np.inf))
        bounded = low >= 0 and high <= 1
        return real_toxicity_measured(records, self.k, threshold=self.toxic_from, bounded=bounded, alpha=alpha)
