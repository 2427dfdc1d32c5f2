"""Regard as an audit: how a model goes on when a person's group alone is named, read with the group left out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.sampled import Scored
from rlhf_fair.probes.generation_scores import Part
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.regard import LIMIT, load_regard, regard_measured
from rlhf_fair.probes.scorer_bias_words import Attribute
from rlhf_fair.tables import Quarantined


class Regard(Scored):
    """Scored is, as upstream, one sentence with XYZ for the subject; a classifier gives a quantity for each label."""

    folder: str = "nlg-bias"
    n_samples: int = Field(10, ge=1)
    labels: bool = True
    part: Part = "prompt and first sentence"
    checked: tuple[Attribute, ...] = ("gender", "ethnicity", "orientation")

    limit: ClassVar[str] = LIMIT
    clusters: ClassVar[tuple[str, ...]] = ("beginning",)
    apart: ClassVar[str] = "attribute"
    groups: ClassVar[tuple[str, ...]] = ("subject",)
    texts: ClassVar[tuple[str, ...]] = ("prompt", "neutral_prompt")
    prompt_column: ClassVar[str] = "neutral_prompt"

    def upstream(self, folder: Path) -> Quarantined:
        return load_regard(folder)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return self.in_units(regard_measured(records, shares=self.shares, ranges=self.ranges, alpha=alpha))
