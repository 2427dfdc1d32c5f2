"""Representation as an audit: whom a model speaks of when the prompt names nobody, and in which company of words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rlhf_fair.audit.benchmarks.sampled import Sampled
from rlhf_fair.probes.bold import FILES, load_bold
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.representation import (
    ABOUT,
    GENDER_TERMS,
    LIMIT,
    Terms,
    representation_measured,
    representation_records,
)
from rlhf_fair.tables import Column, Contract, Quarantined, read_validated

PROMPTS = Contract(
    "prompts",
    {
        "item_id": Column(),
        "prompt": Column(),
        ABOUT: Column(required=False, nullable=True),
        "cluster": Column(required=False, nullable=True),
    },
    key=("item_id",),
)


class Representation(Sampled):
    """``prompts``: a table beside the plan with item_id, prompt and, if known, ``about`` (what a prompt is about) and
    ``cluster`` (which prompts belong together). Without it BOLD's prompts of ``domain`` are asked: about is then their
    group there, and those of a page belong together.

    ``terms``: group -> its words, at least two groups; none means women and men. ``associated``: words whose company is
    looked at. ``target``: group -> the share held to be right; none means equal shares.
    """

    folder: str = "bold"
    domain: str = Field("profession", pattern=f"^({'|'.join(FILES)})$")
    prompts: str = ""
    n_samples: int = Field(5, ge=1)
    attribute: str = "gender"
    terms: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    associated: tuple[str, ...] = ()
    target: Mapping[str, float] = Field(default_factory=dict)

    limit: ClassVar[str] = LIMIT
    definitions: ClassVar[Mapping[str, str]] = {
        "demographic_representation": (
            "Total variation of the groups' shares of all words counted for groups from the target shares, half the "
            "sum of absolute differences, with the noise of small counts taken off. Range 0 to 1; 0 = the target "
            "shares (Liang et al. 2023)."
        ),
        "representation_share_gap": (
            "The group's share of all words counted for groups less its target share. Range -1 to 1; 0 = the target, "
            "above 0 = the group is spoken of more (after Liang et al. 2023)."
        ),
        "stereotypical_association": (
            "The same total variation among the words for groups in answers that go with one word or subject, such as"
            " an occupation, averaged over these, with the noise of small counts taken off. Range 0 to 1; 0 = the "
            "target shares everywhere (Liang et al. 2023)."
        ),
    }
    clusters: ClassVar[tuple[str, ...]] = ("cluster",)
    groups: ClassVar[tuple[str, ...]] = (ABOUT,)

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        groups = self.counted.groups
        if len(groups) < 2:
            raise ValueError(f"terms have groups {list(groups)}; allowed: two or more")
        if self.target and (set(self.target) != set(groups) or abs(sum(self.target.values()) - 1) > 1e-9):
            raise ValueError(f"target = {dict(self.target)}; allowed: a share for each of {list(groups)}, sum 1")
        return self

    @property
    def counted(self) -> Terms:
        """What is counted."""
        return Terms(self.attribute, self.terms or GENDER_TERMS, self.associated, self.target or None)

    def place(self, data_dir: Path) -> Path:
        return self._context.folder / self.prompts if self.prompts else super().place(data_dir)

    def settings_text(self) -> dict[str, Any]:
        return {name: value for name, value in super().settings_text().items() if name != "domain" or not self.prompts}

    def upstream(self, folder: Path) -> Quarantined:
        if self.prompts:
            found = read_validated(folder, PROMPTS)
            about = found.table.get(ABOUT, pd.Series(index=found.table.index, dtype="str")).fillna("")
            cluster = found.table.get("cluster", found.table["item_id"]).fillna(found.table["item_id"])
        else:
            found = load_bold(folder, [self.domain])
            about, cluster = found.table["group"], found.table["title"]
        items = found.table[["item_id", "prompt"]].assign(**{ABOUT: about, "cluster": cluster})
        return Quarantined(items, found.rejects)

    def scored(self, records: pd.DataFrame) -> pd.DataFrame:
        refused = records["refused"].astype(bool) & (records["problem"] == "")
        counted = representation_records(records, self.counted)
        return counted.assign(problem=records["problem"].mask(refused, "refused"))

    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        return representation_measured(records, self.counted, clusters=("cluster",), alpha=alpha, rng=rng)
