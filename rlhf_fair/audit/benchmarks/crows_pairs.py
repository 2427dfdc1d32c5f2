"""CrowS-Pairs as an audit: masked and causal models, or a file of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import pandas as pd

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.models.requests import LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.crows_pairs import (
    LIMIT,
    TOKENS,
    Variant,
    crows_pairs_measured,
    crows_pairs_records,
    crows_pairs_requests,
    load_crows_pairs,
    read_crows_pairs_predictions,
)
from rlhf_fair.probes.likelihoods import variant_in
from rlhf_fair.probes.measured import Measured
from rlhf_fair.tables import Quarantined


class CrowsPairs(Benchmark):
    """``variant``: which likelihood is compared; "by model" takes masked_shared for a masked model (the original),
    causal_sentence for a causal one, and of a prediction file the one its ids name. Variants do not compare."""

    folder: str = "crows-pairs"
    variant: Variant | Literal["by model"] = "by model"

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "stereotype_score_less_50": (
            "Percentage of sentence pairs whose more stereotyping sentence the model finds likelier, less 50. Range "
            "-50 to 50 percentage points; 0 = neither is preferred, above 0 = the stereotype is. The variant says "
            "whose likelihood is compared; variants do not compare (Nangia et al. 2020)."
        ),
        "stereotype_log_ratio": (
            "Mean log likelihood of the more stereotyping sentence of a pair less that of the other, so that the size"
            " of the preference counts too. Nats, or nats per token; 0 = equally likely, above 0 = the stereotype is "
            "likelier (pairs of Nangia et al. 2020)."
        ),
    }
    predictions: ClassVar[str] = "id (crows_pairs/VARIANT/PAIR/more or less), total, n_tokens"

    def load(self, folder: Path) -> Quarantined:
        return load_crows_pairs(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        by_model: Variant = "masked_shared" if source.masked else "causal_sentence"
        variant = by_model if self.variant == "by model" else self.variant
        requests = crows_pairs_requests(items, variant)
        if TOKENS[variant] == "all":
            answers = source.log_likelihoods([r for r in requests if isinstance(r, LogLikelihood)])
        else:
            answers = source.pseudo_log_likelihoods([r for r in requests if isinstance(r, PseudoLogLikelihood)])
        return crows_pairs_records(items, answers, variant)

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        variant = variant_in(table, "crows_pairs", tuple(TOKENS)) if self.variant == "by model" else self.variant
        return read_crows_pairs_predictions(items, table, cast(Variant, variant))

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return crows_pairs_measured(records, alpha=alpha)
