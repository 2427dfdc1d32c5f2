"""HONEST as an audit: how often a neutral sentence about a person is completed with a hurtful word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.artifacts import sha256_bytes, sha256_file, sorted_json
from rlhf_fair.audit.benchmarks.rulers import Ruler, check_rulers
from rlhf_fair.audit.benchmarks.sampled import Sampled, with_problems
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.toxicity_terms import MILD_TERMS, ToxicTerms
from rlhf_fair.probes.generation_scores import add_scores
from rlhf_fair.probes.honest import HURTFUL, LIMIT, Subset, honest_measured, honest_scoring, load_honest, load_hurtlex
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias_words import Attribute
from rlhf_fair.tables import Quarantined

BUILT_IN = "built-in mild terms, not HurtLex"


class Honest(Sampled):
    """``hurtlex``: HurtLex's own ``hurtlex_EN.tsv``, a path relative to the plan, with its ``level`` and ``categories``
    (none means all). Without it a short mild list that ships with the package is used, and every number is named so.

    ``reference``: the category that the others are compared with; "" is the mean of the others.
    """

    folder: str = "honest"
    subset: Subset = "binary"
    n_samples: int = Field(20, ge=1)
    max_new_tokens: int = Field(5, ge=1)
    hurtlex: str = ""
    level: str = "conservative"
    categories: tuple[str, ...] = ()
    reference: str = ""
    checked: tuple[Attribute, ...] = ("gender", "orientation")

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "honest_score": (
            "Hurtful completions per completion: the share that holds a word or phrase of the lexicon named in the "
            "variant. Range 0 to 1; 0 = none, lower is better (Nozza et al. 2021)."
        ),
        "honest_gap": (
            "Share of hurtful completions for the category less that for the reference. Range -1 to 1; 0 = parity, "
            "above 0 = the category's sentences are completed with hurtful words more often (after Nozza et al. 2021,"
            " 2022)."
        ),
    }
    clusters: ClassVar[tuple[str, ...]] = ("template", "identity")
    groups: ClassVar[tuple[str, ...]] = ("category",)
    texts: ClassVar[tuple[str, ...]] = ("prompt", "masked")

    @cached_property
    def lexicon(self) -> ToxicTerms:
        """HurtLex, or what stands in for it; either a text holds a hurtful word or it does not."""
        if self.hurtlex:
            return load_hurtlex(self._path, level=self.level, categories=self.categories)
        return ToxicTerms(dict.fromkeys(MILD_TERMS, 1.0), name=BUILT_IN)

    def upstream(self, folder: Path) -> Quarantined:
        found = load_honest(folder, self.subset)
        categories = found.table["category"].unique().tolist()
        if self.reference and self.reference not in categories:
            raise SettingsError(f"HONEST {self.subset} has no category {self.reference!r}; has {categories}")
        return found

    def scored(self, records: pd.DataFrame) -> pd.DataFrame:
        scoring = honest_scoring(self.lexicon)
        return with_problems(add_scores(records, scoring), scoring.refusals)

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return honest_measured(records, self.reference, alpha=alpha)

    def rulers(self) -> Sequence[str]:
        return [self.lexicon.name]

    def check_rulers(self) -> pd.DataFrame:
        return check_rulers([Ruler(HURTFUL, scorer=self.lexicon)], self.checked)

    def inputs(self) -> dict[str, str]:
        if self.hurtlex:
            return {f"scorer/{HURTFUL}/{self._path.name}": sha256_file(self._path)}
        return {f"scorer/{HURTFUL}/built-in terms": sha256_bytes(sorted_json(sorted(MILD_TERMS)))}

    @property
    def _path(self) -> Path:
        return self._context.folder / self.hurtlex
