"""The first words of a report: what the claims came to, what could have been seen, and where the audit stopped.

None of these sentences may say less, or more, than the intervals do: "no gap detected" is kept for claims that show no
difference, and a claim that differs from parity without being settled against its threshold is told as just that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.records import INTERSECTION, Finding, Results, Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.reading import Reading, Terms, inside_threshold, is_measured, is_sequential, mde, parity, terms_of


def verdict_sentence(claimed: Sequence[Finding], findings: Sequence[Finding], terms: Terms) -> str:
    """How many claims exceed, stay within, are inconclusive and in which way, or were not measured.

    ``findings``: all, with the claims among them. Where no claim exceeds, the exploratory ones that do are told.
    """
    if not claimed:
        none = "no finding was recorded" if not findings else "its findings are exploratory"
        return f"This audit declared no claim in advance: {none}."
    readings = [terms.reading(finding) for finding in claimed]
    counts = {verdict: sum(finding.verdict == verdict for finding in claimed) for verdict in Verdict}
    limits = list(dict.fromkeys(filter(None, (say.beyond(finding) for finding in claimed))))
    gaps = all(finding.better == "zero" for finding in claimed)
    one = f" of {limits[0].removeprefix('gap above ')}" if len(limits) == 1 and gaps and counts[Verdict.EXCEEDS] else ""
    exceeds, exceed = ("exceeds", "exceed") if gaps else ("is beyond", "are beyond")
    threshold = f" the threshold{one}" if len(limits) == 1 else " its threshold"
    endings = {
        Verdict.EXCEEDS: (exceeds, exceed, threshold),
        Verdict.WITHIN: ("lies", "lie", " within it"),
        Verdict.INCONCLUSIVE: ("is", "are", " inconclusive"),
        Verdict.NOT_MEASURED: ("was", "were", " not measured"),
    }
    if not one and len(limits) != 1 and counts[Verdict.EXCEEDS] != 1:
        endings[Verdict.EXCEEDS] = (exceeds, exceed, " their thresholds")
    parts = [
        f"{num.count(counts[verdict])} {single if counts[verdict] == 1 else many}{rest}"
        for verdict, (single, many, rest) in endings.items()
        if counts[verdict] or verdict == Verdict.EXCEEDS
    ]
    tally = f"Of {num.plural(len(claimed), 'claim')}, {say.listed(parts)}."
    opening = _opening(claimed, findings, readings, limits)
    return " ".join(filter(None, [opening, tally, _inconclusive(claimed, readings)]))


def _opening(
    claimed: Sequence[Finding], findings: Sequence[Finding], readings: Sequence[Reading], limits: Sequence[str]
) -> str:
    """What was or was not detected, where no claim exceeds its threshold."""
    if Reading.EXCEEDS in readings:
        return ""
    if all(reading == Reading.NOT_MEASURED for reading in readings):
        return "No claim was measured."
    pairs = zip(claimed, readings, strict=True)
    differing = [f for f, reading in pairs if reading == Reading.DIFFERS and not inside_threshold(f)]
    if differing:
        nulls = " or ".join(sorted({say.null_value(finding) for finding in differing}))
        one_gap = len(limits) == 1 and limits[0].startswith("gap above ")
        threshold = f"the threshold of {limits[0].removeprefix('gap above ')}" if one_gap else "its threshold"
        differ = "differs" if len(differing) == 1 else "differ"
        return (
            f"{num.count(len(differing))} of {num.plural(len(claimed), 'claim')} {differ} from {nulls}, by an amount "
            f"not settled against {threshold}."
        )
    if not limits:
        return ""
    none = f"No {' and no '.join(limits)} {'established' if Reading.UNCONFIRMED in readings else 'detected'}"
    if Reading.WITHIN not in readings and not any(inside_threshold(finding) for finding in claimed):
        none = f"Nothing is settled: {none[0].lower()}{none[1:]}, and none ruled out"
    others = [finding for finding in findings if finding.role == "exploratory"]
    beyond = sum(finding.verdict == Verdict.EXCEEDS for finding in others)
    if not beyond:
        return f"{none}."
    exceed = "exceeds its threshold" if beyond == 1 else "exceed their thresholds"
    return f"{none} in the claims; of {num.plural(len(others), 'exploratory finding')}, {num.count(beyond)} {exceed}."


_NOT_YET_WITHIN = "not meet the policy's conditions for within"
_INCONCLUSIVE = {
    (Reading.DIFFERS, False): (
        "differs from {null}, but on which side of the threshold is not settled",
        "differ from {null}, but on which side of the threshold is not settled",
    ),
    (Reading.DIFFERS, True): (
        f"differs from {{null}} with its interval inside the threshold but does {_NOT_YET_WITHIN}",
        f"differ from {{null}} with their intervals inside the threshold but do {_NOT_YET_WITHIN}",
    ),
    (Reading.UNCONFIRMED, False): (
        "has an interval without {null}, which the correction for several claims does not confirm",
        "have intervals without {null}, which the correction for several claims does not confirm",
    ),
    (Reading.OPEN, False): (
        "shows no difference from {null} and does not rule out one beyond the threshold",
        "show no difference from {null} and do not rule out one beyond the threshold",
    ),
    (Reading.OPEN, True): (
        f"shows no difference from {{null}}, its interval inside the threshold, but does {_NOT_YET_WITHIN}",
        f"show no difference from {{null}}, their intervals inside the threshold, but do {_NOT_YET_WITHIN}",
    ),
}
"""What is said of one inconclusive claim and of several, by their reading and whether they lie inside the threshold."""


def _inconclusive(claimed: Sequence[Finding], readings: Sequence[Reading]) -> str:
    """The inconclusive claims told apart."""
    parts = []
    for kind, (single, many) in _INCONCLUSIVE.items():
        members = [
            f
            for f, reading in zip(claimed, readings, strict=True)
            if (reading, reading != Reading.UNCONFIRMED and inside_threshold(f)) == kind and parity(f) is not None
        ]
        if kind == (Reading.DIFFERS, False) and Reading.EXCEEDS not in readings:
            continue  # the sentence began with them
        if members:
            nulls = sorted({say.null_value(f) for f in members})
            words = single if len(members) == 1 else many
            parts.append(f"{num.count(len(members))} {words}".format(null=" or ".join(nulls)))
    flat = [f for f, reading in zip(claimed, readings, strict=True) if reading == Reading.OPEN and parity(f) is None]
    inside = sum(inside_threshold(f) for f in flat)
    if across := len(flat) - inside:
        parts.append(f"{num.count(across)} {'reaches' if across == 1 else 'reach'} across the threshold")
    if inside:
        lies = "lies inside the threshold but does" if inside == 1 else "lie inside the threshold but do"
        parts.append(f"{num.count(inside)} {lies} {_NOT_YET_WITHIN}")
    if not parts:
        return ""
    return f"Of the inconclusive, {'; '.join(parts)}." if len(claimed) > 1 else f"It {parts[0].partition(' ')[2]}."


def training_sentence(results: Results) -> str:
    """What training did to the reward and to each gap, where a report is of training alone and has no findings.

    Gaps of crossed attributes stand further below.
    """
    parts = []
    reward = results.training.comparisons.get("reward, after less before")
    if reward is not None and num.finite(reward.estimate):
        parts.append(f"reward changed by {_change(reward.estimate, reward.ci_low, reward.ci_high)}")
    several = len({row.metric for row in results.ledger}) > 1
    at = {(row.stage, row.attribute, row.metric, row.panel): row for row in results.ledger}
    for row in results.ledger:
        before = at.get((row.change_from, row.attribute, row.metric, row.panel))
        if before is None or INTERSECTION in row.attribute:
            continue
        if not (num.finite(before.estimate) and num.finite(row.estimate)):
            continue
        places = num.decimals([], [before.estimate, row.estimate])
        went = " to ".join(num.shown(one.estimate, places) for one in (before, row))
        size = _change(row.change, row.change_ci_low, row.change_ci_high) if num.finite(row.change) else "not known"
        measure = f" in {say.words(row.metric)}" if several else ""
        parts.append(f"the gap{measure} by {say.words(row.attribute)} went from {went}, its size by {size}")
    said = f" On held-out prompts {'; '.join(parts)}." if parts else ""
    return f"This is an account of training, and no claim was declared in advance.{said}"


def _change(estimate: float, low: float, high: float) -> str:
    places = num.decimals([(low, high)], [estimate])
    known = num.finite(low) or num.finite(high)
    return f"{num.shown(estimate, places, sign=True)} " + (
        num.interval(low, high, places) if known else "(no interval)"
    )


def tally_word(claimed: Sequence[Finding], verdict: Verdict, terms: Terms) -> str:
    """The word under a number on the first screen; inconclusive ones say how many of them differ from parity."""
    members = [finding for finding in claimed if finding.verdict == verdict]
    if verdict == Verdict.EXCEEDS:
        if any(finding.better != "zero" for finding in claimed):
            return "beyond threshold"
        return "exceeds threshold" if len(members) == 1 else "exceed threshold"
    if verdict == Verdict.INCONCLUSIVE:
        differing = [finding for finding in members if terms.reading(finding) == Reading.DIFFERS]
        if not differing:
            return "inconclusive"
        null = " or ".join(sorted({say.null_value(finding) for finding in differing}))
        share = "" if len(members) == 1 else "all of them " if len(differing) == len(members) else f"{len(differing)} "
        return f"inconclusive, {share}different from {null}"
    return {Verdict.WITHIN: "within threshold", Verdict.NOT_MEASURED: "not measured"}[verdict]


def claim_scope(claimed: Sequence[Finding], findings: Sequence[Finding]) -> str:
    """Which stage the claims are about, where they are about one of several."""
    subjects = {(finding.stage, finding.variant) for finding in claimed}
    if len(subjects) != 1 or len({finding.stage for finding in findings}) == 1:
        return ""
    ((stage, variant),) = subjects
    return f"The claims are about {say.stage(stage)}{f', {variant}' if variant else ''}."


def sensitivity(claims: Sequence[Finding]) -> str:
    """The largest effect that could have gone unseen, for each kind of metric, in one sentence; empty if none is known.

    A smallest detectable effect is a distance from parity, not beyond the threshold, and the sentence says so. It is
    that of one test: correcting for several claims asks for more, and the sentence says that too.
    """
    measured = [finding for finding in claims if is_measured(finding)]
    sized = [finding for finding in measured if num.finite(mde(finding))]
    largest: dict[tuple[str, str], float] = {}
    for finding in sized:
        kind = _departure(finding)
        largest[kind] = max(largest.get(kind, 0.0), mde(finding))
    parts = [f"{before}{num.significant(size, 2)} {after}".strip() for (before, after), size in largest.items()]
    if not parts:
        return ""
    if len(sized) < len(measured):
        scope = f"for {num.count(len(sized))} of {num.count(len(measured))} claims measured, this audit"
    else:
        scope = "this audit" if len(claims) == 1 else "for every claim measured, this audit"
    alone = "" if len(claims) == 1 else ", were it the only claim"
    return f"{say.sentence_case(scope)} could detect {say.listed(parts)} at 80 % power{alone}."


def _departure(finding: Finding) -> tuple[str, str]:
    """What stands before and after the size of a smallest detectable effect."""
    if finding.better == "zero":
        return "a difference from 0 of ≥ ", finding.unit or say.quantity(finding)
    if finding.better == "one":
        return "a departure of ", f"from 1 in {say.words(finding.metric)}"
    return f"a {say.words(finding.metric)} on the wrong side of {num.limit(finding.threshold)} by ≥ ", finding.unit


def stopping(results: Results) -> str:
    """Where an audit that could stop early stopped, and what follows for its numbers; empty for all others."""
    sequential = [finding for finding in results.findings if is_sequential(finding)]
    if not sequential:
        return ""
    account = results.audit.get("sequential")
    stopped = account.get("stopped") if isinstance(account, Mapping) else None
    where = f"; it {stopped}" if isinstance(stopped, str) and stopped.startswith("stopped") else ""
    where = where or (f"; {stopped}" if isinstance(stopped, str) and stopped else "")
    return (
        f"This audit could stop early{where}. Its intervals hold at every look together, and having no fixed size it "
        "has no smallest detectable effect."
    )


def interval_note(audit: Mapping[str, Any]) -> str:
    """What the brackets hold, where alpha is known; the claims of an audit that could stop early share alpha."""
    alpha, account = audit.get("alpha"), audit.get("sequential")
    shared = account.get("alpha of each claim") if isinstance(account, Mapping) else None
    if not _is_level(alpha):
        return ""
    if _is_level(shared) and shared != alpha:
        return (
            f"Brackets hold {_percent(shared)} % intervals for the claims, {_percent(alpha)} % for all of them at once."
        )
    return f"Brackets hold {_percent(alpha)} % intervals."


def _is_level(alpha: object) -> bool:
    return isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 < alpha < 1


def _percent(alpha: Any) -> str:
    return num.significant(100 * (1 - alpha), 4)


def claim_lines(results: Results) -> list[str]:
    """One line of plain text for each claim: the verdict's name, who, the estimate, and what the interval says.

    The metric stands there where claims have several, and the variant where the claims of one metric have several.
    """
    terms = terms_of(results)
    lines = []
    claims = [finding for finding in results.findings if finding.role == "claim"]
    several = len({finding.metric for finding in claims}) > 1
    variants: dict[str, set[str]] = {}
    for finding in claims:
        variants.setdefault(finding.metric, set()).add(finding.variant)
    for finding in claims:
        said = finding.reason
        if is_measured(finding):
            places = terms.places(finding)
            signed = finding.better == "zero"
            said = f"{num.shown(finding.estimate, places, sign=signed)} "
            said += num.interval(finding.ci_low, finding.ci_high, places) + f" {finding.unit}".rstrip()
            if finding.verdict == Verdict.INCONCLUSIVE:
                said += " (" + say.reading_words(finding, terms.reading(finding)).partition(": ")[2] + ")"
        against = f" against {finding.reference}" if finding.reference else ""
        metric = f"{say.words(finding.metric)}, " if several else ""
        told_apart = finding.variant and len(variants[finding.metric]) > 1
        variant = f" ({say.words(finding.variant)})" if told_apart else ""
        who = f"{metric}{finding.attribute}: {finding.group}{against}{variant}"
        lines.append(f"{finding.verdict.value:18} {who}: {said}")
    return lines
