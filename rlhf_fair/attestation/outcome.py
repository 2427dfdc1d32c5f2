"""The outcome of a folder as test results: which claims passed, which failed, and which are open.

Exit code 0 is PASSED, 1 FAILED, and 3 (a claim is open, or none was made) WARNED. Only claims are tests; exploratory
slices and controls decide nothing and stand in the results alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlhf_fair.changes import AuditDiff, ChangeStatus
from rlhf_fair.records import Results, Verdict, exit_code

Result = Literal["PASSED", "WARNED", "FAILED"]
RESULT_OF: Mapping[int, Result] = {0: "PASSED", 1: "FAILED", 3: "WARNED"}


@dataclass(frozen=True)
class Outcome:
    """``passed``, ``warned``, ``failed``: ids of claims. ``plan``: what was asked, None where it is not kept."""

    result: Result
    passed: tuple[str, ...]
    warned: tuple[str, ...]
    failed: tuple[str, ...]
    plan: Any = None


def outcome_of_results(results: Results) -> Outcome:
    """Of an audit."""
    claims = [finding for finding in results.findings if finding.role == "claim"]
    return Outcome(
        RESULT_OF[exit_code(results.findings)],
        passed=tuple(f.id for f in claims if f.verdict == Verdict.WITHIN),
        warned=tuple(f.id for f in claims if f.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED)),
        failed=tuple(f.id for f in claims if f.verdict == Verdict.EXCEEDS),
        plan=results.audit.get("plan"),
    )


def outcome_of_diff(diff: AuditDiff) -> Outcome:
    """Of a comparison: a claim fails that newly exceeds its threshold, or is worse by more than its margin."""
    claims = [change for change in diff.changes if change.role == "claim"]
    failed = tuple(c.id for c in claims if c.status == ChangeStatus.NEW or c.worse_by_margin == "yes")
    passed = tuple(c.id for c in claims if c.id not in failed and c.worse_by_margin == "no")
    warned = tuple(c.id for c in claims if c.id not in failed and c.id not in passed)
    return Outcome(RESULT_OF[diff.exit_code], passed, warned, failed)
