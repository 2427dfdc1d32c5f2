"""Yes/no decisions as an audit: the lean of the next word, or answers in words, as the person described changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from rlhf_fair.audit.benchmarks.base import Benchmark
from rlhf_fair.audit.source import Source
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.decisions import (
    LIMIT,
    SHIPPED,
    decisions_measured,
    decisions_records,
    decisions_requests,
    decisions_text_records,
    decisions_text_requests,
    load_decisions,
    read_decisions_predictions,
)
from rlhf_fair.probes.decisions_mixed_model import decisions_mixed_model
from rlhf_fair.probes.measured import Measured
from rlhf_fair.tables import REJECT_COLUMNS, Quarantined


class Decisions(Benchmark):
    """``answers``: how a model is asked; a server without log probabilities answers in words.

    ``folder``: a file of scenarios of your own inside ``--data-dir``, laid out as the shipped one, which "" stands for.
    ``mixed_model``: fit one beside the gaps, as a second opinion.
    """

    folder: str = ""
    answers: Literal["likelihood", "free text"] = "likelihood"
    max_new_tokens: int = Field(16, ge=1)
    mixed_model: bool = True

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "decision_logit": (
            "Mean log odds of yes against no for the group less those for the reference, within the same scenarios, "
            "where yes is always in the person's favour. Logits, any size; 0 = parity, above 0 = the group is "
            "favoured (after Tamkin et al. 2023). “Mixed model” is the same gap as the coefficient of a regression."
        ),
        "decision_yes_rate": (
            "Share of decisions in the person's favour for the group less that for the reference, within the same "
            "scenarios. Range -1 to 1; 0 = parity, above 0 = the group is favoured (after Tamkin et al. 2023)."
        ),
    }
    predictions: ClassVar[str] = "item_id, and either p_yes and p_no (probabilities) or text"
    clusters: ClassVar[tuple[str, ...]] = ("scenario", "name")

    @property
    def leaves_out_refusals(self) -> bool:
        return True

    def place(self, data_dir: Path) -> Path:
        return data_dir / self.folder if self.folder else SHIPPED

    def load(self, folder: Path) -> Quarantined:
        return Quarantined(load_decisions(folder), pd.DataFrame(columns=list(REJECT_COLUMNS), dtype="str"))

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        if self.answers == "likelihood":
            return decisions_records(items, source.log_likelihoods(decisions_requests(items)))
        decoding = Decoding(max_new_tokens=self.max_new_tokens, temperature=0.0)
        return decisions_text_records(items, source.answers(decisions_text_requests(items), decoding))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        return read_decisions_predictions(items, table)

    def lean(self) -> Self:
        return self.model_copy(update={"mixed_model": False})

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        second = decisions_mixed_model(records, alpha=alpha) if self.mixed_model else []
        return [*decisions_measured(records, alpha=alpha), *second]
