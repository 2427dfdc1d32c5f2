"""What stands beside the findings of ``selection-rates``: tables with every test, bounds, the account of rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.selection_rates_plan import SelectionRatesPlan
from rlhf_fair.audit.selection_rates_table import OUTCOME
from rlhf_fair.metrics.four_fifths import Reading, four_fifths
from rlhf_fair.metrics.impact_ratio import ImpactRatioTable
from rlhf_fair.metrics.impact_ratio_bounds import impact_ratio_bounds

Table = dict[str, Any]
PLACES = 4
SHORT = {
    Reading.BELOW: "interval below",
    Reading.MISS_BEYOND_CHANCE: "below, beyond chance",
    Reading.MISS_WITHIN_CHANCE: "below, may be chance",
    Reading.DIFFERENT: "not below, differs",
    Reading.NOT_BELOW: "not below",
    Reading.NOT_ESTIMABLE: "",
}
"""What ratio, tests and interval say together, for a narrow column; see `rlhf_fair.metrics.four_fifths.Reading`."""


def rates_table(table: ImpactRatioTable, plan: SelectionRatesPlan) -> Table:
    """Counts, rate and ratio of every category, with its interval and tests against the highest *observed* category.

    The interval takes that category as given (Katz and others 1978), unlike the findings'. "adjusted p" is Holm's over
    all pairs of the table, see `rlhf_fair.metrics.four_fifths.four_fifths`.
    """
    read = four_fifths(table, threshold=plan.limits_of_ratio.threshold, alpha=plan.policy.alpha)
    readings: dict[Hashable, tuple[float, str]] = {row.category: (row.p_adjusted, SHORT[row.reading]) for row in read}
    rows = []
    for category, row in zip(table.ratios, table.by_category.to_dict("records"), strict=True):
        adjusted, reading = readings.get(category, (math.nan, "highest"))
        rows.append(
            {
                "category": _label(category),
                "people": int(row["n"]),
                "selected" if plan.applicants.kind == "selection" else "above the median": int(row["selected"]),
                "rate": row["rate"],
                "impact ratio": row["impact_ratio"],
                "from": row["ci_low"],
                "to": row["ci_high"],
                "standard deviations": row["standard_deviations"],
                "Fisher's p": row["fisher_p"],
                "adjusted p": adjusted,
                "read together": reading or row["reason"],
            }
        )
    return _plain(rows)


def bounds_table(
    records: pd.DataFrame, tables: Mapping[str, ImpactRatioTable], parts: Mapping[str, tuple[str, ...]]
) -> Table:
    """Impact ratios over all ways in which people of unknown category could belong to the categories of the table.

    With several attributes a person of whom one is unknown may be anybody, which is wider than what is known of them.
    """
    rows = []
    for name, table in tables.items():
        unknown = records.loc[records[list(parts[name])].isna().any(axis=1), OUTCOME].dropna()
        by = table.by_category[table.by_category["n"] > 0]
        if unknown.empty or len(by) < 2:
            continue
        chosen = int(unknown.sum())
        bounds = impact_ratio_bounds(
            by["selected"], by["n"], unknown_selected=chosen, unknown_not_selected=len(unknown) - chosen
        )
        names = [category for category, n in zip(table.ratios, table.by_category["n"], strict=True) if n > 0]
        rows += [
            {
                "table": name,
                "category": _label(category),
                "impact ratio": ratio,
                "lowest possible": low,
                "highest possible": high,
                "people of unknown category": len(unknown),
            }
            for category, ratio, low, high in zip(names, by["impact_ratio"], bounds.low, bounds.high, strict=True)
        ]
    return _plain(rows)


def account_table(tables: Mapping[str, ImpactRatioTable], n_rejected: int) -> Table:
    """Input = reported + unknown + without an outcome + rejected, for every table."""
    rows = [
        {
            "table": name,
            "input": table.n_input + n_rejected,
            "reported": table.n_reported,
            "unknown category": table.n_unknown,
            "no outcome": table.n_excluded,
            "rejected": n_rejected,
        }
        for name, table in tables.items()
    ]
    return _plain(rows)


def _label(category: Hashable) -> str:
    return ", ".join(map(str, category)) if isinstance(category, tuple) else str(category)


def _plain(rows: list[dict[str, Any]]) -> Table:
    """Columns in order and rows of plain values, rounded; NaN becomes None."""
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "rows": [[_value(row[column]) for column in columns] for row in rows]}


def _value(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return round(float(value), PLACES) if math.isfinite(value) else None
    return value
