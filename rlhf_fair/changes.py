"""The nouns of a comparison of two audits, A and B: each number in both, its change B less A, and what became of it.

The JSON of `AuditDiff` is ``diff.json``; as in `rlhf_fair.records`, NaN is null there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from rlhf_fair.records import NAN, SCHEMA_VERSION, Better, Number, Record, Role, Verdict


class ChangeStatus(StrEnum):
    """What became of a number from audit A to audit B; see `rlhf_fair.audit.compare_status`."""

    NEW = "new"
    WORSE = "worse"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not_measured"
    UNCHANGED = "unchanged"
    BETTER = "better"
    FIXED = "fixed"


class Side(Record):
    """One number in one of the two audits, from the items that both measured; no verdict: the plan has no limits."""

    estimate: Number
    ci_low: Number = NAN
    ci_high: Number = NAN
    verdict: Verdict | None = None
    reason: str = ""


class Change(Record):
    """One number in both audits, and its paired change, B less A.

    ``worsening``: by how much B is further from what is ``better`` than A, negative where it is nearer: |B| - |A| for
    a gap, the same of logarithms for a ratio, and the change itself or its negative for a level. ``p_value`` is of no
    worsening or improvement. ``tolerance``: the largest worsening that the plan's limits let pass; NaN: they name none.
    ``worse_by_margin``: whether it is shown that B is worse by more than that ("yes"), or not ("no").
    """

    id: str
    metric: str
    variant: str = ""
    attribute: str
    group: str
    reference: str
    role: Role
    better: Better
    unit: str = ""
    threshold: Number = NAN
    margin: Number = NAN
    a: Side
    b: Side
    change: Number
    ci_low: Number = NAN
    ci_high: Number = NAN
    standard_error: Number = NAN
    df: Number = NAN
    worsening: Number = NAN
    worsening_low: Number = NAN
    worsening_high: Number = NAN
    tolerance: Number = NAN
    p_value: Number = NAN
    p_adjusted: Number = NAN
    worse_by_margin: Literal["yes", "no", "open"] = "open"
    n: int = 0
    n_clusters: int = 0
    status: ChangeStatus
    reason: str = ""


class ComparedAudit(Record):
    """One of the two audits: who was audited, and the digests of the files that were read."""

    name: str
    folder: str
    n_records: int
    measured: int
    problems: dict[str, int] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)


class ComparedItems(Record):
    """Which items were compared: ``in_both`` = ``compared`` + ``unmeasured`` (in one of the two, or in both)."""

    in_both: int
    only_a: int
    only_b: int
    compared: int
    unmeasured: int


class AuditDiff(Record):
    """The content of ``diff.json``: two audits of one plan, item by item. ``only_a``, ``only_b``: ids of numbers."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    title: str
    question: str
    probe: str
    a: ComparedAudit
    b: ComparedAudit
    alpha: float
    clusters: tuple[str, ...]
    n_groups: int
    seed: int
    items: ComparedItems
    changes: tuple[Change, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1: a claim newly exceeds its threshold, or is worse by more than its margin. 0: none is. 3: that is open."""
        claims = [change for change in self.changes if change.role == "claim"]
        if any(change.status == ChangeStatus.NEW or change.worse_by_margin == "yes" for change in claims):
            return 1
        return 0 if claims and all(change.worse_by_margin == "no" for change in claims) else 3
