"""A history as one page, as Markdown and as JSON: is there an alarm, how did every claim run, what was compared how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlhf_fair.artifacts import canonical_json, make_folder, sha256_bytes, write_bytes, write_canonical_json
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.monitoring.content import content_of
from rlhf_fair.monitoring.drift import Drift, Move, State
from rlhf_fair.monitoring.trend import claim_name, day, trend_charts
from rlhf_fair.records import Verdict
from rlhf_fair.report import HTML_NAME
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Gap, Page, Section, Summary, Table, Tally
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import summarize

JSON_NAME, MARKDOWN_NAME, TEMPLATE = "monitor.json", "monitor.md", "monitor.html.j2"
MOST_ALARMS, PAGE_ROWS = 6, 40
ICONS = {
    State.ALARM: Verdict.EXCEEDS,
    State.UNDECIDED: Verdict.INCONCLUSIVE,
    State.NOT_MEASURED: Verdict.NOT_MEASURED,
    State.STEADY: Verdict.WITHIN,
}
CLAIMS = {
    State.ALARM: "worse",
    State.UNDECIDED: "undecided",
    State.NOT_MEASURED: "not measured",
    State.STEADY: "steady",
}
NOT_SHOWN = (
    "No alarm is not the same as no drift: a change smaller than the intervals can show rings none.",
    "It says what became of the plan's claims and of nothing else, and only where the audits asked about the same.",
)


def write_history(folder: Path, drift: Drift) -> Path:
    """Write ``index.html``, ``monitor.md``, ``monitor.json``, manifest and log; returns the path of the page."""
    make_folder(folder)
    page = history_page(drift)
    write_canonical_json(folder / JSON_NAME, content_of(drift))
    write_bytes(folder / MARKDOWN_NAME, summarize(page).encode())
    write_bytes(folder / HTML_NAME, render(page, TEMPLATE).encode())
    inputs = {f"{day(audit.date)} {audit.name}/results.json": audit.results_sha256 for audit in drift.audits}
    seal(folder, inputs=inputs, seeds={})
    return folder / HTML_NAME


def history_page(drift: Drift) -> Page:
    """All that the page shows."""
    payload = canonical_json(content_of(drift))
    sections = (
        Section(
            "trend",
            "How did every claim run?",
            "Trends",
            answer=(_trend_answer(drift),),
            charts=trend_charts(drift.audits),
        ),
        _alarm_section(drift),
        Section(
            "latest",
            "What changed up to the last audit?",
            "Last changes",
            tables=(_moves_table("latest-table", "Changes at the last look", drift.latest, drift),),
        ),
        Section(
            "moves",
            "What were all the changes?",
            "All changes",
            tables=(_moves_table("moves-table", "All changes, look by look", drift.moves, drift),),
        ),
        _audits_section(drift),
        _method_section(drift),
    )
    return Page(_summary(drift), sections, sha256_bytes(payload + b"\n"), payload)


def verdict_sentence(drift: Drift) -> str:
    """Whether an alarm rang, in one sentence."""
    of = f"over {len(drift.audits)} audits, {day(drift.audits[0].date)} to {day(drift.audits[-1].date)}"
    if drift.alarms:
        claims = len({move.claim.id for move in drift.alarms})
        got = "claim is" if claims == 1 else "claims are"
        return f"{claims} {got} shown to have got worse {of}."
    if drift.exit_code == 0:
        return f"No claim is shown to have got worse {of}, and none by more than its margin at the last look."
    waiting = len({move.claim.id for move in drift.latest if move.state != State.STEADY})
    are = "it is" if waiting == 1 else "they are"
    return f"No claim is shown to have got worse {of}; for {waiting} it is open whether {are} by more than the margin."


def move_sentence(move: Move, drift: Drift) -> str:
    """One change in words: the claim, from when to when, and by how much it is worse."""
    worse, places = move.moved.worsening, _places(move)
    size = "distance from 1 (log)" if move.claim.better == "one" else move.claim.unit
    return (
        f"{say.sentence_case(claim_name(move.claim))}, {_when(move, drift)}: further from better by "
        f"{num.shown(worse.estimate, places)} {num.interval(worse.ci_low, worse.ci_high, places)} {size}".rstrip()
    )


def _summary(drift: Drift) -> Summary:
    order = list(State)
    worst: dict[str, State] = {}
    for move in drift.latest:
        worst[move.claim.id] = min(move.state, worst.get(move.claim.id, move.state), key=order.index)
    states = Counter(worst.values())
    first = {move.claim.id: move for move in reversed(drift.alarms)}
    ordered = sorted(first.values(), key=lambda move: move.at)
    gaps = tuple(
        Gap(move_sentence(move, drift), _how(move), ICONS[move.state].value, "first alarm")
        for move in ordered[:MOST_ALARMS]
    )
    last = drift.audits[-1]
    paired = sum(move.moved.paired for move in drift.moves)
    return Summary(
        title=f"History: {last.title or 'audits of one plan'}",
        question="",
        verdict=verdict_sentence(drift),
        sensitivity=f"All looks together ring a false alarm with probability {drift.watch.alpha:g} at most.",
        tallies=tuple(Tally(ICONS[s].value, f"{CLAIMS[s]} at the last look", states[s]) for s in State if states[s]),
        gaps=gaps,
        scope=(
            ("Audits", f"{len(drift.audits)}, {day(drift.audits[0].date)} to {day(last.date)}"),
            ("Claims", num.count(len(last.claims))),
            ("Changes", f"{num.count(len(drift.moves))}, {num.count(paired)} of them paired"),
        ),
        not_shown=NOT_SHOWN,
    )


def _trend_answer(drift: Drift) -> str:
    return f"Every mark is the estimate of one audit with its interval, {100 * (1 - drift.audits[-1].alpha):g} %."


def _alarm_section(drift: Drift) -> Section:
    if not drift.alarms:
        return Section("alarms", "Which alarms rang?", "Alarms", answer=("None.",))
    answer = (f"{num.plural(len(drift.alarms), 'alarm')}. They stay until a history is begun at a later baseline.",)
    table = _moves_table("alarms-table", "Alarms, the first one first", drift.alarms, drift)
    return Section("alarms", "Which alarms rang?", "Alarms", answer=answer, tables=(table,))


def _moves_table(id: str, caption: str, moves: Sequence[Move], drift: Drift) -> Table:
    labels = ("State", "Claim", "From – to", "Earlier", "Later", "Worse by", "Interval", "Adjusted p", "Level", "How")
    rows = []
    for move in moves:
        worse, places = move.moved.worsening, _places(move)
        then, missing = drift.audits[move.since].claims[move.claim.id], move.state == State.NOT_MEASURED
        rows.append(
            (
                Cell(move.state.value, verdict=ICONS[move.state].value, detail=worse.reason if missing else ""),
                Cell(claim_name(move.claim), detail=move.claim.unit),
                Cell(_when(move, drift)),
                Cell(num.shown(then.estimate, places)),
                Cell(num.shown(move.claim.estimate, places)),
                Cell(num.MISSING if missing else num.shown(worse.estimate, places, sign=True), missing=missing),
                Cell(num.interval(worse.ci_low, worse.ci_high, places)),
                Cell(_p(move.p_adjusted)),
                Cell(num.significant(move.level, 2)),
                Cell("paired" if move.moved.paired else "independent", detail=say.shortened(move.note, 120)),
            )
        )
    note = "Worse by: how much further from what is better; of a ratio, the logarithm of its distance from 1."
    columns = tuple(Column(label, label not in ("State", "Claim", "From – to", "How")) for label in labels)
    return Table(id, caption, columns, tuple(rows), paged=len(rows) > PAGE_ROWS, stacked=True, note=note)


def _audits_section(drift: Drift) -> Section:
    labels = ("Date", "Audit", "Date from", "Exceed", "Within", "Open", "Version", "SHA-256 of results.json")
    rows = []
    for audit in drift.audits:
        found = Counter(claim.verdict for claim in audit.claims.values())
        open_ones = found[Verdict.INCONCLUSIVE] + found[Verdict.NOT_MEASURED]
        counts = (found[Verdict.EXCEEDS], found[Verdict.WITHIN], open_ones)
        texts = (day(audit.date), audit.name, audit.date_source, *map(num.count, counts))
        rows.append(tuple(map(Cell, (*texts, audit.version or "–", audit.results_sha256))))
    columns = tuple(Column(label, label in ("Exceed", "Within", "Open")) for label in labels)
    table = Table("audits-table", "The audits of this history", columns, tuple(rows), stacked=True)
    versions = list(dict.fromkeys(audit.version for audit in drift.audits if audit.version))
    said = f"Measured with different versions of rlhf-fair: {', '.join(versions)}. A change may be theirs."
    return Section(
        "audits", "Which audits are compared?", "Audits", answer=(said,) if len(versions) > 1 else (), tables=(table,)
    )


def _method_section(drift: Drift) -> Section:
    looks = len(drift.audits) - 1
    share = "look j gets alpha / (j (j + 1))" if drift.watch.spending == "open" else f"every look gets alpha / {looks}"
    bullets = (
        "Every claim is compared with the audit before and with the first one. A gap is worse where it is further from "
        "0, whichever its sign; a ratio where it is further from 1; a level where it moved away from what is better.",
        f"The looks share alpha = {drift.watch.alpha:g}: {share}. Holm corrects inside a look.",
        "Paired: measured again from the records of the items that both audits have, as by rlhf-fair diff.",
        "Independent: from the two estimates, whose standard errors follow from their intervals (t with clusters less "
        "one degrees of freedom) and add up; on items that both audits share this is wider than it need be.",
        "Steady: the interval of the worsening ends below the margin of the plan.",
    )
    return Section("method", "How are audits compared?", "Method", bullets=bullets)


def _when(move: Move, drift: Drift) -> str:
    which = "first" if move.since == 0 else "before"
    return f"{day(drift.audits[move.since].date)} ({which}) to {day(drift.audits[move.at].date)}"


def _how(move: Move) -> str:
    return f"{'paired' if move.moved.paired else 'independent'} · adjusted p {_p(move.p_adjusted)}"


def _p(value: float) -> str:
    """Small ones to two digits, since they are held against a small part of alpha."""
    return num.significant(value, 2) if 1e-6 <= value < 0.001 else "< 0.000001" if value < 1e-6 else num.p_value(value)


def _places(move: Move) -> int:
    worse = move.moved.worsening
    return max(2, num.decimals([(worse.ci_low, worse.ci_high)], [move.claim.estimate]))
