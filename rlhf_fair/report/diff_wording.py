"""Words and marks for what became of a number between two audits, and how its numbers are rounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlhf_fair.changes import Change, ChangeStatus
from rlhf_fair.records import Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say

STATUS_WORDS = {
    ChangeStatus.NEW: "newly exceeds",
    ChangeStatus.WORSE: "worse",
    ChangeStatus.UNDECIDED: "undecided",
    ChangeStatus.NOT_MEASURED: "not measured",
    ChangeStatus.UNCHANGED: "unchanged",
    ChangeStatus.BETTER: "better",
    ChangeStatus.FIXED: "exceeds no more",
}

STATUS_ICONS = {
    ChangeStatus.NEW: Verdict.EXCEEDS,
    ChangeStatus.WORSE: Verdict.EXCEEDS,
    ChangeStatus.UNDECIDED: Verdict.INCONCLUSIVE,
    ChangeStatus.NOT_MEASURED: Verdict.NOT_MEASURED,
    ChangeStatus.UNCHANGED: Verdict.WITHIN,
    ChangeStatus.BETTER: Verdict.WITHIN,
    ChangeStatus.FIXED: Verdict.WITHIN,
}
"""The icons of an audit's report, which a reader knows: trouble, none, open, nothing to see."""

STATUS_MARKS = {
    ChangeStatus.NEW: ("var(--vermillion)", "triangle-up"),
    ChangeStatus.WORSE: ("var(--vermillion)", "square"),
    ChangeStatus.UNDECIDED: ("var(--blue)", "diamond-open"),
    ChangeStatus.UNCHANGED: ("var(--green)", "circle"),
    ChangeStatus.BETTER: ("var(--green)", "diamond"),
    ChangeStatus.FIXED: ("var(--green)", "triangle-down"),
}

BY_MARGIN = {
    "yes": "worse by more than the margin",
    "no": "not worse by more than the margin",
    "open": "worse by more than the margin? open",
}

Family = tuple[str, str, str]


def family(change: Change) -> Family:
    """Metric, unit and which way is better: changes that share an axis and a rounding."""
    return change.metric, change.unit, change.better


def is_judged(change: Change) -> bool:
    """True where the plan has limits for the metric."""
    return num.finite(change.threshold)


def worst_first(changes: Iterable[Change]) -> list[Change]:
    """By how much worse B is, in multiples of the tolerance; unmeasured ones last."""

    def size(change: Change) -> tuple[bool, float]:
        known = num.finite(change.worsening)
        scale = change.tolerance if num.finite(change.tolerance) and change.tolerance > 0 else 1.0
        return not known, -change.worsening / scale if known else 0.0

    return sorted(changes, key=size)


def places_of(changes: Sequence[Change]) -> dict[Family, int]:
    """Decimals of each family: those that its intervals of the change deserve, and that keep them off 0 and limits."""
    found: dict[Family, int] = {}
    for name in dict.fromkeys(map(family, changes)):
        members = [c for c in changes if family(c) == name and num.finite(c.change)]
        intervals = [(c.ci_low, c.ci_high) for c in members]
        places = num.decimals(intervals, [e for c in members for e in (c.a.estimate, c.b.estimate)])
        ends = [end for pair in intervals for end in pair]
        marks = {0.0, *(side * c.tolerance for c in members for side in (-1, 1) if c.better == "zero")}
        found[name] = min(4, num.places_apart(ends, marks, at_least=places))
    return found


def subject(change: Change) -> str:
    """The group, and against whom."""
    who = change.group or "all groups"
    return f"{who} vs {change.reference}" if change.reference else who


def size_words(change: Change) -> str:
    """What ``worsening`` is, in a few words."""
    return {
        "zero": "change in |gap|",
        "one": "change in distance from 1 (log)",
        "high": "fell by",
        "low": "rose by",
    }[change.better]


def change_interval(change: Change, places: int) -> str:
    """``+0.07 [0.02, 0.12]``, or the change alone where it has no interval."""
    value = num.shown(change.change, places, sign=True)
    ends = num.interval(change.ci_low, change.ci_high, places)
    return value if ends == "–" else f"{value} {ends}"


def sentence(change: Change, places: int) -> str:
    """One change in words: ``Bias ambiguous, Age: 0.05 in A, 0.12 in B; B less A +0.07 [0.02, 0.12]``."""
    a, b = num.shown(change.a.estimate, places), num.shown(change.b.estimate, places)
    name = f"{say.sentence_case(say.words(change.metric))}, {subject(change)}"
    return f"{name}: {a} in A, {b} in B; B less A {change_interval(change, places)} {change.unit}".rstrip()
