"""From results to a page of plain data: which sections there are, what each asks, and what the first screen says."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report import claims, context, ledger, training
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Page, Section, Summary, Tally

TOP_ROWS = 10


def page(results: Results) -> Page:
    """All that the report shows."""
    payload = canonical_json(results.model_dump(mode="json"))
    # results.json has sorted keys: read it as a later rendering will, so that both give the same bytes.
    results = Results.model_validate(json.loads(payload))
    digest = sha256_bytes(payload + b"\n")
    sections = [
        top_section(results),
        ledger_section(results),
        moved_section(results),
        mitigation_section(results),
        training_section(results),
        context.recovery_section(results.audit),
        controls_section(results),
        context.data_section(results.audit),
        context.tables_section(results.audit),
        all_section(results),
        context.limits_section(results.audit),
        context.provenance_section(results, digest),
    ]
    return Page(summary(results), tuple(section for section in sections if section), digest, payload)


def summary(results: Results) -> Summary:
    """The first screen."""
    audit = results.audit
    claimed = [finding for finding in results.findings if finding.role == "claim"]
    places = claims.places_by_metric(results.findings)
    tallies = tuple(
        Tally(verdict.value, _tally_word(verdict, number), number)
        for verdict in Verdict
        for number in (sum(finding.verdict == verdict for finding in claimed),)
    )
    limits = context.sentences(audit.get("limits"))
    return Summary(
        title=str(audit.get("title") or "Bias audit"),
        question=str(audit.get("question") or ""),
        verdict=verdict_sentence(claimed, len(results.findings)),
        sensitivity=" ".join(
            filter(
                None,
                [
                    claim_scope(claimed, results.findings),
                    say.sensitivity(claimed or results.findings),
                    interval_note(audit.get("alpha")),
                ],
            )
        ),
        tallies=tallies if claimed else (),
        gaps=claims.worst(results.findings, places),
        scope=context.scope(results),
        not_shown=(*limits[:3], *context.ALWAYS_LIMITS),
    )


def claim_scope(claimed: Sequence[Finding], findings: Sequence[Finding]) -> str:
    """Which stage the claims are about, where they are about one of several."""
    subjects = {(finding.stage, finding.variant) for finding in claimed}
    if len(subjects) != 1 or len({finding.stage for finding in findings}) == 1:
        return ""
    ((stage, variant),) = subjects
    return f"The claims are about {say.stage(stage)}{f', {variant}' if variant else ''}."


def interval_note(alpha: object) -> str:
    """What the brackets hold, where alpha is known."""
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 1:
        return ""
    return f"Brackets hold {num.significant(100 * (1 - alpha))} % intervals."


def verdict_sentence(claimed: Sequence[Finding], findings: int) -> str:
    """How many claims exceed, stay within, are inconclusive or were not measured, in one sentence.

    Where none exceeds it says which gap was looked for, and never that there is none.
    """
    if not claimed:
        none = "no finding was recorded" if findings == 0 else "its findings are exploratory"
        return f"This audit declared no claim in advance: {none}."
    counts = {verdict: sum(finding.verdict == verdict for finding in claimed) for verdict in Verdict}
    limits = _thresholds(claimed)
    one = f" of {limits[0]}" if len(limits) == 1 and counts[Verdict.EXCEEDS] else ""
    endings = {
        Verdict.EXCEEDS: ("exceeds", "exceed", f" {'the' if one else 'its'} threshold{one}"),
        Verdict.WITHIN: ("lies", "lie", " within it"),
        Verdict.INCONCLUSIVE: ("is", "are", " inconclusive"),
        Verdict.NOT_MEASURED: ("was", "were", " not measured"),
    }
    parts = [
        f"{num.count(counts[verdict])} {single if counts[verdict] == 1 else many}{rest}"
        for verdict, (single, many, rest) in endings.items()
        if counts[verdict] or verdict == Verdict.EXCEEDS
    ]
    tally = f"Of {num.plural(len(claimed), 'claim')}, {say.listed(parts)}."
    if counts[Verdict.EXCEEDS] or not limits:
        return tally
    return f"No gap above {say.listed(limits)} detected. {tally}"


def _thresholds(claimed: Sequence[Finding]) -> list[str]:
    values = {(finding.threshold, finding.unit) for finding in claimed if num.finite(finding.threshold)}
    return [f"{num.significant(value)} {unit}".strip() for value, unit in sorted(values)]


def _tally_word(verdict: Verdict, number: int) -> str:
    if verdict == Verdict.EXCEEDS:
        return "exceeds threshold" if number == 1 else "exceed threshold"
    return say.VERDICT_WORDS[verdict]


def top_section(results: Results) -> Section | None:
    """The largest findings that are not controls, as a table and as forest plots."""
    findings = [finding for finding in results.findings if finding.role != "control"]
    if not findings:
        return None
    order = claims.ranked(findings)
    places = claims.places_by_metric(results.findings)
    mixed = len({(finding.unit, finding.better) for finding in order}) > 1
    by = "distance from parity, in multiples of each threshold" if mixed else "absolute estimate"
    charts = claims.forests(results.findings)
    unmeasured = len(findings) - len(order)
    answer = [f"{num.plural(len(order), 'finding')} measured, ranked by {by}. " + _direction(order)]
    if unmeasured:
        answer.append(
            f"{num.plural(unmeasured, 'finding')} not measured; the reasons are in the table of all findings."
        )
    table = claims.findings_table(
        order[:TOP_ROWS], places, id="top-table", caption=f"The {min(TOP_ROWS, len(order))} largest", stacked=True
    )
    return Section(
        "findings",
        "Where are the largest gaps?",
        "Largest gaps",
        answer=tuple(answer),
        charts=charts,
        tables=(table,) if order else (),
    )


def _direction(order: Sequence[Finding]) -> str:
    ways = list(dict.fromkeys(say.better(finding) for finding in order))
    return (
        f"{say.sentence_case(ways[0])}." if len(ways) == 1 else "Which way is better differs and stands in the table."
    )


def controls_section(results: Results) -> Section | None:
    """Comparisons that should show nothing, and how large they came out."""
    controls = [finding for finding in results.findings if finding.role == "control"]
    if not controls:
        return None
    places = claims.places_by_metric(results.findings)
    exceeding = sum(finding.verdict == Verdict.EXCEEDS for finding in controls)
    answer = [
        f"Controls compare things that should not matter. {num.plural(exceeding, 'control')} of "
        f"{num.count(len(controls))} {'exceeds' if exceeding == 1 else 'exceed'} the threshold."
    ]
    for family in claims.families(controls):
        order = claims.ranked(family.findings)
        if order:
            level = say.with_unit(say.distance_from_parity(order[0]), places[family.metric, family.unit], family.unit)
            answer.append(
                f"The largest control reaches {level}; findings no larger than that may be wording and not bias."
            )
    rest = [finding for finding in controls if not say.is_measured(finding)]
    table = claims.findings_table(
        [*claims.ranked(controls), *rest], places, id="controls-table", caption="All controls, largest first"
    )
    return Section("controls", "Do the controls stay quiet?", "Controls", answer=tuple(answer), tables=(table,))


def ledger_section(results: Results) -> Section | None:
    """The gap at each stage."""
    if not results.ledger:
        return None
    return Section(
        "ledger",
        "At which stage did the gap enter?",
        "Bias ledger",
        bullets=ledger.ledger_answer(results.ledger),
        charts=(ledger.ledger_chart(results.ledger),),
    )


def moved_section(results: Results) -> Section | None:
    """Group means at each stage."""
    chart = ledger.moved_chart(results.ledger)
    if not chart:
        return None
    return Section(
        "moved", "Which group moved?", "Who moved", bullets=ledger.moved_answer(results.ledger), charts=(chart,)
    )


def mitigation_section(results: Results) -> Section | None:
    """Before and after: comparisons of policies, and changes of the gap along the ledger."""
    tables = (training.comparisons_table(results.training.comparisons), ledger.changes_table(results.ledger))
    found = tuple(table for table in tables if table)
    if not found:
        return None
    answer = ("For a difference, an interval that reaches across 0 means that no change was detected.",)
    return Section(
        "mitigation", "What did mitigation change, and what did it cost?", "Mitigation", answer, tables=found
    )


def training_section(results: Results) -> Section | None:
    """Runs and their curves."""
    runs = results.training.runs
    if not runs:
        return None
    curves = training.curves_chart(runs)
    return Section(
        "training",
        "How did training go?",
        "Training",
        charts=(curves,) if curves else (),
        tables=(training.runs_table(runs),),
    )


def all_section(results: Results) -> Section | None:
    """Every finding, in the order of the results file."""
    if not results.findings:
        return None
    table = claims.findings_table(
        results.findings,
        claims.places_by_metric(results.findings),
        id="all-table",
        caption=f"All {num.plural(len(results.findings), 'finding')}",
    )
    return Section("all", "What were all the findings?", "All findings", tables=(table,))
