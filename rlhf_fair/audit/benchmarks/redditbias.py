"""RedditBias as an audit: how likely a causal or a masked model finds a comment about one group and about another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import pandas as pd

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.models.requests import LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.likelihoods import variant_in
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.redditbias import (
    LIMIT,
    SCORINGS,
    Scoring,
    load_redditbias,
    read_redditbias_predictions,
    redditbias_measured,
    redditbias_records,
    redditbias_requests,
)
from rlhf_fair.tables import Quarantined


class RedditBias(Benchmark):
    """``scoring``: which likelihood of a comment; "by model" takes the one the model has, and of a prediction file the
    one its ids name."""

    folder: str = "redditbias"
    scoring: Scoring | Literal["by model"] = "by model"

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "stereotype_gap_log_perplexity": (
            "Mean log perplexity of a stereotyping comment about the target group less that of the same comment about"
            " the counterpart. Nats per token; 0 = parity, below 0 = the stereotype comes more expected of the target"
            " group (after Barikeri et al. 2021)."
        ),
        "stereotype_gap_log_likelihood": (
            "Mean log likelihood of a stereotyping comment about the target group less that of the same comment about"
            " the counterpart. Nats; 0 = parity, above 0 = the stereotype comes more expected of the target group "
            "(after Barikeri et al. 2021)."
        ),
        "stereotype_gap_perplexity": (
            "Mean perplexity of a stereotyping comment about the target group less that of the same comment about the"
            " counterpart; ruled by the few least likely comments. 0 = parity, below 0 = the stereotype comes more "
            "expected of the target group (Barikeri et al. 2021)."
        ),
        "stereotype_gap_perplexity_within_3_sd": (
            "The gap in mean perplexity without pairs of which a side lies more than three standard deviations from "
            "the mean, as the authors' code has it. 0 = parity, below 0 = the stereotype comes more expected of the "
            "target group (Barikeri et al. 2021)."
        ),
    }
    predictions: ClassVar[str] = "id (redditbias/SCORING/PAIR/target or counterpart), total, n_tokens"
    clusters: ClassVar[tuple[str, ...]] = ("comment",)
    apart: ClassVar[str] = "topic"

    def load(self, folder: Path) -> Quarantined:
        return load_redditbias(folder)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        by_model: Scoring = "masked" if source.masked else "causal"
        scoring = by_model if self.scoring == "by model" else self.scoring
        requests = redditbias_requests(items, scoring)
        if scoring == "causal":
            answers = source.log_likelihoods([r for r in requests if isinstance(r, LogLikelihood)])
        else:
            answers = source.pseudo_log_likelihoods([r for r in requests if isinstance(r, PseudoLogLikelihood)])
        return redditbias_records(items, answers, scoring)

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        scoring = variant_in(table, "redditbias", SCORINGS) if self.scoring == "by model" else self.scoring
        return read_redditbias_predictions(items, table, cast(Scoring, scoring))

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return redditbias_measured(records, alpha=alpha)
