"""An estimate with its interval as a mark on a plot, rounded as the table beside it prints it."""

from __future__ import annotations

from rlhf_fair.report import numbers as num
from rlhf_fair.report.display import Point


def interval_point(at: float, value: float, low: float, high: float, places: int, name: str) -> Point:
    """A point whose numbers are rounded as the table prints them; ``name`` heads its hover text."""
    known = num.finite(low) and num.finite(high)
    return Point(
        at=at,
        value=num.rounded(value, places),
        low=num.rounded(low, places) if known else None,
        high=num.rounded(high, places) if known else None,
        hover=f"{name}: {num.shown(value, places)} {num.interval(low, high, places)}",
    )
