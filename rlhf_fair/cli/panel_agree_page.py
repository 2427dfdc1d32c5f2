"""The page of `rlhf-fair panel agree`: agreement inside and across groups, and where groups split.

Nothing is computed here but places on the page; every figure has its table. Texts of items appear only if asked for.
"""

from __future__ import annotations

from rlhf_fair.artifacts import sha256_bytes
from rlhf_fair.cli.panel_agree_report import AgreementReport
from rlhf_fair.cli.panel_agree_sections import agreement_section, items_section, pairs_section, shares_section
from rlhf_fair.report import numbers as num
from rlhf_fair.report.display import Cell, Column, Page, Section, Summary, Table


def agreement_page(report: AgreementReport, payload: bytes) -> Page:
    """The whole page; ``payload``: agreement.json, which travels inside it."""
    sections = [
        agreement_section(report),
        pairs_section(report),
        shares_section(report),
        items_section(report),
        _method_section(report),
    ]
    found = tuple(section for section in sections if section)
    return Page(_summary(report), found, sha256_bytes(payload + b"\n"), payload)


def _summary(report: AgreementReport) -> Summary:
    s, groups = report.settings, report.table[report.table["attribute"] != ""]
    tested = groups[groups["p_adjusted"].notna()]
    apart = int((tested["p_adjusted"] <= s.alpha).sum())
    verdict = "No groups were named, so only the agreement of everybody was measured."
    if len(groups):
        verdict = (
            f"{apart} of {num.plural(len(tested), 'group')} tested {'agrees' if apart == 1 else 'agree'} among "
            "themselves to another degree than with all other raters."
        )
    if report.map is not None and report.map.shares["share"].notna().any():
        shares = report.map.shares[(report.map.shares["by"] == "") & report.map.shares["share"].notna()]
        top = shares.sort_values("share").iloc[-1]
        verdict += (
            f" The largest share of disagreement found between groups is {num.share(max(top['share'], 0.0))}, "
            f"by {top['attribute']}."
        )
    small = int(groups["too_small"].astype(bool).sum())
    sensitivity = f"{small} of them are too small to tell." if small else ""
    overall = report.table[report.table["attribute"] == ""]
    scope = [
        (
            row["kind"],
            f"{num.count(row['ratings'])} by {num.count(row['raters'])} raters of {num.count(row['items'])} items",
        )
        for row in overall.to_dict("records")
    ]
    scope += [("Compared by", ", ".join(dict.fromkeys(groups["attribute"])) or "nothing")]
    scope += [("Deals by lot", f"{num.count(s.permutations)}, seed {report.seed}")]
    return Summary("Who agrees with whom", "", verdict, sensitivity, (), (), tuple(scope), _limits(report))


def _limits(report: AgreementReport) -> tuple[str, ...]:
    s = report.settings
    made = (report.simulated[0].upper() + report.simulated[1:] + ".",) if report.simulated else ()
    return (
        *made,
        "Disagreement is no error: who is right is not asked here.",
        f"Groups, and cells of a group on an item, with fewer than {s.min_raters} raters are counted and not shown.",
        "So are cells of an item that, less those of another attribute, would be about fewer raters. Measures over "
        "many items have no such check: this page is no release of data.",
        "Groups differ in more than the attribute named; nothing here says why they disagree.",
    )


def _method_section(report: AgreementReport) -> Section:
    s = report.settings
    level = 100 * (1 - s.alpha)
    bullets = (
        f"Alpha is Krippendorff's, 1 = perfect and 0 = chance; its {level:g} % limits allow for other items and "
        "for other raters (variance of leaving out items, plus raters, less single ratings).",
        "XRR is the agreement of the group with all other raters over cross-group pairs only (Wong, Paritosh and Aroyo "
        "2021); GAI is alpha over XRR (Prabhakaran and others 2024), 1 where the group is no community of its own.",
        "p-values deal the groups anew to raters, never to single ratings, and are adjusted by Benjamini and Hochberg.",
        "What would be seen: the smallest true value found with 80 % power at 5 %, unadjusted, from the spread of the "
        "deals by lot.",
        "Disagreement is the mean squared distance of two raters of an item over that of two ratings from anywhere, "
        "1 = chance. Between groups counts only what exceeds the disagreement inside them; it is unbiased, so it may "
        "fall below 0.",
        "An item's p-value deals the groups to its own raters.",
        *report.notes,
    )
    return Section("method", "How was it measured?", "Method", bullets=bullets, tables=_not_compared(report))


def _not_compared(report: AgreementReport) -> tuple[Table, ...]:
    if report.map is None or report.map.not_compared.empty:
        return ()
    rows = tuple(
        (Cell(row["kind"]), Cell(row["attribute"]), Cell(row["group"]), Cell(num.count(row["raters"])))
        for row in report.map.not_compared.to_dict("records")
    )
    columns = (Column("Kind"), Column("Attribute"), Column("Group"), Column("Raters", True))
    return (Table("few-table", "Groups that were not compared", columns, rows),)
