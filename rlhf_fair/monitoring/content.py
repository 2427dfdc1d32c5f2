"""A history as plain data: ``monitor.json``."""

from __future__ import annotations

from typing import Any

from rlhf_fair.monitoring.drift import Drift, Move
from rlhf_fair.records import SCHEMA_VERSION, Number, Record


class MovedNumber(Record):
    """One number with its interval."""

    estimate: Number
    ci_low: Number
    ci_high: Number


class MoveRecord(Record):
    """One claim at one look; ``since`` and ``at`` are positions among the audits, from 0."""

    claim: str
    since: int
    at: int
    change: MovedNumber
    worsening: MovedNumber
    p_value: Number
    p_adjusted: Number
    level: float
    paired: bool
    state: str
    reason: str
    note: str


def content_of(drift: Drift) -> dict[str, Any]:
    """Audits, claims over time, moves and the exit code; a number that is not known is null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "alpha": drift.watch.alpha,
        "spending": drift.watch.spending,
        "exit_code": drift.exit_code,
        "audits": [
            {
                "audit": audit.name,
                "date": audit.date.isoformat(),
                "date_source": audit.date_source,
                "results_sha256": audit.results_sha256,
                "version": audit.version,
                "claims": [claim.model_dump(mode="json") for claim in audit.claims.values()],
            }
            for audit in drift.audits
        ],
        "moves": [_record(move).model_dump(mode="json") for move in drift.moves],
    }


def _record(move: Move) -> MoveRecord:
    change, worse = (
        MovedNumber(estimate=e.estimate, ci_low=e.ci_low, ci_high=e.ci_high)
        for e in (move.moved.change, move.moved.worsening)
    )
    return MoveRecord(
        claim=move.claim.id,
        since=move.since,
        at=move.at,
        change=change,
        worsening=worse,
        p_value=move.moved.worsening.p_value,
        p_adjusted=move.p_adjusted,
        level=move.level,
        paired=move.moved.paired,
        state=move.state.value,
        reason=move.moved.worsening.reason,
        note=move.note,
    )
