"""Tables that `rlhf-fair panel` and its neighbours read: panels, items, feedback, and who is in which group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.tables import Contract


def accepted(path: Path, contract: Contract) -> pd.DataFrame:
    """Read a table all of whose rows must be sound; the first that is not becomes the error."""
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import read_validated

    read = read_validated(path, contract)
    if len(read.rejects):
        more = f" (and {len(read.rejects) - 1} more rows)" if len(read.rejects) > 1 else ""
        raise RowError(f"{path}: {read.rejects['message'].iloc[0]}{more}")
    return read.table


def simulated_lines(feedback: pd.DataFrame) -> list[str]:
    """What a command prints of feedback that no person gave: one line, or none."""
    from rlhf_fair.tables import simulated_note

    return [note] if (note := simulated_note(feedback)) else []


def attribute_names(table: pd.DataFrame, attributes: Sequence[str]) -> list[str]:
    """Column names of attributes given with or without ``attr.``; an unknown one is an error naming those there are."""
    from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

    columns = [ATTRIBUTE_PREFIX + name.removeprefix(ATTRIBUTE_PREFIX) for name in attributes]
    require_columns(table, columns, "panel")
    return columns


def read_groups(panel: Path | None, attributes: Sequence[str]) -> pd.Series | None:
    """Each annotator's group, crossed levels joined by ``*``; None where no attribute is asked for."""
    from rlhf_fair.annotators.population import CROSS
    from rlhf_fair.errors import SettingsError, about_file
    from rlhf_fair.tables import ANNOTATORS

    if not attributes:
        return None
    if panel is None:
        raise SettingsError(f"--by {attributes[0]} needs --panel FILE to say who is in which group")
    members = accepted(panel, ANNOTATORS)
    with about_file(panel):
        columns = attribute_names(members, attributes)
    group = members[columns].fillna("").agg(CROSS.join, axis=1).where(members[columns].notna().all(axis=1))
    return group.set_axis(members["annotator_id"])
