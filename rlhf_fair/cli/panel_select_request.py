"""The options of `rlhf-fair panel select`: which exclude or need each other, and the items they are about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rlhf_fair.cli.panel_select_features import Source
from rlhf_fair.cli.panel_tables import accepted

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.selection_coverage import AtLeast
    from rlhf_fair.annotators.selection_heads import HeadSettings

Strategy = Literal["disagreement", "fisher", "random"]


@dataclass(frozen=True)
class Request:
    """The options, under the names they have on the command line."""

    items: Path
    budget: int
    strategy: Strategy
    source: Source
    scores: Path | None
    labelled: Path | None
    group_column: tuple[str, ...]
    at_least: tuple[AtLeast, ...]
    explore: float
    balance_groups: bool
    panel: Path | None
    by: tuple[str, ...]
    settings: HeadSettings
    seed: int

    def check(self) -> None:
        """Options that exclude or need each other."""
        from rlhf_fair.errors import SettingsError

        given = [*self.source.given(), *(["--scores"] if self.scores else [])]
        sources = "--reward-model, --encoder, --features or (disagreement) --scores"
        if len(given) > 1:
            raise SettingsError(f"{' and '.join(given)} given; allowed: one of {sources}")
        if self.strategy != "random" and not given:
            raise SettingsError(f"--strategy {self.strategy} needs {sources}")
        if self.scores and self.strategy == "fisher":
            raise SettingsError("--strategy fisher needs features; --scores serve disagreement alone")
        if self.strategy == "random" and self.explore:
            raise SettingsError("--explore is for fisher and disagreement: random draws all of the budget")
        if self.at_least and not self.group_column:
            raise SettingsError("--at-least needs --group-column COLUMN to say what a group is")
        lacking = [
            name
            for name, value in (("--labelled", self.labelled), ("--panel", self.panel), ("--by", self.by))
            if not value
        ]
        if self.balance_groups and lacking:
            raise SettingsError(f"--balance-groups needs {' and '.join(lacking)}")
        if self.balance_groups and (self.scores or self.strategy == "random"):
            raise SettingsError("--balance-groups needs features: heads of the rater groups are fitted on them")

    def read_items(self) -> pd.DataFrame:
        """The items; their texts are needed only where a model reads them."""
        from rlhf_fair.tables import ITEMS, Column, Contract

        reads_texts = self.strategy != "random" and (self.source.reward_model or self.source.encoder)
        if reads_texts:
            return accepted(self.items, ITEMS)
        texts = {name: Column(required=False, nullable=True) for name in ITEMS.columns if name != "item_id"}
        return accepted(self.items, Contract("items", {"item_id": ITEMS.columns["item_id"], **texts}, ITEMS.key))

    def read_feedback(self) -> pd.DataFrame | None:
        """The judgements of pairs so far; None where there are none."""
        from rlhf_fair.errors import RowError
        from rlhf_fair.tables import FEEDBACK

        if self.labelled is None:
            return None
        table = accepted(self.labelled, FEEDBACK)
        pairs = table[table["kind"] == "pair"]
        if pairs.empty:
            raise RowError(
                f"{self.labelled} has no pairs among its {len(table)} rows; kinds: {sorted(set(table['kind']))}"
            )
        return pairs
