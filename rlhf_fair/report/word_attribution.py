"""Which words carry a gap of rewards: what the parts are paid, the words with their intervals, and texts with marks.

Reads ``audit["word_attributions"]`` as `rlhf_fair.probes.word_attribution_record` writes it; none of it is trusted, and
what has another shape leaves its part of the page out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Plot, Section, Series, Table
from rlhf_fair.report.forests import LABEL_LENGTH, legend_of
from rlhf_fair.report.marked_texts import marked_examples
from rlhf_fair.report.palette import mark
from rlhf_fair.report.points import interval_point

KEY = "word_attributions"
UNIT = "SD of reward"
WORDS_DRAWN, PLOTS_DRAWN, PAGE_ROWS = 12, 6, 20
BETWEEN = "between the texts"
WEAK = 0.5
"""A rank correlation below this is called weak: less than a quarter of the ranks' variance is shared."""

HOW = (
    "Integrated gradients say how much of each gap a word carries. “Between the texts” follows the straight path from "
    "one text to the other: it needs no baseline and adds up to the gap, but sees exchanged words alone. “Difference "
    "of attributions” compares each text with neutral tokens: it also sees words that both texts share and that are "
    "paid differently beside the exchanged ones; how it splits the gap depends on the neutral token.",
    "An attribution describes this model on these texts. It is no proof that changing a word would close the gap.",
)

Row = Mapping[str, Any]


def words_section(audit: Mapping[str, Any]) -> Section | None:
    """The section, or nothing where the audit has no attributions."""
    found = audit.get(KEY)
    if not isinstance(found, Mapping):
        return None
    heading, short = "Which words carry the gap?", "Words"
    if found.get("reason"):
        return Section(
            "words", heading, short, answer=(say.sentence_case(say.not_measured(str(found["reason"]))) + ".",)
        )
    parts, words = _rows(found, "parts"), _rows(found, "words")
    tables = [_parts_table(parts), _words_table(words)] if parts and words else []
    return Section(
        "words",
        heading,
        short,
        answer=(_account(found), *_trust(found)),
        bullets=(*(_part_sentence(row, parts) for row in parts if row.get("part") == "whole gap"), *HOW),
        charts=(_chart(words),) if words else (),
        tables=tuple(tables),
        examples=marked_examples(_rows(found, "examples")),
    )


def _account(found: Row) -> str:
    """How many pairs were read, which were not, and the unit."""
    n = found.get("n_pairs")
    left = [f"{num.count(row['n'])} ({row['reason']})" for row in _rows(found, "left_out") if _whole(row.get("n"))]
    rest = f" Left out: {', '.join(left)}." if left else ""
    scale = num.significant(_number(found.get("scale")))
    pairs = num.plural(n, "pair") + " of texts" if _whole(n) else "Pairs of texts"
    return f"{pairs} attributed; contributions in {UNIT} (1 SD = {scale}).{rest}"


def _trust(found: Row) -> tuple[str, ...]:
    """How well the sums are complete, and how far leaving words out agrees."""
    said = []
    done, agreement = found.get("completeness"), found.get("agreement")
    if isinstance(done, Mapping) and _whole(done.get("n")) and _whole(done.get("n_within")):
        limit, largest = (
            num.significant(_number(done.get("tolerance"))),
            num.significant(_number(done.get("largest")), 2),
        )
        within = f"{num.count(done['n_within'])} of {num.count(done['n'])} sums of attributions"
        said.append(f"{within} are complete within {limit} {UNIT}; the largest error is {largest}.")
    texts = agreement.get("texts") if isinstance(agreement, Mapping) else None
    if isinstance(texts, Mapping):
        value, low, high = (_number(texts.get(name)) for name in ("estimate", "ci_low", "ci_high"))
        if num.finite(value):
            weak = " That is weak: trust no single word that both do not show." if value < WEAK else ""
            said.append(
                "Leaving each word out instead, without gradients, puts the words of a text into an order that agrees "
                f"with a rank correlation of {num.shown(value, 2)} {num.interval(low, high, 2)}.{weak}"
            )
        else:
            said.append(f"Agreement with leaving words out: {say.not_measured(str(texts.get('reason') or ''))}.")
    return tuple(said)


def _part_sentence(whole: Row, parts: Sequence[Row]) -> str:
    """The gap of a kind by one method, and the share of each part of it."""
    same = [row for row in parts if (row.get("kind"), row.get("method")) == (whole.get("kind"), whole.get("method"))]
    places = _places(same)
    value, low, high = (_number(whole.get(name)) for name in ("estimate", "ci_low", "ci_high"))
    gap = f"{num.shown(value, places, sign=True)} {num.interval(low, high, places)}"
    shown = [
        f"{row.get('part')} {num.shown(_number(row.get('estimate')), places, sign=True)}{_share(row, ' (', ')')}"
        for row in same
        if row is not whole and row.get("part") != "residue"
    ]
    return f"{whole.get('kind')}, {whole.get('method')}: gap {gap} {UNIT}, of it {', '.join(shown)}."


def _parts_table(parts: Sequence[Row]) -> Table:
    labels = ("Kind", "Method", "Part", "Mean", "Interval", "Share", "Pairs", "Clusters")
    places = _places(parts)
    rows = [
        (
            Cell(str(row.get("kind"))),
            Cell(str(row.get("method"))),
            Cell(str(row.get("part")), detail=str(row.get("reason") or "")),
            *_amount(row, "estimate", places),
            *_tail(row, "n"),
        )
        for row in parts
    ]
    return _table("words-parts", "What carries the gap as a whole", labels, rows)


def _words_table(words: Sequence[Row]) -> Table:
    labels = ("Word", "Kind", "Role", "Mean", "Interval", "Share", "Pairs", "Clusters", "Left out", "Adjusted p")
    places = _places(words)
    rows = [
        (
            Cell(str(row.get("word")), detail=str(row.get("reason") or "")),
            Cell(str(row.get("kind")), detail=str(row.get("method"))),
            Cell(_role(row)),
            *_amount(row, "contribution", places),
            *_tail(row, "n_pairs"),
            Cell(num.shown(_number(row.get("occlusion")), places) if row.get("occlusion") is not None else "–"),
            Cell(num.p_value(_number(row.get("p_adjusted")))),
        )
        for row in words
    ]
    note = (
        f"Mean over the pairs that have the word, {UNIT}; positive: it raises the reward of text a above that of b. "
        "Share: of the whole gap of its kind, over all pairs. Left out: the same mean by leaving the word out."
    )
    return _table("words-table", "Words by their share of the gap", labels, rows, note)


def _chart(words: Sequence[Row]) -> Chart:
    """One forest for each kind, by the path between the texts where there is one."""
    kinds: dict[str, list[Row]] = {}
    for row in words:
        kinds.setdefault(str(row.get("kind")), []).append(row)
    plots, drawn = [], []
    for number, (kind, rows) in enumerate(list(kinds.items())[:PLOTS_DRAWN], start=1):
        between = [row for row in rows if row.get("method") == BETWEEN]
        top = [row for row in between or rows if num.finite(_number(row.get("contribution")))][:WORDS_DRAWN]
        if top:
            plots.append(_plot(f"words-plot-{number}", kind, top))
            drawn += top
    note = "Right of 0 a word raises the reward of text a above that of text b. A mark without a line has no interval."
    shown = _words_table(drawn)
    table = Table("words-drawn", "The numbers drawn: words", shown.columns, shown.rows, stacked=True, note=shown.note)
    title = "The words with the largest shares of the gap"
    return Chart("words", title, note, tuple(plots), legend_of(plots), table, 2 if len(plots) > 1 else 1)


def _plot(id: str, kind: str, rows: Sequence[Row]) -> Plot:
    places = _places(rows)
    series, ends = [], [0.0]
    for role, style in (("exchanged", mark(0)), ("shared", mark(1))):
        points = []
        for position, row in enumerate(rows):
            if row.get("role") == role:
                amounts = [_number(row.get(name)) for name in ("contribution", "ci_low", "ci_high")]
                ends += [amount for amount in amounts if num.finite(amount)]
                name = f"{row.get('word')}, {_role(row)}"
                points.append(interval_point(float(position), amounts[0], amounts[1], amounts[2], places, name))
        if points:
            series.append(Series(f"{role} words", *style, tuple(points)))
    return Plot(
        id=id,
        title=kind,
        label=f"Words that carry the gap: {kind}. Horizontal intervals; the same numbers are in the table below.",
        kind="forest",
        series=tuple(series),
        value_title=f"mean contribution to the gap, {UNIT}",
        ticks=tuple((float(k), say.shortened(str(row.get("word")), LABEL_LENGTH)) for k, row in enumerate(rows)),
        parity=0.0,
        value_range=num.padded(ends),
        subtitle=str(rows[0].get("method")),
    )


def _amount(row: Row, name: str, places: int) -> tuple[Cell, Cell, Cell]:
    """Mean, interval and share."""
    value, low, high = (_number(row.get(column)) for column in (name, "ci_low", "ci_high"))
    missing = not num.finite(value)
    return (
        Cell(num.shown(value, places), missing=missing),
        Cell(num.interval(low, high, places)),
        Cell(_share(row, "", "") or "–"),
    )


def _tail(row: Row, n: str) -> tuple[Cell, Cell]:
    counts = (row.get(n), row.get("n_clusters"))
    first, second = (Cell(num.count(count) if _whole(count) else "–") for count in counts)
    return first, second


def _share(row: Row, before: str, after: str) -> str:
    share = _number(row.get("share"))
    return f"{before}{num.shown(100 * share, 0)} %{after}" if num.finite(share) else ""


def _role(row: Row) -> str:
    side = f", text {row['side']}" if row.get("side") in ("a", "b") else ""
    return f"{row.get('role')}{side}"


def _table(id: str, caption: str, labels: Sequence[str], rows: Sequence[tuple[Cell, ...]], note: str = "") -> Table:
    numeric = {"Mean", "Interval", "Share", "Pairs", "Clusters", "Left out", "Adjusted p"}
    columns = tuple(Column(label, label in numeric) for label in labels)
    return Table(id, caption, columns, tuple(rows), paged=len(rows) > PAGE_ROWS, stacked=True, note=note)


def _places(rows: Sequence[Row]) -> int:
    ends = [(_number(row.get("ci_low")), _number(row.get("ci_high"))) for row in rows]
    return max(2, num.decimals(ends, [_number(row.get("contribution", row.get("estimate"))) for row in rows]))


def _rows(found: Row, name: str) -> list[Row]:
    rows = found.get(name)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _whole(value: object) -> TypeGuard[int]:
    return type(value) is int
