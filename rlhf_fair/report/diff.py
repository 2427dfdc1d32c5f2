"""A comparison of two audits as one self-contained page, as Markdown for a pull request, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlhf_fair.artifacts import canonical_json, make_folder, sha256_bytes, write_bytes, write_canonical_json
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.changes import AuditDiff, Change, ChangeStatus, ComparedAudit
from rlhf_fair.report import DIFF_NAME, HTML_NAME
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.diff_figures import charts
from rlhf_fair.report.diff_table import changes_table
from rlhf_fair.report.diff_wording import (
    BY_MARGIN,
    STATUS_ICONS,
    STATUS_WORDS,
    change_interval,
    family,
    is_judged,
    places_of,
    sentence,
    subject,
    worst_first,
)
from rlhf_fair.report.display import Cell, Column, Gap, Page, Section, Summary, Table, Tally
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import LONGEST_TABLE, Part, document, escape, table_lines

MARKDOWN_NAME = "diff.md"
TEMPLATE = "diff.html.j2"
STANDING_OUT = (ChangeStatus.NEW, ChangeStatus.WORSE, ChangeStatus.FIXED, ChangeStatus.BETTER)
MOST_SENTENCES = 6
UNJUDGED = "The plan has no limits for these numbers: the change is shown and not judged."


def write_diff(folder: Path, diff: AuditDiff) -> Path:
    """Write ``index.html``, ``diff.md``, ``diff.json``, manifest, log and statement; returns the path of the page."""
    make_folder(folder)
    content = diff_page(diff)
    write_canonical_json(folder / DIFF_NAME, diff.model_dump(mode="json"))
    write_bytes(folder / MARKDOWN_NAME, diff_markdown(diff).encode())
    write_bytes(folder / HTML_NAME, render(content, TEMPLATE).encode())
    inputs = {f"{side}/{name}": d for side, one in _sides(diff) for name, d in one.digests.items()}
    seal(folder, inputs=inputs, seeds={"groups of clusters": diff.seed})
    return folder / HTML_NAME


def diff_page(diff: AuditDiff) -> Page:
    """All that the page shows."""
    payload = canonical_json(diff.model_dump(mode="json"))
    claims, slices, others = _parts(diff)
    sections = [
        _changes_section("claims", "What became of the claims?", "Claims", claims, drawn=True),
        _changes_section("slices", "What became of the exploratory slices?", "Slices", slices, drawn=True),
        _changes_section("levels", "What else was measured?", "Also measured", others, drawn=False),
        _items_section(diff),
        _method_section(diff),
    ]
    found = tuple(section for section in sections if section)
    return Page(_summary(diff, claims), found, sha256_bytes(payload + b"\n"), payload)


def diff_markdown(diff: AuditDiff) -> str:
    """The verdict, the claims by what became of them, and folded the slices, other numbers and what was compared."""
    claims, slices, others = _parts(diff)
    lines = [f"# {escape(_title(diff))}", "", f"**{escape(verdict_sentence(diff))}**", ""]
    lines += [f"- {escape(label)}: {escape(value)}" for label, value in _scope(diff)] + [""]
    parts = [
        *_by_status("Claims", claims, opened=True),
        *_by_status("Exploratory slices", slices),
        *([Part("Also measured", tuple(table_lines(_short_table(UNJUDGED, others))))] if others else []),
        Part("What does this comparison not show?", tuple(f"- {escape(text)}" for text in diff.limits)),
    ]
    return document(lines, parts)


def _by_status(what: str, changes: Sequence[Change], *, opened: bool = False) -> list[Part]:
    """A part for each status that stands out, the newly exceeding first, and one for the rest; folded but for claims.

    A claim that is new, worse or open is never folded; a long list of the others is.
    """
    order = (*STANDING_OUT[:2], ChangeStatus.UNDECIDED, ChangeStatus.NOT_MEASURED, *STANDING_OUT[2:])
    found = []
    for status in (*order, ChangeStatus.UNCHANGED):
        members = [change for change in changes if change.status == status]
        if members:
            caption = f"{num.count(len(members))} of {num.count(len(changes))}"
            rows = tuple(table_lines(_short_table(caption, members)))
            never_folded = opened and status in order[:4] and len(members) <= LONGEST_TABLE
            found.append(Part(f"{what}: {STATUS_WORDS[status]} ({caption})", rows, opened=never_folded))
    return found


def claim_lines(diff: AuditDiff) -> list[str]:
    """One line of plain text for each claim, the worst first."""
    claims = worst_first(change for change in diff.changes if change.role == "claim")
    places = places_of(claims)
    return [
        f"{STATUS_WORDS[c.status]:16} {say.words(c.metric)}, {c.attribute}: {subject(c)}: "
        f"A {num.shown(c.a.estimate, places[family(c)])}, B {num.shown(c.b.estimate, places[family(c)])}, "
        f"B less A {change_interval(c, places[family(c)])} {c.unit}".rstrip()
        + f" (n = {c.n:,})"
        for c in claims
    ]


def verdict_sentence(diff: AuditDiff) -> str:
    """What became of the claims, in one sentence."""
    claims = [change for change in diff.changes if change.role == "claim"]
    new = sum(change.status == ChangeStatus.NEW for change in claims)
    worse = sum(c.status != ChangeStatus.NEW and c.worse_by_margin == "yes" for c in claims)
    still_open = sum(c.status != ChangeStatus.NEW and c.worse_by_margin == "open" for c in claims)
    of = f"of {num.plural(len(claims), 'claim')}"
    if new or worse:
        parts = [f"{new} newly {'exceeds its' if new == 1 else 'exceed their'} threshold" if new else ""]
        parts += [f"{worse} got worse by more than the margin" if worse else ""]
        return f"Of {num.plural(len(claims), 'claim')}, {' and '.join(filter(None, parts))} in B."
    if not claims:
        return "No claim was measured in both audits."
    if still_open:
        are = "it is" if still_open == 1 else "they are"
        known = f"For {still_open} {of} it is open whether {are} worse by more than the margin in B"
        return f"{known}; none is shown to be."
    if len(claims) == 1:
        return "The claim is not worse by more than the margin in B, and does not newly exceed its threshold."
    return f"None {of} is worse by more than the margin in B, and none newly exceeds its threshold."


def _title(diff: AuditDiff) -> str:
    return f"B less A: {diff.title or say.words(diff.probe)}"


def _sides(diff: AuditDiff) -> tuple[tuple[str, ComparedAudit], tuple[str, ComparedAudit]]:
    return ("A", diff.a), ("B", diff.b)


def _parts(diff: AuditDiff) -> tuple[list[Change], list[Change], list[Change]]:
    """Claims, other numbers with limits, and numbers without; each the worst first."""
    claims = worst_first(c for c in diff.changes if c.role == "claim")
    slices = worst_first(c for c in diff.changes if c.role != "claim" and is_judged(c))
    return claims, slices, [c for c in diff.changes if c.role != "claim" and not is_judged(c)]


def _summary(diff: AuditDiff, claims: Sequence[Change]) -> Summary:
    tallies = [
        Tally(STATUS_ICONS[status].value, STATUS_WORDS[status], sum(c.status == status for c in claims))
        for status in ChangeStatus
        if any(c.status == status for c in claims)
    ]
    places = places_of(diff.changes)
    stand_out = [c for c in worst_first(diff.changes) if c.status in STANDING_OUT and is_judged(c)]
    stand_out.sort(key=lambda c: (c.role != "claim", STANDING_OUT.index(c.status)))
    gaps = tuple(
        Gap(
            sentence(c, places[family(c)]),
            f"{c.role} · {c.reason}",
            STATUS_ICONS[c.status].value,
            STATUS_WORDS[c.status],
        )
        for c in stand_out[:MOST_SENTENCES]
    )
    return Summary(
        title=_title(diff),
        question=diff.question,
        verdict=verdict_sentence(diff),
        sensitivity=f"Intervals are paired, cover {100 * (1 - diff.alpha):g} %, and are those of B less A.",
        tallies=tuple(tallies),
        gaps=gaps,
        scope=tuple(_scope(diff)),
        not_shown=diff.limits,
    )


def _scope(diff: AuditDiff) -> list[tuple[str, str]]:
    items = diff.items
    return [
        *((side, f"{one.name} ({one.folder})") for side, one in _sides(diff)),
        ("Probe", say.words(diff.probe)),
        ("Items", f"{num.count(items.compared)} compared; {_left_out(diff)}"),
        ("Clusters", " × ".join(map(say.words, diff.clusters))),
    ]


def _left_out(diff: AuditDiff) -> str:
    items = diff.items
    parts = ((items.only_a, "only in A"), (items.only_b, "only in B"), (items.unmeasured, "not measured in both"))
    return ", ".join(f"{num.count(n)} {what}" for n, what in parts)


def _changes_section(id: str, heading: str, short: str, changes: Sequence[Change], *, drawn: bool) -> Section | None:
    if not changes:
        return None
    places = places_of(changes)
    table = changes_table(changes, places, id=f"{id}-table", caption=f"{short}: {num.plural(len(changes), 'number')}")
    plots = charts(changes, places, prefix=id) if drawn else ()
    answer = () if drawn else (UNJUDGED,)
    return Section(id, heading, short, answer=answer, charts=plots, tables=(table,))


def _items_section(diff: AuditDiff) -> Section:
    items = diff.items
    total = num.count(items.in_both + items.only_a + items.only_b)
    answer = f"Of {total} items in either audit, {num.count(items.compared)} were compared: {_left_out(diff)}."
    reasons = dict.fromkeys([*diff.a.problems, *diff.b.problems])
    rows: list[tuple[str, int, int]] = [
        ("records", diff.a.n_records, diff.b.n_records),
        ("measured", diff.a.measured, diff.b.measured),
        *((reason, diff.a.problems.get(reason, 0), diff.b.problems.get(reason, 0)) for reason in reasons),
    ]
    table = Table(
        "items-table",
        "Records of each audit, and why some hold no measured answer",
        (Column("What"), Column("A", True), Column("B", True)),
        tuple((Cell(name), Cell(num.count(a)), Cell(num.count(b))) for name, a, b in rows),
    )
    alone = (("A", diff.only_a), ("B", diff.only_b))
    unmatched = [f"Measured in {side} only: {', '.join(ids)}." for side, ids in alone if ids]
    return Section("items", "Which items were compared?", "Items", answer=(answer, *unmatched), tables=(table,))


def _method_section(diff: AuditDiff) -> Section:
    level = 100 * (1 - diff.alpha)
    bullets = (
        "Every number was measured again from the records of the compared items; none is read off a report.",
        f"The interval is a delete-a-group jackknife: clusters ({' × '.join(diff.clusters)}) are dealt into at most "
        f"{diff.n_groups} groups, each group is left out of both audits, and a t interval of {level:g} % follows.",
        "A gap is worse where it is further from 0, whichever its sign: for that B less A and A plus B must both leave "
        "out 0. The status says so only after correction: Holm over the claims, Benjamini and Hochberg over the rest.",
        "Unchanged means that the whole interval of B less A lies inside the margin, which the plan fixed beforehand.",
        "That a number exceeds in B and not in A need not mean that it changed; the reason says whether that is shown.",
    )
    digests = tuple(
        (Cell(f"{side}, {name}"), Cell(digest)) for side, one in _sides(diff) for name, digest in one.digests.items()
    )
    table = Table("digests-table", "SHA-256 of what was compared", (Column("File"), Column("SHA-256")), digests)
    return Section("method", "How was it compared?", "Method", bullets=bullets, tables=(table,))


def _short_table(caption: str, changes: Sequence[Change]) -> Table:
    """Few columns, for a pull request."""
    places = places_of(changes)
    rows = []
    for c in changes:
        p = places[family(c)]
        about = " · ".join(filter(None, [say.words(c.metric), say.words(c.attribute), c.variant]))
        rows.append(
            (
                Cell(STATUS_WORDS[c.status], detail=BY_MARGIN[c.worse_by_margin] if _matters(c) else ""),
                Cell(subject(c), detail=about),
                Cell(num.shown(c.a.estimate, p)),
                Cell(num.shown(c.b.estimate, p)),
                Cell(change_interval(c, p)),
                Cell(num.p_value(c.p_adjusted)),
                Cell(num.count(c.n)),
            )
        )
    numbers = ("A", "B", "B less A", "Adjusted p", "n")
    heads = (Column("Status"), Column("Comparison"), *(Column(x, True) for x in numbers))
    return Table("short", caption, heads, tuple(rows))


def _matters(change: Change) -> bool:
    """True where a claim may be, or is, worse by more than its margin."""
    return change.role == "claim" and change.worse_by_margin != "no"


def tally(diff: AuditDiff) -> Mapping[str, int]:
    """How many claims have which status."""
    claims = [change.status for change in diff.changes if change.role == "claim"]
    return {status.value: claims.count(status) for status in ChangeStatus if status in claims}
