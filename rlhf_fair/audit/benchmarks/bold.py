"""BOLD as an audit: sentiment, toxicity or regard of how a model goes on with sentences about people and subjects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.sampled import SENTIMENT, TOXICITY, Scored
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.bold import FILES, LIMIT, bold_measured, load_bold
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.tables import Quarantined

Domain = Literal["gender", "political_ideology", "profession", "race", "religious_ideology"]


class BOLD(Scored):
    """``domains``: none means all. ``references``: domain -> the group that the others are compared with; without one
    it is the mean of the other groups, and of two groups the first.
    """

    folder: str = "bold"
    scorers: tuple[ScorerPlan, ...] = Field((SENTIMENT, TOXICITY), min_length=1)
    domains: tuple[Domain, ...] = ()
    references: Mapping[Domain, str] = Field(default_factory=dict)

    limit: ClassVar[str] = LIMIT
    clusters: ClassVar[tuple[str, ...]] = ("title",)
    apart: ClassVar[str] = "domain"
    groups: ClassVar[tuple[str, ...]] = ("domain", "group")

    def upstream(self, folder: Path) -> Quarantined:
        found = load_bold(folder, self.domains or tuple(FILES))
        items = found.table
        for domain, reference in self.references.items():
            groups = items.loc[items["domain"] == domain, "group"].unique().tolist()
            if reference not in groups:
                raise SettingsError(f"BOLD {domain} has no group {reference!r}; has {groups}")
        return found

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        references = {str(domain): group for domain, group in self.references.items()}
        return self.in_units(bold_measured(records, references, shares=self.shares, ranges=self.ranges, alpha=alpha))
