"""`rlhf-fair feedback flips`: which items change with the rule, and which group of raters loses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.feedback_aggregate import (
    NOT_CONVERGED,
    CountUndisclosed,
    FeedbackFile,
    Kind,
    MinGroup,
    RuleName,
    Seats,
    Weights,
    aggregatable,
    count_groups,
    group_lines,
    read_inputs,
)
from rlhf_fair.cli.panel import Json, Quiet, Seed, accepted, show
from rlhf_fair.cli.panel_tables import simulated_lines

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.aggregation_rules import RuleInputs
    from rlhf_fair.annotators.flips import FlipReport

Compared = Annotated[
    list[str], typer.Option("--by", help="Attribute whose groups are compared; repeat to cross several.")
]
Rules = Annotated[
    list[str] | None, typer.Option("--rule", help="Rule to compare; repeat. Default: all that apply but mace, glad.")
]
Cut = Annotated[float | None, typer.Option(help="Ratings above it are one side. Default: middle of the range.")]
FILES = ("flips.json", "rules.csv", "groups.csv", "items.csv")


def flips(
    feedback: FeedbackFile,
    panel: Annotated[Path, typer.Option("--panel", help="Panel table: annotator_id and attr.* columns.")],
    by: Compared,
    out: Annotated[Path, typer.Option(help="Folder for flips.json, rules.csv, groups.csv and items.csv.")],
    rule: Rules = None,
    baseline: Annotated[RuleName, typer.Option(help="Rule the others are compared with.")] = "majority",
    weights: Weights = None,
    seats: Seats = None,
    min_group: MinGroup = 5,
    count_undisclosed: CountUndisclosed = False,
    kind: Kind = None,
    cut: Cut = None,
    minimum_raters: Annotated[int, typer.Option(min=1, help="Raters of a group on an item to have a majority.")] = 1,
    lots: Annotated[int, typer.Option(min=0, help="Times groups are dealt to raters by lot, for p-values.")] = 999,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare aggregation rules: items that flip, and by group how often a rule decides against its own majority.

    Intervals are clustered by item and rater. A small group is contradicted more often by arithmetic alone, so its gap
    to the others is shown beside that of groups of its size dealt by lot.

    Every group of raters is reported. Rules that treat groups alike leave out who prefers not to say and groups of
    fewer than --min-group raters, as `rlhf-fair feedback aggregate` does; with no group left they are skipped.

    Ends with exit code 3 if a rule fitted in rounds (dawid-skene, mace, glad, bradley-terry) has not come to rest.

    Example: rlhf-fair feedback flips feedback.jsonl --panel panel/panel.csv --by gender --out flips/
    """
    import numpy as np

    from rlhf_fair.annotators import aggregation_rules as rules
    from rlhf_fair.annotators.flips import FlipSettings, flip_report
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import simulated_rows

    if cut is not None and not math.isfinite(cut):
        raise SettingsError(f"--cut {cut}; allowed: a finite number; without it, the middle of the range")
    settings = FlipSettings(baseline, float("nan") if cut is None else cut, minimum_raters, lots)
    one_kind, own = _of_one_kind(feedback, kind)
    everybody = read_inputs(weights, panel, by, seats)
    inputs, told, no_groups = _counted(everybody, own["annotator_id"], min_group, count_undisclosed)
    usable, skipped = _usable(one_kind, inputs, [baseline, *(rule or rules.default_rules())], no_groups)
    for name in {baseline, *(rule or ())} & set(skipped):
        raise SettingsError(f"--rule {name} {skipped[name]}")
    with progress_bar(hidden=quiet or as_json) as progress:
        results = _results(own, usable, inputs, progress)
    aware = [name for name in usable if rules.RULES[name].needs]
    found = flip_report(own, results, everybody.groups, settings, group_aware=aware, rng=np.random.default_rng(seed))
    summary = {"kind": one_kind, "by": by, "seed": seed, "simulated_rows": simulated_rows(own), **told}
    summary |= {**found.as_dict(), "skipped": skipped}
    _write(out, found, summary)
    lines = [*simulated_lines(own), *group_lines(told), *_lines(found, skipped), f"written to {out}"]
    show({"out": str(out), **summary}, lines, as_json=as_json, quiet=quiet)
    if found.rules["converged"].eq(False).any():
        raise typer.Exit(3)


def _of_one_kind(feedback: Path, kind: str | None) -> tuple[str, pd.DataFrame]:
    """The kind that is compared, and its rows."""
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import FEEDBACK

    table = accepted(feedback, FEEDBACK)
    kinds = aggregatable(table, kind)
    if len(kinds) > 1:
        raise SettingsError(f"feedback holds kinds {', '.join(kinds)}; choose one with --kind")
    return kinds[0], table[table["kind"] == kinds[0]]


def _results(
    own: pd.DataFrame, names: list[str], inputs: RuleInputs, progress: Callable[[str, int, int], None]
) -> dict[str, pd.DataFrame]:
    """Each rule's table."""
    from rlhf_fair.annotators.aggregation_rules import compare_rules

    results: dict[str, pd.DataFrame] = {}
    for done, name in enumerate(names, start=1):
        results |= compare_rules(own, [name], inputs)
        progress("rules", done, len(names))
    return results


def _usable(kind: str, inputs: RuleInputs, names: list[str], no_groups: str) -> tuple[list[str], dict[str, str]]:
    """Each rule that can be compared, once, and why the others cannot; ``no_groups``: why there are none, or ""."""
    from rlhf_fair.annotators import aggregation_rules as rules

    usable, skipped = rules.usable_rules(kind, inputs, names)
    for name in skipped:
        if no_groups and rules.RULES[name].needs == "groups":
            skipped[name] = no_groups
    return list(dict.fromkeys(usable)), skipped


def _write(out: Path, found: FlipReport, summary: dict[str, Any]) -> None:
    """All of `FILES`, or none of them."""
    from rlhf_fair.artifacts import replaced_files, write_json
    from rlhf_fair.tables import write_table

    with replaced_files(out, FILES) as folder:
        write_table(folder / "rules.csv", found.rules)
        write_table(folder / "groups.csv", found.groups)
        write_table(folder / "items.csv", found.items)
        write_json(folder / "flips.json", summary)


def _counted(
    everybody: RuleInputs, raters: pd.Series, min_group: int, count_undisclosed: bool
) -> tuple[RuleInputs, dict[str, Any], str]:
    """What rules are given, what is said about it, and why there are no groups ("" if there are)."""
    from dataclasses import replace

    from rlhf_fair.errors import SettingsError

    try:
        return *count_groups(everybody, raters, min_group, count_undisclosed), ""
    except SettingsError as error:
        return replace(everybody, groups=None), {}, str(error)


def _lines(found: FlipReport, skipped: dict[str, str]) -> list[str]:
    """Two plain tables, with a short reading of each column."""
    head = ["rule", "decided", "undecided", "flipped", f"share of flips against {found.baseline}"]
    rules = [
        [r["rule"], f"{r['decided']}", f"{r['undecided']}", f"{r['flipped']}", _interval(r, "share")]
        for r in found.rules.to_dict("records")
    ]
    titles = ["rule", "group", "raters", "items", "against own majority", "gap to others", "by lot", "p", "change"]
    groups = [
        [
            r["rule"],
            r["group"],
            f"{r['raters']}",
            f"{r['items']}",
            _interval(r, "contradicted"),
            _interval(r, "gap", signed=True),
            _number(r["gap_by_chance"], signed=True),
            _number(r["gap_p_adjusted"]),
            _interval(r, "change", signed=True) if r["rule"] != found.baseline else "-",
        ]
        for r in found.groups.to_dict("records")
    ]
    notes = [
        "against own majority: share of items on which the rule decides against most of the group's raters there",
        "by lot: the gap of groups of the same sizes dealt at random; p: adjusted (Holm); - where the rule uses groups",
        f"change: against the {found.baseline} rule, on the same items; intervals 95 %, clustered by item and rater",
    ]
    silent = [f"{r['rule']}: {r['reason']}{_advice(r)}" for r in found.rules.to_dict("records") if r["reason"]]
    left = [f"{name}: {reason}" for name, reason in skipped.items()]
    left += [NOT_CONVERGED.format(name) for name in found.rules["rule"][found.rules["converged"].eq(False)]]
    return [*_aligned([head, *rules]), "", *_aligned([titles, *groups]), "", *notes, *silent, *left]


def _advice(row: dict[Any, Any]) -> str:
    return "; give fewer groups seats: --seats GROUP=NUMBER" if row["rule"] == "jury" else ""


def _aligned(rows: list[list[Any]]) -> list[str]:
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _interval(row: dict[Any, Any], name: str, *, signed: bool = False) -> str:
    low, high = _number(row[f"{name}_ci_low"], signed=signed), _number(row[f"{name}_ci_high"], signed=signed)
    return _number(row[name], signed=signed) + (f" [{low}, {high}]" if low != "-" else "")


def _number(value: float, *, signed: bool = False) -> str:
    return "-" if value != value else f"{value:+.3f}" if signed else f"{value:.3f}"
