"""Which findings come first: by distance from parity, and on the first screen by what was established."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_fair.records import Finding
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Gap
from rlhf_fair.report.reading import Reading, Terms, family_of, is_measured, where_it_stopped

_FIRST = (Reading.EXCEEDS, Reading.DIFFERS)


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Measured findings, the farthest from parity (or the worst level) first.

    Where scales differ each distance is divided by that of its own threshold.
    """
    measured = [finding for finding in findings if is_measured(finding)]
    size = _multiple if is_mixed(measured) else distance
    return sorted(measured, key=lambda finding: (-size(finding), finding.id))


def is_mixed(findings: Sequence[Finding]) -> bool:
    """True where findings do not share one scale."""
    return len({family_of(finding)[1:] for finding in findings}) > 1


def distance(finding: Finding) -> float:
    """How far on the bad side: |gap|, |log ratio| (0.5 is as far from 1 as 2 is), a level, or minus a level."""
    if finding.better == "zero":
        return abs(finding.estimate)
    if finding.better == "one":
        return abs(math.log(finding.estimate)) if finding.estimate > 0 else math.inf
    return finding.estimate if finding.better == "low" else -finding.estimate


def _multiple(finding: Finding) -> float:
    """`distance` with the threshold's own distance as the unit: 1 is on the threshold."""
    size, threshold = distance(finding), finding.threshold
    if not num.finite(threshold) or threshold <= 0 or (finding.better == "one" and threshold == 1):
        return size
    if finding.better == "one":
        return size / abs(math.log(threshold))
    return 1 + (size + threshold) / threshold if finding.better == "high" else size / threshold


def worst(findings: Sequence[Finding], terms: Terms, *, most: int = 3) -> tuple[Gap, ...]:
    """The findings that matter most in words: beyond the threshold, then different from parity, then the claims.

    Within each, claims before slices and then by size. Controls never.
    """
    candidates = ranked([finding for finding in findings if finding.role != "control"])

    def place(finding: Finding) -> tuple[int, bool]:
        reading = terms.reading(finding)
        return _FIRST.index(reading) if reading in _FIRST else len(_FIRST), finding.role != "claim"

    several_stages = len({finding.stage for finding in findings}) > 1
    return tuple(
        Gap(
            sentence=say.gap_sentence(finding, terms.places(finding)) + ".",
            detail=_detail(finding, several_stages),
            verdict=finding.verdict.value,
            word=say.reading_words(finding, terms.reading(finding)),
        )
        for finding in sorted(candidates, key=place)[:most]
    )


def _detail(finding: Finding, several_stages: bool) -> str:
    parts = [say.stage(finding.stage)] if several_stages else []
    parts += [say.words(finding.attribute)]
    parts += [say.words(finding.variant)] if finding.variant else []
    parts += [where_it_stopped(finding)] if where_it_stopped(finding) else []
    parts += ["exploratory"] if finding.role != "claim" else []
    parts += [f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{num.behind(finding.n, finding.estimate)}"]
    return " · ".join(dict.fromkeys(parts))
