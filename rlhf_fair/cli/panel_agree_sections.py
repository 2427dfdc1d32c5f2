"""Sections of the page of `rlhf-fair panel agree`, each a question, its figures and the tables beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from rlhf_fair.annotators.agreement import ALL
from rlhf_fair.cli.panel_agree_report import AgreementReport
from rlhf_fair.report import numbers as num
from rlhf_fair.report.display import Cell, Chart, Column, Plot, Point, Section, Series, Table
from rlhf_fair.report.forests import LABEL_LENGTH, legend_of
from rlhf_fair.report.palette import CONTROL_MARK, mark
from rlhf_fair.report.wording import shortened

Row = dict[Any, Any]

TOP = 15
"""Items drawn."""
MOST_ROWS = 500
"""Items listed on the page; the rest is in items.csv."""
TEXT_LENGTH = 160
LOWEST = -0.5
"""Limits of alpha below this are cut on the axis."""


def agreement_section(report: AgreementReport) -> Section | None:
    """Alpha inside each group beside its agreement with all others."""
    charts = []
    for number, (kind, attribute, rows) in enumerate(_by_kind_and_attribute(report.table), start=1):
        drawn = [row for row in rows if num.finite(row["alpha"])]
        if not drawn:
            continue
        title = f"{kind} by {attribute}: agreement inside groups, and with all other raters"
        plot = _agreement_plot(f"agreement-{number}-plot", title, drawn)
        note = "0 = as by chance, 1 = perfect. Limits of small groups may run past the axis."
        charts.append(_chart(f"agreement-{number}", title, note, [plot], _agreement_table(number, title, rows)))
    overall = report.table[report.table["attribute"] == ""].to_dict("records")
    answer = tuple(
        f"Alpha of all raters, {row['kind']} ({row['level']}): {num.shown(row['alpha'], 3)} "
        f"{num.interval(row['alpha_ci_low'], row['alpha_ci_high'], 3)}{'; ' if row['reason'] else ''}{row['reason']}."
        for row in overall
    )
    bullets = tuple(report.warnings())
    return Section("agreement", "Do groups agree among themselves?", "Agreement", answer, bullets, tuple(charts))


def pairs_section(report: AgreementReport) -> Section | None:
    """Who agrees with whom: alpha on the diagonal, XRR beside it."""
    tables = []
    inside = {(r["kind"], r["attribute"], r["group"]): r for r in report.table.to_dict("records")}
    for number, (kind, attribute, rows) in enumerate(_by_kind_and_attribute(report.pairs), start=1):
        every = list(dict.fromkeys([*(r["group_a"] for r in rows), *(r["group_b"] for r in rows)]))
        least = report.settings.min_raters
        names = [name for name in every if inside[kind, attribute, name]["raters"] >= least]
        few = [name for name in every if name not in names]
        note = f"Fewer than {least} raters, withheld: {', '.join(few)}." if few else ""
        across = {(r["group_a"], r["group_b"]): r for r in rows} | {(r["group_b"], r["group_a"]): r for r in rows}
        body = []
        for name in names:
            own = inside[kind, attribute, name]
            shown = [
                _pair_cell(own["alpha"], own["items"], own["reason"], "alpha")
                if other == name
                else _pair_cell(across[name, other]["xrr"], across[name, other]["items"], across[name, other]["reason"])
                for other in names
            ]
            body.append((Cell(name), *shown))
        columns = (Column("Group"), *(Column(name, True) for name in names))
        tables.append(Table(f"pairs-{number}", f"{kind} by {attribute}", columns, tuple(body), note=note))
    if not tables:
        return None
    answer = ("Each cell is the agreement of two groups (XRR) over the items that both rated; the diagonal is alpha.",)
    return Section("pairs", "Which groups agree with each other?", "Pairs of groups", answer, tables=tuple(tables))


def shares_section(report: AgreementReport) -> Section | None:
    """How much of all disagreement is between groups, over all items and by what is known of them."""
    if report.map is None:
        return None
    charts = []
    for number, (kind, attribute, rows) in enumerate(_by_kind_and_attribute(report.map.shares), start=1):
        title = f"{kind} by {attribute}: share of disagreement that lies between groups"
        drawn = [row for row in rows if num.finite(row["share"])]
        plots = [_share_plot(f"shares-{number}-plot", title, drawn)] if drawn else []
        note = "0 = groups do not matter. Grey: where 95 % of the deals by lot fall."
        charts.append(_chart(f"shares-{number}", title, note, plots, _share_table(number, title, rows)))
    return Section("shares", "How much of it is between groups?", "Between groups", charts=tuple(charts))


def items_section(report: AgreementReport) -> Section | None:
    """The items on which groups are furthest apart beyond noise."""
    if report.map is None:
        return None
    items = report.map.items
    compared = items[items["between"].notna()]
    split = int((items["p_adjusted"] <= report.settings.alpha).sum())
    answer = (
        f"Groups split on {num.count(split)} of {num.plural(len(compared), 'item')} compared; "
        f"{num.count(len(items) - len(compared))} were not compared, for want of raters of two groups on them.",
    )
    charts = []
    for number, (kind, attribute, rows) in enumerate(_by_kind_and_attribute(compared), start=1):
        rows.sort(key=lambda row: (row["p_value"], -row["between"]))
        title = f"{kind} by {attribute}: the {num.plural(min(TOP, len(rows)), 'item')} with the smallest p-values"
        means = report.map.cells[(report.map.cells["kind"] == kind) & (report.map.cells["attribute"] == attribute)]
        of_item: dict[str, list[Row]] = {}
        for row in means[means["mean"].notna()].to_dict("records"):
            of_item.setdefault(row["item_id"], []).append(row)
        plot = _item_plot(f"items-{number}-plot", title, kind, [(r, of_item[r["item_id"]]) for r in rows[:TOP]])
        note = (
            "One mark for each group. The largest of many distances tend to be overstated; see the adjusted p-values."
        )
        table = _item_table(number, f"{kind} by {attribute}", rows, report)
        charts.append(_chart(f"items-{number}", title, note, [plot], table))
    return Section("items", "On which items do groups split?", "Items", answer, charts=tuple(charts))


def _agreement_plot(id: str, title: str, rows: list[Row]) -> Plot:
    inside = [
        _point(k - 0.14, r["group"], r["alpha"], r["alpha_ci_low"], r["alpha_ci_high"]) for k, r in enumerate(rows)
    ]
    across = [_point(k + 0.14, r["group"], r["xrr"]) for k, r in enumerate(rows) if num.finite(r["xrr"])]
    ends = [end for p in (*inside, *across) for end in (p.low, p.value, p.high) if end is not None]
    series = [Series("alpha inside the group", *mark(0), tuple(inside))]
    series += [Series("XRR with all others", *mark(1), tuple(across))] if across else []
    span = num.padded([*(max(end, LOWEST) for end in ends), 0.0])
    return _forest(id, title, series, [_label(r["group"], r["raters"]) for r in rows], "agreement", span)


def _share_plot(id: str, title: str, rows: list[Row]) -> Plot:
    shares = [_point(k - 0.14, _level(r), r["share"], percent=True) for k, r in enumerate(rows)]
    chance = [
        _point(k + 0.14, "by lot", 0.0, -1.96 * r["null_sd"], 1.96 * r["null_sd"], percent=True)
        for k, r in enumerate(rows)
        if num.finite(r["null_sd"])
    ]
    series = [Series("between groups", *mark(0), tuple(shares))]
    series += [Series("by lot", *CONTROL_MARK, tuple(chance))] if chance else []
    ends = [end for p in (*shares, *chance) for end in (p.low, p.value, p.high)]
    return _forest(id, title, series, [_level(r) for r in rows], "share of disagreement, %", num.padded([*ends, 0.0]))


def _item_plot(id: str, title: str, kind: str, items: list[tuple[Row, list[Row]]]) -> Plot:
    groups = sorted({r["group"] for _, means in items for r in means})
    series = []
    for position, group in enumerate(groups):
        points = [
            _point(
                k + 0.16 * (position - (len(groups) - 1) / 2), f"{group}, {num.plural(r['raters'], 'rater')}", r["mean"]
            )
            for k, (_, means) in enumerate(items)
            for r in means
            if r["group"] == group
        ]
        series.append(Series(group, *mark(position), tuple(points)))
    span = num.padded([p.value for s in series for p in s.points])
    what = "share that prefers a, ties by halves" if kind == "pair" else f"mean {kind}"
    return _forest(id, title, series, [_short(item["item_id"]) for item, _ in items], what, span, parity=None)


def _forest(
    id: str,
    title: str,
    series: list[Series],
    ticks: list[str],
    axis: str,
    span: tuple[float, float] | None,
    *,
    parity: float | None = 0.0,
) -> Plot:
    label = f"{title}. The same numbers are in the table that follows."
    places = tuple((float(k), text) for k, text in enumerate(ticks))
    return Plot(id, title, label, "forest", tuple(series), axis, ticks=places, parity=parity, value_range=span)


def _point(
    at: float, name: str, value: float, low: float = float("nan"), high: float = float("nan"), *, percent: bool = False
) -> Point:
    scale = 100.0 if percent else 1.0
    known = num.finite(low) and num.finite(high)
    ends = f" {num.interval(scale * low, scale * high, 2)}" if known else ""
    hover = f"{name}: {num.shown(scale * value, 2)}{ends}{' %' if percent else ''}"
    return Point(at, scale * value, scale * low if known else None, scale * high if known else None, hover)


def _agreement_table(number: int, title: str, rows: list[Row]) -> Table:
    heads = (
        "Raters",
        "Items",
        "Alpha",
        "XRR",
        "Alpha − XRR",
        "p",
        "Adjusted p",
        "Would be seen",
        "GAI",
        "Would be seen",
    )
    columns = (Column("Group"), *(Column(name, True) for name in heads), Column("Note"))
    body = []
    for r in rows:
        limits = num.interval(r["alpha_ci_low"], r["alpha_ci_high"], 3)
        known = num.finite(r["alpha"])
        body.append(
            (
                Cell(r["group"]),
                Cell(num.count(r["raters"])),
                Cell(num.count(r["items"])),
                _cell(r["alpha"], 3, detail=limits if known and limits != "–" else ""),
                _cell(r["xrr"], 3),
                _cell(r["difference"], 3, sign=True),
                Cell(num.p_value(r["p_value"])),
                Cell(num.p_value(r["p_adjusted"])),
                Cell(f"± {r['mde']:.3f}" if num.finite(r["mde"]) else "–"),
                _cell(r["gai"], 3),
                Cell(f"1 ± {r['mde_gai']:.2f}" if num.finite(r["mde_gai"]) else "–"),
                Cell(r["reason"] or ("too small to tell" if r["too_small"] else "")),
            )
        )
    return Table(f"agreement-{number}-table", title, columns, tuple(body))


def _share_table(number: int, title: str, rows: list[Row]) -> Table:
    heads = ("Items", "Within groups", "Between groups", "Share between", "p", "Adjusted p", "Would be seen from")
    columns = (Column("Items of"), *(Column(name, True) for name in heads), Column("Note"))
    body = [
        (
            Cell(_level(r)),
            Cell(num.count(int(r["items"])) if num.finite(r["items"]) else "–"),
            _cell(r["within"], 3),
            _cell(r["between"], 4, sign=True),
            Cell(num.share(r["share"])),
            Cell(num.p_value(r["p_value"])),
            Cell(num.p_value(r["p_adjusted"])),
            Cell(num.share(r["mde"])),
            Cell(r["reason"]),
        )
        for r in rows
    ]
    return Table(f"shares-{number}-table", title, columns, tuple(body))


def _item_table(number: int, title: str, rows: list[Row], report: AgreementReport) -> Table:
    heads = ("Raters", "Within groups", "Between groups", "p", "Adjusted p")
    text = (Column("Text"),) if report.texts else ()
    columns = (Column("Item"), *text, Column("Furthest apart"), *(Column(name, True) for name in heads))
    body = [
        (
            Cell(r["item_id"]),
            *((Cell(shortened(report.texts.get(r["item_id"], ""), TEXT_LENGTH)),) if report.texts else ()),
            Cell(f"{r['group_a']} {num.shown(r['mean_a'], 2)}, {r['group_b']} {num.shown(r['mean_b'], 2)}"),
            Cell(num.count(r["raters"])),
            _cell(r["within"], 3),
            _cell(r["between"], 3, sign=True),
            Cell(num.p_value(r["p_value"])),
            Cell(num.p_value(r["p_adjusted"])),
        )
        for r in rows[:MOST_ROWS]
    ]
    more = f"The first {MOST_ROWS} of {len(rows)}; all are in items.csv." if len(rows) > MOST_ROWS else ""
    return Table(f"items-{number}-table", title, columns, tuple(body), note=more)


def _pair_cell(value: float, items: int, reason: str, what: str = "") -> Cell:
    if not num.finite(value):
        return Cell("–", missing=True, detail=reason)
    return Cell(num.shown(value, 3), detail=", ".join(filter(None, [what, num.plural(items, "item")])))


def _label(group: str, raters: int) -> str:
    return f"{_short(group)}\n{num.plural(raters, 'rater')}"


def _level(row: Row) -> str:
    return "all items" if row["level"] == ALL else _short(f"{row['by']} {row['level']}")


def _by_kind_and_attribute(table: pd.DataFrame) -> Iterator[tuple[str, str, list[Row]]]:
    """Rows of each kind and attribute, in the table's order; rows over everybody are left out."""
    own = table[table["attribute"] != ""]
    for (kind, attribute), rows in own.groupby(["kind", "attribute"], sort=False):
        yield str(kind), str(attribute), rows.to_dict("records")


def _cell(value: float, places: int, *, sign: bool = False, detail: str = "") -> Cell:
    """A number; a dash where there is none."""
    known = num.finite(value)
    return Cell(num.shown(value, places, sign=sign) if known else "–", missing=not known, detail=detail)


def _chart(id: str, title: str, note: str, plots: list[Plot], table: Table) -> Chart:
    """One plot, its legend and its numbers."""
    return Chart(id, title, note, tuple(plots), legend_of(plots), table, 1)


def _short(text: str) -> str:
    """A name as a tick, short enough for a narrow screen."""
    return shortened(text, LABEL_LENGTH)
