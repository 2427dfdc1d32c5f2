"""What an interval says besides its verdict: an inconclusive finding may differ from parity, or show nothing at all.

"Inconclusive" is about the threshold. A gap of 7.1 [3.8, 10.4] against a threshold of 5 differs from 0 beyond doubt;
only its size is open. A gap of 1.0 [-6.0, 8.0] may be none. The two get different words everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report import numbers as num

NULL_VALUES = {"zero": 0.0, "one": 1.0}
CONFIDENCE_SEQUENCE = "confidence sequence"
"""The variant of findings whose audit could stop early; their reason ends with where it stopped."""
HIGHEST = "highest"
"""How the reference of a ratio to the best begins: the highest rate of all groups."""

Family = tuple[str, str, str]
"""Metric, unit and which way is better: findings that share a scale, hence an axis and a rounding."""


class Reading(StrEnum):
    """A verdict, with "inconclusive" taken apart by what the interval and the corrected p-value say about parity."""

    EXCEEDS = "exceeds"
    WITHIN = "within"
    DIFFERS = "differs"
    """Inconclusive; the interval leaves out parity, and that survives the correction: the size is not settled."""
    UNCONFIRMED = "unconfirmed"
    """Inconclusive; the interval leaves out parity, which the correction for the number of comparisons undoes."""
    OPEN = "open"
    """Inconclusive; parity lies inside the interval, or the metric has none."""
    NOT_MEASURED = "not_measured"


def is_measured(finding: Finding) -> bool:
    """True where there is an estimate that the audit stands behind; one without any interval is none."""
    bounded = num.finite(finding.ci_low) or num.finite(finding.ci_high)
    return finding.verdict != Verdict.NOT_MEASURED and num.finite(finding.estimate) and bounded


def parity(finding: Finding) -> float | None:
    """The value that means no disparity, where the metric has one."""
    return NULL_VALUES.get(finding.better)


def is_to_best(finding: Finding) -> bool:
    """True for a ratio to the highest value of all groups, which never exceeds 1."""
    return finding.better == "one" and finding.reference.startswith(HIGHEST)


def limits_of(finding: Finding, limit: float) -> tuple[float, ...]:
    """Where a threshold or margin stands on the axis: ±5 for a gap, 0.8 and 1.25 for a ratio, else the one value.

    A ratio to the best has 0.8 alone.
    """
    if not num.finite(limit):
        return ()
    if finding.better == "zero":
        return (-limit, limit)
    if finding.better == "one" and not is_to_best(finding):
        return (limit, 1 / limit) if limit > 0 else ()
    return (limit,)


def leaves_out_parity(finding: Finding) -> bool:
    """True where the interval lies wholly on one side of parity."""
    null = parity(finding)
    if null is None or not is_measured(finding):
        return False
    return (num.finite(finding.ci_low) and finding.ci_low > null) or (
        num.finite(finding.ci_high) and finding.ci_high < null
    )


def inside_threshold(finding: Finding) -> bool:
    """True where the whole interval lies on the good side of the threshold, which alone does not make it within.

    Its margin may be narrower, too few answers measured, or fewer rows compared than the policy asks for.
    """
    limits = limits_of(finding, finding.threshold)
    if not limits or not is_measured(finding):
        return False
    above = finding.better == "low" or finding.ci_low > limits[0]
    below = finding.better == "high" or is_to_best(finding) or finding.ci_high < limits[-1]
    return above and below


def is_sequential(finding: Finding) -> bool:
    """True for a finding of an audit that could stop early: its interval holds at every look, and it has no MDE."""
    return finding.variant == CONFIDENCE_SEQUENCE


def where_it_stopped(finding: Finding) -> str:
    """``stopped after 320 of at most 800 answers``, from the finding's reason; empty if it could not stop early."""
    return finding.reason.rpartition("; ")[2] if is_sequential(finding) else ""


def mde(finding: Finding) -> float:
    """The smallest detectable effect; NaN where there is none, as where the size of the audit was not fixed."""
    return float("nan") if is_sequential(finding) else finding.mde


@dataclass(frozen=True)
class Terms:
    """How one audit's findings are read: the level of its tests, and the decimals of each family."""

    alpha: float
    decimals: dict[Family, int]

    def places(self, finding: Finding) -> int:
        """The family's decimals, or more where fewer would move an end of the interval across a limit."""
        return _own_places(finding, self.decimals.get(family_of(finding), 2))

    def differs(self, finding: Finding) -> bool:
        """True where the finding differs from parity, after correction."""
        return leaves_out_parity(finding) and finding.p_adjusted <= self.alpha

    def reading(self, finding: Finding) -> Reading:
        """The finding's verdict, inconclusive ones told apart."""
        if finding.verdict != Verdict.INCONCLUSIVE:
            return {
                Verdict.EXCEEDS: Reading.EXCEEDS,
                Verdict.WITHIN: Reading.WITHIN,
                Verdict.NOT_MEASURED: Reading.NOT_MEASURED,
            }[finding.verdict]
        if not leaves_out_parity(finding):
            return Reading.OPEN
        return Reading.DIFFERS if self.differs(finding) else Reading.UNCONFIRMED


def terms_of(results: Results) -> Terms:
    """The terms of an audit; alpha is .05 where it names none."""
    alpha = results.audit.get("alpha")
    known = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 < alpha < 1
    return Terms(float(alpha) if known and alpha is not None else 0.05, family_decimals(results.findings))


def family_of(finding: Finding) -> Family:
    """See `Family`."""
    return finding.metric, finding.unit, finding.better


def family_decimals(findings: Iterable[Finding]) -> dict[Family, int]:
    """Decimals of each family: by the width of its intervals, one more where some member needs it to be told apart."""
    families: dict[Family, list[Finding]] = {}
    for finding in findings:
        families.setdefault(family_of(finding), []).append(finding)
    decimals = {}
    for family, members in families.items():
        measured = [f for f in members if is_measured(f)]
        base = num.decimals([(f.ci_low, f.ci_high) for f in measured], [f.estimate for f in measured])
        crowded = any(_own_places(finding, base) > base for finding in measured)
        decimals[family] = base + crowded
    return decimals


def _own_places(finding: Finding, at_least: int) -> int:
    if not is_measured(finding):
        return at_least
    limits = [*limits_of(finding, finding.threshold), *limits_of(finding, finding.margin)]
    null = parity(finding)
    ends = num.places_apart(
        [finding.ci_low, finding.ci_high], limits if null is None else [*limits, null], at_least=at_least
    )
    return num.places_apart([finding.estimate], limits, at_least=ends)
