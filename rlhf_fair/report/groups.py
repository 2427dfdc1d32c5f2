"""Which groups were compared, attribute by attribute: how many, how small the smallest, and which were crossed."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import INTERSECTION, Finding, Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Section, Table
from rlhf_fair.report.reading import is_measured

HIDDEN = (
    "Attributes were not crossed: a gap of their combination alone, such as that of older women, would not show here."
)


def groups_section(results: Results) -> Section | None:
    """One row for each attribute; None where nothing but controls was compared."""
    attributes: dict[str, list[Finding]] = {}
    for finding in results.findings:
        if finding.role != "control":
            attributes.setdefault(finding.attribute, []).append(finding)
    if not attributes:
        return None
    crossed = [say.words(name) for name in attributes if INTERSECTION in name]
    plain = len(attributes) - len(crossed)
    said = [f"{num.plural(plain, 'attribute')} compared"]
    said += [f"crossed: {say.listed(crossed)}"] if crossed else []
    answer = [f"{'; '.join(said)}."] + ([HIDDEN] if not crossed and plain > 1 else [])
    return Section(
        "groups",
        "Which groups and intersections were compared?",
        "Groups",
        answer=tuple(answer),
        tables=(_table(attributes),),
    )


def _table(attributes: dict[str, list[Finding]]) -> Table:
    columns = ("Attribute", "Against", "Groups", "Comparisons", "Not measured", "Fewest rows", "Of which group")
    numeric = {"Groups", "Comparisons", "Not measured", "Fewest rows"}
    return Table(
        "groups-table",
        "Attributes and their groups",
        tuple(Column(label, label in numeric) for label in columns),
        tuple(_row(name, members) for name, members in attributes.items()),
        stacked=True,
        note="Rows of a comparison are those of its group and of its reference together.",
    )


def _row(name: str, members: Sequence[Finding]) -> tuple[Cell, ...]:
    references = list(dict.fromkeys(f.reference for f in members if f.reference))
    groups = dict.fromkeys(f.group for f in members if not say.is_overall(f))
    measured = [f for f in members if is_measured(f)]
    smallest = min((f for f in measured if f.n), key=lambda f: f.n, default=None)  # 0: withheld
    against = references[0] if len(references) == 1 else f"{len(references)} references" if references else "–"
    return (
        Cell(say.words(name)),
        Cell(against),
        Cell(num.count(len(groups)) if groups else "all together"),
        Cell(num.count(len(members))),
        Cell(num.count(len(members) - len(measured))),
        Cell(num.count(smallest.n) if smallest else "–"),
        Cell((smallest.group or "all") if smallest else "–"),
    )
