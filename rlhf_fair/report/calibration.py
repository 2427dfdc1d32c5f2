"""Calibration by group: how often raters chose what the model said they would, bin by bin of its confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.records import Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.aggregates import RELIABILITY, Row, read_table, whole
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Section, Series, Table
from rlhf_fair.report.palette import mark

WORDS = ("attribute", "group")
NUMBERS = ("low", "high", "predicted", "observed", "ci_low", "ci_high", "n")
MOST_GROUPS, FEWEST_ROWS, DODGE = 5, 10, 0.008
NOTE = (
    "The line is where observed equals predicted: closer to it is better. Above it the group chooses the answer more "
    "often than the model says, below it less. Bins are the same for all groups; bars are Wilson intervals at the "
    "number of rows that the clusters leave."
)
SCALE = (
    "A reward model says how likely a choice is only if its reward is on the scale of log odds; one that is not lies "
    "off the line for every group. What to look at is whether groups differ."
)


def calibration_section(results: Results) -> Section | None:
    """One plot for each attribute; a bin with fewer than `FEWEST_ROWS` rows stands in the table alone."""
    rows = read_table(results.audit, RELIABILITY, WORDS, NUMBERS)
    attributes: dict[str, list[Row]] = {}
    for row in rows:
        attributes.setdefault(row["attribute"], []).append(row)
    drawn = {name: own for name, own in attributes.items() if any(map(_is_drawn, own))}
    if not drawn:
        return None
    plots = tuple(_plot(f"calibration-plot-{i}", name, own) for i, (name, own) in enumerate(drawn.items(), start=1))
    note = f"{NOTE} Bins of fewer than {FEWEST_ROWS} choices are in the table only."
    if any(len({row["group"] for row in own}) > MOST_GROUPS for own in drawn.values()):
        note += f" The {MOST_GROUPS} groups with most choices are drawn."
    chart = Chart("calibration", "Observed against predicted", note, plots, (), _table(attributes), min(len(plots), 2))
    return Section(
        "calibration",
        "Does the model's confidence mean the same for every group?",
        "Calibration",
        answer=(SCALE,),
        charts=(chart,),
    )


def _is_drawn(row: Mapping[str, Any]) -> bool:
    return num.finite(row["predicted"]) and num.finite(row["observed"]) and row["n"] >= FEWEST_ROWS


def _places(rows: Sequence[Row]) -> int:
    known = [row for row in rows if _is_drawn(row)]
    return max(2, num.decimals([(row["ci_low"], row["ci_high"]) for row in known]))


def _plot(id: str, attribute: str, rows: Sequence[Row]) -> Plot:
    places = _places(rows)
    sizes: dict[str, float] = {}
    for row in rows:
        sizes[row["group"]] = sizes.get(row["group"], 0.0) + (row["n"] if num.finite(row["n"]) else 0.0)
    groups = sorted(sizes, key=lambda group: (-sizes[group], group))[:MOST_GROUPS]
    diagonal = (Point(0.0, 0.0), Point(1.0, 1.0))
    series = [Series("parity", "var(--muted)", "circle", diagonal, joined=True, marked=False)]
    for position, group in enumerate(groups):
        offset = (position - (len(groups) - 1) / 2) * DODGE  # intervals of one bin stay apart
        points = tuple(_point(row, offset, places) for row in rows if row["group"] == group and _is_drawn(row))
        if points:
            series.append(Series(group, *mark(position), points, joined=True))
    name = say.sentence_case(say.words(attribute))
    return Plot(
        id=id,
        title=name,
        label=f"{name}: the observed share of choices against the predicted one, one line for each group; the same "
        "numbers are in the table that follows.",
        kind="scatter",
        series=tuple(series),
        value_title="observed share",
        at_title="predicted probability",
        value_range=(-0.03, 1.03),
        at_range=(-0.03, 1.03),
        legend=tuple(Key(s.name, s.colour, s.symbol) for s in series[1:]),
    )


def _point(row: Row, offset: float, places: int) -> Point:
    low, high = row["ci_low"], row["ci_high"]
    known = num.finite(low) and num.finite(high)
    said = num.shown(row["observed"], places)
    hover = f"{row['group']}: predicted {num.shown(row['predicted'], 2)}, observed {said} "
    return Point(
        at=num.rounded(row["predicted"] + offset, 4),
        value=num.rounded(row["observed"], places),
        low=num.rounded(low, places) if known else None,
        high=num.rounded(high, places) if known else None,
        hover=hover + num.interval(low, high, places) + f", n {whole(row['n'])}",
    )


def _table(attributes: Mapping[str, Sequence[Row]]) -> Table:
    rows = []
    for name, own in attributes.items():
        places = _places(own)
        for row in own:
            observed = num.finite(row["observed"])
            rows.append(
                (
                    Cell(say.words(name)),
                    Cell(row["group"]),
                    Cell(f"{num.shown(row['low'], 2)} to {num.shown(row['high'], 2)}"),
                    Cell(num.shown(row["predicted"], 2), missing=not num.finite(row["predicted"])),
                    Cell(num.shown(row["observed"], places) if observed else "no choices", missing=not observed),
                    Cell(num.interval(row["ci_low"], row["ci_high"], places)),
                    Cell(whole(row["n"])),
                )
            )
    labels = ("Attribute", "Group", "Bin", "Predicted", "Observed", "Interval", "n")
    columns = tuple(Column(label, label in {"Predicted", "Observed", "Interval", "n"}) for label in labels)
    return Table("calibration-table", "Observed against predicted", columns, tuple(rows), paged=len(rows) > 30)
