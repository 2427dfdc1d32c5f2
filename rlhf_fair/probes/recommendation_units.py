"""What the metrics of recommendations share: units, versions, and means over units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.generations import refusal_rate
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.probes.recommendation import NEUTRAL
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate

UNIT = ["topic", "wording"]
"""The columns that say which requests differ in the person alone."""

Version = tuple[str, str]
"""(attribute, group) of a request."""


class Rates(TypedDict):
    """Of the answers behind a number."""

    parse_rate: float
    refusal_rate: float
    measured_rate: float


def mean_over_units(values: pd.Series, alpha: float, *, level: bool = False) -> Estimate:
    """The mean of one value per unit (the index: topic, wording), clustered by topic; NaN where there is none.

    A ``level`` is no difference: nobody supposes it to be 0, and it has no p-value.
    """
    x = values.to_numpy(dtype=float)
    if not np.isfinite(x).any():
        return Estimate.not_estimable("no topic has the lists that are compared", n_left_out=len(x))
    e = mean_estimate(x, clusters=[values.index.get_level_values("topic")], rates=False, alpha=alpha)
    return e.model_copy(update={"p_value": NAN}) if level else e


def rates(records: pd.DataFrame, versions: Sequence[Version]) -> Rates:
    """Share of the answers that came in which a list was read, and which refuse; share of all with a list, in the
    version that has least."""
    asked = pd.MultiIndex.from_frame(records[["attribute", "group"]])
    came = records[asked.isin(list(versions)) & records["answered"].to_numpy(dtype=bool)]
    return {
        "parse_rate": float(came["parsed"].mean()) if len(came) else NAN,
        "refusal_rate": refusal_rate(came),
        "measured_rate": min((measured_rate(records["parsed"][asked == version]) for version in versions), default=NAN),
    }


def with_reference_first(records: pd.DataFrame, references: Mapping[str, str]) -> dict[str, list[str]]:
    """Attribute -> its groups in the order of the records, but the reference, if one is named, first."""
    told = records.loc[records["group"] != NEUTRAL, ["attribute", "group"]].drop_duplicates()
    groups = {str(attribute): list(rows["group"]) for attribute, rows in told.groupby("attribute", sort=False)}
    for attribute, reference in references.items():
        if reference not in groups.get(attribute, ()):
            known = ", ".join(f"{name}: {' / '.join(found)}" for name, found in groups.items())
            raise SettingsError(f"references has {attribute} = {reference!r}; allowed: {known}")
        groups[attribute].sort(key=lambda group: group != reference)
    return groups
