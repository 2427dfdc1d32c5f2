"""Numbers that an audit shows without judging them, such as the levels that gaps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlhf_fair.probes.measured import Measured


def measured_table(measured: Sequence[Measured]) -> dict[str, Any]:
    """Numbers without a verdict as a table: columns in order, and rows. Columns that would be empty are left out."""
    rows = [
        {
            "metric": m.metric,
            "attribute": m.attribute,
            "group": m.group,
            "reference": m.reference,
            "variant": m.variant,
            "estimate": m.estimate.estimate,
            "low": m.estimate.ci_low,
            "high": m.estimate.ci_high,
            "unit": m.unit,
            "n": m.estimate.n,
            "clusters": m.estimate.n_clusters,
            "parsed": m.parse_rate,
            "refused": m.refusal_rate,
            "measured": m.measured_rate if m.measured_rate < 1 else None,
            "why not measured": m.estimate.reason if np.isnan(m.estimate.estimate) else "",
        }
        for m in measured
    ]
    plain = [
        {name: None if isinstance(cell, float) and not np.isfinite(cell) else cell for name, cell in row.items()}
        for row in rows
    ]
    if not plain:
        return {}
    columns = [name for name in plain[0] if any(row[name] not in (None, "") for row in plain)]
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in plain]}
