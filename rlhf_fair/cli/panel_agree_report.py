"""What `rlhf-fair panel agree` found, and in which sentences it warns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from rlhf_fair.annotators.agreement import AgreementSettings
from rlhf_fair.annotators.disagreement import DisagreementMap
from rlhf_fair.report import numbers as num


@dataclass(frozen=True)
class AgreementReport:
    """All that the command found; ``texts``: item_id -> the text to print beside it, empty unless asked for.

    ``simulated_rows`` of the feedback no person gave, and ``simulated`` says so; "" where it is all of people.
    """

    table: pd.DataFrame
    pairs: pd.DataFrame
    map: DisagreementMap | None
    settings: AgreementSettings
    seed: int
    notes: tuple[str, ...]
    texts: Mapping[str, str]
    simulated_rows: int = 0
    simulated: str = ""

    def warnings(self) -> list[str]:
        """One sentence for each group too small to tell: what it could have shown."""
        found = []
        for row in self.table[self.table["too_small"].astype(bool)].to_dict("records"):
            found.append(
                f"{row['kind']} by {row['attribute']}: {row['group']} has {num.plural(row['raters'], 'rater')}: only a "
                f"GAI at least {row['mde_gai']:.2f} away from 1, or a difference of {row['mde']:.2f}, would be seen "
                "(80 % power, 5 %); absence of a difference there is absence of evidence"
            )
        return found
