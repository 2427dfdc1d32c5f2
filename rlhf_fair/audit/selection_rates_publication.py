"""The summary of results that 6 RCNY 5-303 wants published, as plain data: nothing is left to whoever renders it.

Rates have three decimals and ratios two, as in the examples of the Department of Consumer and Worker Protection;
both are rounded half up from the counts themselves, so that no float decides a digit. (The Department's own example
prints 18 of 28, .6428…, as .642.)
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from rlhf_fair.audit.selection_rates_plan import PublicationPlan, SelectionRatesPlan
from rlhf_fair.audit.selection_rates_table import People
from rlhf_fair.metrics.impact_ratio import ImpactRatioTable

RATE_PLACES, RATIO_PLACES = 3, 2
ROUNDING = (
    f"Rates are rounded to {RATE_PLACES} decimals and impact ratios to {RATIO_PLACES}, half up, from the counts; a "
    "ratio is that of the unrounded rates."
)
LEFT_OUT = "left out"
STATED = {
    "tool": "Automated employment decision tool",
    "distributed_on": "Distribution date of the tool",
    "audited_on": "Date of the most recent bias audit",
    "auditor": "Independent auditor",
    "data_source": "Source of the data",
    "data_explanation": "Explanation of the data",
}
"""Entry of the plan's [publication] -> what it is called."""


def publication(
    plan: SelectionRatesPlan,
    tables: Mapping[str, ImpactRatioTable],
    parts: Mapping[str, tuple[str, ...]],
    people: People,
    *,
    synthetic: bool,
) -> dict[str, Any]:
    """Particulars, tables with their digits as published, unknown counts, and what the plan does not state."""
    score = plan.applicants.kind == "score"
    said = plan.publication if not synthetic else PublicationPlan()
    notes = [ROUNDING]
    if score:
        notes.insert(0, "Scoring rate: share of a category whose score lies strictly above the median of all people.")
    if synthetic:
        notes.insert(0, "Made-up people from a seeded program, to show the form: no audit of any tool.")
    return {
        "title": plan.title,
        "synthetic": synthetic,
        "particulars": [[name, getattr(said, key)] for key, name in STATED.items()],
        "not_stated": [name for key, name in STATED.items() if not getattr(said, key)],
        "people": people.n_input,
        "count_heading": "Number of applicants",
        "chosen_heading": "Number above the median" if score else "Number selected",
        "rate_heading": "Scoring rate" if score else "Selection rate",
        "tables": [_table(plan, name, table, parts[name]) for name, table in tables.items()],
        "rejected": len(people.rejects),
        "notes": notes,
    }


def _table(plan: SelectionRatesPlan, name: str, table: ImpactRatioTable, attributes: tuple[str, ...]) -> dict[str, Any]:
    by = table.by_category
    best = _best(table)
    rows = []
    for category, n, chosen, in_ratio in zip(table.ratios, by["n"], by["selected"], by["in_ratio"], strict=True):
        rate = Fraction(int(chosen), int(n)) if n else None
        ratio = rate / best if rate is not None and best and in_ratio else None
        rows.append(
            {
                "category": [str(part) for part in category] if isinstance(category, tuple) else [str(category)],
                "n": int(n),
                "chosen": int(chosen),
                "rate": rounded(rate, RATE_PLACES),
                "impact_ratio": LEFT_OUT if not in_ratio else rounded(ratio, RATIO_PLACES),
                "reason": "" if ratio is not None else table.ratios[category].reason,
            }
        )
    return {
        "name": name,
        "attributes": list(attributes),
        "rows": rows,
        "unknown": table.n_unknown,
        "no_outcome": table.n_excluded,
        "justification": plan.small_categories.justification if not by["in_ratio"].all() else "",
    }


def _best(table: ImpactRatioTable) -> Fraction | None:
    """The highest rate of the categories in the ratio; None where there is none above 0."""
    if table.reference is None:
        return None
    row = table.by_category.iloc[list(table.ratios).index(table.reference)]
    return Fraction(int(row["selected"]), int(row["n"]))


def rounded(value: Fraction | None, places: int) -> str:
    """Half up, without floats; "" for None.

    >>> rounded(Fraction(18, 28), 3), rounded(Fraction(1, 8), 2), rounded(Fraction(1), 2)
    ('0.643', '0.13', '1.00')
    """
    if value is None:
        return ""
    units = (value * 10**places + Fraction(1, 2)).__floor__()
    return str((Decimal(units) / 10**places).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
