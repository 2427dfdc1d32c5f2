"""From results to a page of plain data: which sections there are, what each asks, and what the first screen says."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report import clauses, context, feedback, headline, ledger, moved, outline, training
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.aggregates import RELIABILITY
from rlhf_fair.report.calibration import calibration_section
from rlhf_fair.report.counterfactuals import counterfactual_section
from rlhf_fair.report.display import Page, Section, Summary, Tally
from rlhf_fair.report.findings_table import findings_table
from rlhf_fair.report.forests import forests
from rlhf_fair.report.groups import groups_section
from rlhf_fair.report.ledger_tables import changes_table
from rlhf_fair.report.missing_bounds import UNKNOWN_CATEGORIES, bounds_section
from rlhf_fair.report.plain_tables import sentences
from rlhf_fair.report.power_curve import power_section
from rlhf_fair.report.ranking import is_mixed, ranked, worst
from rlhf_fair.report.reading import Terms, family_of, is_measured, is_to_best, terms_of
from rlhf_fair.report.rendering import Rendering
from rlhf_fair.report.steps import steps_chart
from rlhf_fair.report.training_groups import group_charts
from rlhf_fair.report.word_attribution import words_section

TOP_ROWS = 10


def page(results: Results, rendering: Rendering | None = None) -> Page:
    """All that the report shows; ``rendering``: the frameworks and the context that were asked for, if any."""
    rendering = rendering or Rendering()
    payload = canonical_json(results.model_dump(mode="json"))
    # results.json has sorted keys: read it as a later rendering will, so that both give the same bytes.
    results = Results.model_validate(json.loads(payload))
    digest = sha256_bytes(payload + b"\n")
    terms = terms_of(results)
    by_raters = feedback.is_feedback(results)

    def told(name: str) -> bool:
        return name == RELIABILITY or (by_raters and feedback.told(name))

    bounds = bounds_section(results)
    sections = [
        top_section(results, terms),
        feedback.raters_section(results) if by_raters else context.data_section(results.audit),
        bounds,
        groups_section(results),
        feedback.agreement_section(results) if by_raters else None,
        reward_section(results, terms),
        calibration_section(results),
        words_section(results.audit),
        counterfactual_section(results),
        ledger_section(results),
        steps_section(results),
        moved_section(results),
        mitigation_section(results),
        training_section(results),
        controls_section(results, terms),
        power_section(results),
        context.recovery_section(results.audit),
        *(s for s in context.question_sections(results.audit) if not bounds or s.heading != UNKNOWN_CATEGORIES),
        context.tables_section(results.audit, told),
        all_section(results, terms),
        context.limits_section(results),
        context.provenance_section(results, digest),
    ]
    ordered = outline.arranged([section for section in sections if section], results)
    shown = context.with_left_out(clauses.with_clauses(ordered, results, rendering), results)
    return Page(summary(results, terms, clauses.expiry_note(results, rendering.as_of)), shown, digest, payload)


def summary(results: Results, terms: Terms, caution: str = "") -> Summary:
    """The first screen; ``caution`` comes before what the audit does not show."""
    audit = results.audit
    claimed = [finding for finding in results.findings if finding.role == "claim"]
    of_training = bool(results.training.runs) and not results.findings
    tallies = tuple(
        Tally(verdict.value, headline.tally_word(claimed, verdict, terms), number)
        for verdict in Verdict
        for number in (sum(finding.verdict == verdict for finding in claimed),)
    )
    notes = (
        headline.claim_scope(claimed, results.findings),
        headline.stopping(results),
        headline.sensitivity(claimed or results.findings),
        headline.interval_note(audit),
    )
    return Summary(
        title=str(audit.get("title") or "Bias audit"),
        question=str(audit.get("question") or ""),
        verdict=(
            headline.training_sentence(results)
            if of_training
            else headline.verdict_sentence(claimed, results.findings, terms)
        ),
        sensitivity=" ".join(filter(None, notes)),
        tallies=tallies if claimed else (),
        gaps=worst(results.findings, terms),
        scope=context.scope(results),
        not_shown=(
            *((caution,) if caution else ()),
            *sentences(audit.get("limits"))[:3],
            *context.always_limits(results),
        ),
        **({"kind": "Training report"} if of_training else {}),
    )


def top_section(results: Results, terms: Terms) -> Section | None:
    """The largest findings that are not controls, as a table and as forest plots."""
    findings = [finding for finding in results.findings if finding.role != "control"]
    if not findings:
        return None
    order = ranked(findings)
    answer = [f"{num.plural(len(order), 'finding')} measured, ranked by {_ranking(order)}. " + _direction(order)]
    if unmeasured := len(findings) - len(order):
        answer.append(
            f"{num.plural(unmeasured, 'finding')} not measured; the reasons are in the table of all findings."
        )
    by_raters = feedback.is_feedback(results)
    table = findings_table(order[:TOP_ROWS], terms, id="top-table", caption=_first_in_rank(order))
    meaning, said = context.definitions_table(results.audit), context.definitions(results.audit)
    return Section(
        "findings",
        "Where do groups of raters differ most?" if by_raters else "Where are the largest gaps?",
        "Largest gaps",
        answer=tuple(answer),
        charts=feedback.gap_charts(results, terms) if by_raters else forests(results.findings, terms, said),
        tables=(*((table,) if order else ()), *((meaning,) if meaning else ())),
    )


def _first_in_rank(order: Sequence[Finding]) -> str:
    ways = {say.extreme(finding) for finding in order}
    return f"The {min(TOP_ROWS, len(order))} {ways.pop() if len(ways) == 1 else 'furthest from parity'}"


def _ranking(order: Sequence[Finding]) -> str:
    if is_mixed(order):
        return "distance from parity, in multiples of each threshold"
    ways = {
        "one": "distance of the ratio from 1" + ("" if order and is_to_best(order[0]) else ", 0.5 being as far as 2"),
        "high": "value, lowest first",
        "low": "value, highest first",
    }
    return ways.get(order[0].better, "absolute estimate") if order else "absolute estimate"


def _direction(order: Sequence[Finding]) -> str:
    ways = list(dict.fromkeys(say.better(finding) for finding in order))
    if not ways:
        return ""
    return (
        f"{say.sentence_case(ways[0])}." if len(ways) == 1 else "Which way is better differs and stands in the table."
    )


def controls_section(results: Results, terms: Terms) -> Section | None:
    """Comparisons that should show nothing, and how large they came out."""
    controls = [finding for finding in results.findings if finding.role == "control"]
    if not controls:
        return None
    exceeding = sum(finding.verdict == Verdict.EXCEEDS for finding in controls)
    answer = [
        f"Controls compare things that should not matter. {num.plural(exceeding, 'control')} of "
        f"{num.count(len(controls))} {'exceeds' if exceeding == 1 else 'exceed'} the threshold."
    ]
    for family in dict.fromkeys(family_of(finding) for finding in controls):
        order = ranked([finding for finding in controls if family_of(finding) == family])
        if order:
            level = say.with_unit(_size(order[0]), terms.places(order[0]), order[0].unit)
            answer.append(
                f"The largest control reaches {level}; findings no larger than that may be wording and not bias."
            )
    rest = [finding for finding in controls if not is_measured(finding)]
    table = findings_table(
        [*ranked(controls), *rest], terms, id="controls-table", caption="All controls, largest first"
    )
    return Section("controls", "Do the controls stay quiet?", "Controls", answer=tuple(answer), tables=(table,))


def _size(finding: Finding) -> float:
    """A gap without its sign; a ratio or a level as it is."""
    return abs(finding.estimate) if finding.better == "zero" else finding.estimate


def reward_section(results: Results, terms: Terms) -> Section | None:
    """What the reward model's own findings say, where they are among those of other stages."""
    own = [f for f in results.findings if f.stage == outline.REWARD_STAGE and f.role != "control"]
    if not own or len(own) == len(results.findings):
        return None
    order = ranked(own)
    exceeding = sum(finding.verdict == Verdict.EXCEEDS for finding in own)
    answer = (
        f"{num.plural(len(own), 'comparison')} at this stage, {num.count(len(order))} of them measured and "
        f"{num.count(exceeding)} beyond the threshold. A policy is trained towards what this model scores higher.",
    )
    caption = f"The {min(TOP_ROWS, len(order))} largest of the reward model"
    table = findings_table(order[:TOP_ROWS], terms, id="reward-table", caption=caption)
    return Section(
        "reward", "What does the reward model favour?", "Reward model", answer, tables=(table,) if order else ()
    )


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


def steps_section(results: Results) -> Section | None:
    """The change of the gap at each step."""
    chart = steps_chart(results.ledger)
    if not chart:
        return None
    return Section("steps", "Which step widened the gap, and which closed it?", "Steps", charts=(chart,))


def moved_section(results: Results) -> Section | None:
    """Group means at each stage."""
    chart = moved.moved_chart(results.ledger)
    if not chart:
        return None
    return Section(
        "moved", "Which group moved?", "Who moved", bullets=moved.moved_answer(results.ledger), charts=(chart,)
    )


def mitigation_section(results: Results) -> Section | None:
    """Before and after: comparisons of policies, and changes of the gap along the ledger."""
    tables = (training.comparisons_table(results.training.comparisons), changes_table(results.ledger))
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
        charts=(*((curves,) if curves else ()), *group_charts(runs)),
        tables=(training.runs_table(runs),),
    )


def all_section(results: Results, terms: Terms) -> Section | None:
    """Every finding, in the order of the results file."""
    if not results.findings:
        return None
    caption = f"All {num.plural(len(results.findings), 'finding')}"
    table = findings_table(results.findings, terms, id="all-table", caption=caption)
    return Section("all", "What were all the findings?", "All findings", tables=(table,))
