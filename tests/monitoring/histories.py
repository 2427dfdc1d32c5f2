"""Audits over time, made up: independent estimates around a known truth, with intervals of a known standard error."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy import stats

from rlhf_fair.monitoring.history import DatedAudit
from rlhf_fair.records import Better, Finding, Verdict

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def claim(
    group: str, estimate: float, *, error: float = 0.03, df: int = 60, better: Better = "zero", **changes: object
) -> Finding:
    """A claim whose 95 % interval is that of t with ``df`` degrees of freedom; of a ratio, on a log scale."""
    half = float(stats.t.ppf(0.975, df)) * error
    low, high = estimate - half, estimate + half
    if better == "one":
        low, high = estimate * float(np.exp(-half)), estimate * float(np.exp(half))
    base: dict[str, object] = {
        **{"id": f"base/names/gap/{group}", "stage": "base", "probe": "names", "metric": "gap", "attribute": "group"},
        **{"group": group, "reference": "all", "estimate": estimate, "ci_low": low, "ci_high": high, "unit": "points"},
        **{"p_value": 0.5, "p_adjusted": 0.5, "threshold": 0.3, "margin": 0.3, "mde": 0.1, "better": better},
        **{"n": 500, "n_clusters": df + 1, "verdict": Verdict.INCONCLUSIVE},
    }
    return Finding.model_validate(base | changes)


def audit(at: int, findings: Sequence[Finding], **changes: object) -> DatedAudit:
    """The audit of week ``at``."""
    content: dict[str, object] = {
        **{"name": f"week {at}", "date": FIRST + timedelta(weeks=at), "date_source": "test", "title": "Names"},
        **{"results_sha256": f"{at:064d}", "alpha": 0.05, "version": "1", "plan": '{"probe":"names"}'},
        "findings": tuple(findings),
    }
    return DatedAudit(**(content | changes))  # type: ignore[arg-type]


def history(
    truth: np.ndarray, rng: np.random.Generator, *, error: float = 0.03, df: int = 60, better: Better = "zero"
) -> list[DatedAudit]:
    """``truth``: (audits, claims). Errors are t: the normal part is drawn, and so is its estimated standard error."""
    found = []
    for at, row in enumerate(truth):
        drawn = row + error * rng.standard_normal(len(row))
        errors = error * np.sqrt(rng.chisquare(df, len(row)) / df)
        values = zip(drawn, errors, strict=True)
        findings = [claim(f"g{k}", float(v), error=float(e), df=df, better=better) for k, (v, e) in enumerate(values)]
        found.append(audit(at, findings))
    return found
