"""`rlhf-fair panel assign` and `check`: who judges what, and whether that holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import By, Json, PanelFile, Quiet, Seed, show
from rlhf_fair.cli.panel_tables import accepted, attribute_names
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

ItemsFile = Annotated[Path, typer.Option("--items", help="Items table: item_id, optionally language and skills.")]
AssignmentsFile = Annotated[Path, typer.Option("--assignments", help="Assignments table.")]
Ratings = Annotated[int, typer.Option(min=1, help="Different annotators for each item.")]
Groups = Annotated[int, typer.Option(min=1, help="Different groups (see --by) for each item.")]
HeedNeeds = Annotated[bool, typer.Option("--eligibility/--no-eligibility", help="Heed the items' language and skills.")]
NEEDS = ("language", "skills")
SHOWN = 5
"""Broken promises that are printed; all of them go to --out."""


def assign(
    panel: PanelFile,
    items: ItemsFile,
    out: Annotated[Path, typer.Option(help="Assignments table to write.")],
    ratings_per_item: Ratings = 3,
    distinct_groups: Groups = 1,
    by: By = None,
    eligibility: HeedNeeds = True,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where an item would see too few groups.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Share the items out: level loads within capacity, several groups for each item, both presentation orders.

    Where items have the columns language or skills, only members are asked whose languages and skills hold all of
    them; entries of a cell are separated by ; , or |.

    Example: rlhf-fair panel assign --panel panel/panel.csv --items items.jsonl --by gender --distinct-groups 2
    --out assignments.csv
    """
    import numpy as np

    from rlhf_fair.annotators.assignment import assign as assign_items
    from rlhf_fair.annotators.assignment import coverage
    from rlhf_fair.annotators.assignment_shortage import shortages
    from rlhf_fair.errors import InfeasibleError
    from rlhf_fair.tables import ANNOTATORS, write_table

    require_by(distinct_groups, by)
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("sharing out", 0, 3)
        members, work = accepted(panel, ANNOTATORS), read_items(items)
        work = work if eligibility else work.drop(columns=[name for name in NEEDS if name in work])
        columns = attribute_names(members, by or [])
        progress("sharing out", 1, 3)
        wanted: Any = {"ratings_per_item": ratings_per_item, "distinct_groups": distinct_groups}
        wanted["group_columns"] = columns
        table = assign_items(work, members, **wanted, rng=np.random.default_rng(seed))
        progress("sharing out", 2, 3)
        short = int((coverage(table, members, columns)["groups"] < distinct_groups).sum()) if columns else 0
        lacking = shortages(work, members, **wanted) if short else None
        if lacking is not None and strict:
            raise InfeasibleError(str(lacking))
        write_table(out, table)
        progress("sharing out", 3, 3)
    load = table["annotator_id"].value_counts().reindex(members["annotator_id"], fill_value=0)
    summary: dict[str, Any] = {"out": str(out), "items": len(work), "judgements": len(table)}
    summary |= {"least_load": int(load.min()), "greatest_load": int(load.max())}
    lines = [f"{len(table)} judgements of {len(work)} items, {load.min()} to {load.max()} for each annotator: {out}"]
    if columns:
        summary["items_short_of_groups"] = short
        lines.append(f"{short} items seen by fewer than {distinct_groups} groups of {' x '.join(by or [])}")
    if lacking is not None:
        summary |= {"missing": lacking.missing, "lacking": lacking.classes.to_dict("records")}
        lines.append(str(lacking))
    show(summary, lines, as_json=as_json, quiet=quiet)


def check(
    assignments: AssignmentsFile,
    panel: PanelFile,
    items: ItemsFile,
    ratings_per_item: Ratings = 3,
    distinct_groups: Groups = 1,
    by: By = None,
    left: Annotated[
        str | None, typer.Option(help="Who left half-way, as --dropped of repair: their own orders may be uneven.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Table of broken promises to write.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Whether an assignment keeps every promise; exit code 1 where one is broken.

    Example: rlhf-fair panel check --assignments assignments.csv --panel panel/panel.csv --items items.jsonl --by gender
    --distinct-groups 2
    """
    from rlhf_fair.annotators.assignment_check import Terms
    from rlhf_fair.annotators.assignment_check import check as check_assignments
    from rlhf_fair.tables import ANNOTATORS, write_table

    require_by(distinct_groups, by)
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("checking", 0, 2)
        members, work, table = accepted(panel, ANNOTATORS), read_items(items), read_assignments(assignments)
        progress("checking", 1, 2)
        columns, gone = tuple(attribute_names(members, by or [])), frozenset(read_ids(left, "left") if left else ())
        terms = Terms(ratings_per_item, distinct_groups, columns, left=gone)
        broken = check_assignments(table, work, members, terms)
        progress("checking", 2, 2)
    if out is not None:
        write_table(out, broken)
    counts = broken["constraint"].value_counts().to_dict()
    summary = {"judgements": len(table), "items": len(work), "broken": len(broken), "by_constraint": counts}
    lines = [f"{len(table)} judgements of {len(work)} items: {len(broken)} broken promises"]
    lines += [f"  {constraint}: {count}" for constraint, count in counts.items()]
    for row in broken.head(SHOWN).to_dict("records"):
        ids = {"item": row["item_id"], "annotator": row["annotator_id"]}
        who = ", ".join(f"{name} {value}" for name, value in ids.items() if isinstance(value, str))
        found = f": {row['found']}; wanted {row['wanted']}" if row["wanted"] else ""
        lines.append(f"  e.g. {row['constraint']}: {who}{found}")
    show(summary, lines, as_json=as_json, quiet=quiet)
    if len(broken):
        raise typer.Exit(1)


def require_by(distinct_groups: int, by: list[str] | None) -> None:
    """Promising groups needs an attribute that says what a group is."""
    from rlhf_fair.errors import SettingsError

    if distinct_groups > 1 and not by:
        raise SettingsError(f"--distinct-groups {distinct_groups} needs --by ATTRIBUTE to say what a group is")


def read_items(path: Path) -> pd.DataFrame:
    """An items table of which only the ids, languages and skills matter."""
    from rlhf_fair.tables import ITEMS, Column, Contract

    optional = Column(required=False, nullable=True)
    columns = {"item_id": ITEMS.columns["item_id"], **dict.fromkeys(NEEDS, optional)}
    return accepted(path, Contract("items", columns, ITEMS.key))


def read_assignments(path: Path) -> pd.DataFrame:
    """An assignments table in which people may repeat an item: that is for `check` to count."""
    from rlhf_fair.tables import ASSIGNMENTS, Contract

    table = accepted(path, Contract("assignments", ASSIGNMENTS.columns, ("item_id", "slot", "annotator_id")))
    return table.astype({"slot": "int64"})


def read_ids(given: str, name: str) -> list[str]:
    """Annotator ids separated by commas, or those of a table that ``given`` names; ``name``: what errors call it."""
    from rlhf_fair.tables import read_table, require_columns

    if not Path(given).is_file():
        return [entry.strip() for entry in given.split(",") if entry.strip()]
    table = read_table(Path(given))
    require_columns(table, ["annotator_id"], name)
    return [str(entry) for entry in table["annotator_id"].dropna().unique()]
