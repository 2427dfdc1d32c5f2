"""How evidence is looked for: a predicate over a `Case` finds it **present**, **partial** or **absent**.

Present: all of it is there. Partial: some is, or it is only stated. A finding counts as evidence whatever its verdict:
that a gap was measured and is large is evidence as good as that it is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rlhf_fair.compliance.context import Context
from rlhf_fair.records import Finding, Results, Verdict


class State(StrEnum):
    """How much of a kind of evidence there is."""

    PRESENT = "present"
    PARTIAL = "partial"
    ABSENT = "absent"


@dataclass(frozen=True)
class Case:
    """What evidence is looked for in."""

    results: Results
    context: Context

    @property
    def compared(self) -> tuple[Finding, ...]:
        """Findings on groups that matter; controls compare what should not."""
        return tuple(f for f in self.results.findings if f.role != "control" and f.group)

    @property
    def claims(self) -> tuple[Finding, ...]:
        """Findings that the plan declared."""
        return tuple(f for f in self.results.findings if f.role == "claim")


class Found(NamedTuple):
    """``said``: what there is, or what is missing. ``where``: the section of the page it stands in."""

    state: State
    said: str
    where: str = ""


Look = Callable[[Case], Found]
"""A kind of evidence: finds it in a case."""


def overall(states: Iterable[State]) -> State:
    """Of several kinds together: present where all are, absent where all are, else partial."""
    met = set(states)
    return met.pop() if len(met) == 1 else State.PARTIAL


def measured(finding: Finding) -> bool:
    """Whether a finding has a number."""
    return finding.verdict != Verdict.NOT_MEASURED and math.isfinite(finding.estimate)


def share(hits: int, of: int, what: str, where: str) -> Found:
    """``hits`` of so many: all are there, some, or none."""
    if not hits:
        return Found(State.ABSENT, f"0 of {of} {what}" if of else f"no {what}")
    return Found(State.PRESENT if hits == of else State.PARTIAL, f"{hits} of {of} {what}", where)
