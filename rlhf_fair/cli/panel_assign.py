"""`rlhf-fair panel assign`, `check` and `repair`: who judges what, whether that holds, and who stands in."""

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
    eligibility: Annotated[
        bool, typer.Option("--eligibility/--no-eligibility", help="Heed the items' language and skills.")
    ] = True,
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

    _require_by(distinct_groups, by)
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("sharing out", 0, 3)
        members, work = accepted(panel, ANNOTATORS), _read_items(items)
        work = work if eligibility else work.drop(columns=[name for name in NEEDS if name in work])
        columns = attribute_names(members, by or [])
        progress("sharing out", 1, 3)
        table = assign_items(
            work,
            members,
            ratings_per_item=ratings_per_item,
            distinct_groups=distinct_groups,
            group_columns=columns,
            rng=np.random.default_rng(seed),
        )
        progress("sharing out", 2, 3)
        seen = coverage(table, members, columns)["groups"] if columns else None
        short = 0 if seen is None else int((seen < distinct_groups).sum())
        lacking = None
        if short:
            lacking = shortages(
                work,
                members,
                ratings_per_item=ratings_per_item,
                distinct_groups=distinct_groups,
                group_columns=columns,
            )
            if strict:
                raise InfeasibleError(str(lacking))
        write_table(out, table)
        progress("sharing out", 3, 3)
    load = table["annotator_id"].value_counts().reindex(members["annotator_id"], fill_value=0)
    summary: dict[str, Any] = {
        "out": str(out),
        "items": len(work),
        "judgements": len(table),
        "least_load": int(load.min()),
        "greatest_load": int(load.max()),
    }
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

    _require_by(distinct_groups, by)
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("checking", 0, 2)
        members, work, table = accepted(panel, ANNOTATORS), _read_items(items), _read_assignments(assignments)
        progress("checking", 1, 2)
        terms = Terms(ratings_per_item, distinct_groups, tuple(attribute_names(members, by or [])))
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


def repair(
    assignments: AssignmentsFile,
    panel: PanelFile,
    dropped: Annotated[str, typer.Option(help="Who dropped out: ids separated by commas, or a table of annotator_id.")],
    out: Annotated[Path, typer.Option(help="Assignments table to write.")],
    pool: Annotated[Path | None, typer.Option(help="People besides the panel who may stand in.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items table; needed to heed language and skills.")] = None,
    distinct_groups: Groups = 1,
    by: By = None,
    unreplaced: Annotated[Path | None, typer.Option(help="Table of judgements nobody could take, with why.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give the judgements of drop-outs to others; nothing else is touched.

    Example: rlhf-fair panel repair --assignments assignments.csv --panel panel/panel.csv --dropped p12,p40
    --pool reserve.csv --items items.jsonl --by gender --distinct-groups 2 --out repaired.csv
    """
    import numpy as np

    from rlhf_fair.annotators.assignment_openings import RepairTerms
    from rlhf_fair.annotators.assignment_repair import repair as repair_assignments
    from rlhf_fair.tables import ANNOTATORS, read_table, require_columns, write_table

    _require_by(distinct_groups, by)
    gone = [name.strip() for name in dropped.split(",") if name.strip()]
    if Path(dropped).is_file():
        leavers = read_table(Path(dropped))
        require_columns(leavers, ["annotator_id"], "dropped")
        gone = leavers["annotator_id"].dropna().tolist()
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("repairing", 0, 3)
        members, table = accepted(panel, ANNOTATORS), _read_assignments(assignments)
        others = None if pool is None else accepted(pool, ANNOTATORS)
        work = None if items is None else _read_items(items)
        progress("repairing", 1, 3)
        done = repair_assignments(
            table,
            members,
            gone,
            items=work,
            replacements=others,
            terms=RepairTerms(distinct_groups, tuple(attribute_names(members, by or []))),
            rng=np.random.default_rng(seed),
        )
        progress("repairing", 2, 3)
        write_table(out, done.assignments)
        if unreplaced is not None:
            write_table(unreplaced, done.unreplaced)
        progress("repairing", 3, 3)
    reasons = done.unreplaced["reason"].value_counts().to_dict()
    heeded = work is not None and any(name in work for name in NEEDS)
    summary = {
        "out": str(out),
        "dropped": len(gone),
        "replaced": len(done.replaced),
        "by_people": done.replaced["annotator_id"].nunique(),
        "unreplaced": len(done.unreplaced),
        "reasons": reasons,
        "items_short_of_groups": len(done.short_of_groups),
        "exhaustive": done.exhaustive,
        "eligibility_heeded": heeded,
    }
    lines = [
        f"{len(done.replaced)} judgements of {len(gone)} drop-outs go to {summary['by_people']} others: {out}",
        f"{len(done.unreplaced)} could not be replaced",
        *(f"  {count}: {reason}" for reason, count in reasons.items()),
    ]
    if not done.exhaustive:
        lines.append("  the search was cut short, so that some of these might still be replaceable")
    if distinct_groups > 1:
        lines.append(f"{len(done.short_of_groups)} of the items concerned have fewer than {distinct_groups} groups")
    if work is None and "languages" in members:
        lines.append("languages and skills were not looked at: that needs --items")
    show(summary, lines, as_json=as_json, quiet=quiet)


def _require_by(distinct_groups: int, by: list[str] | None) -> None:
    from rlhf_fair.errors import SettingsError

    if distinct_groups > 1 and not by:
        raise SettingsError(f"--distinct-groups {distinct_groups} needs --by ATTRIBUTE to say what a group is")


def _read_items(path: Path) -> pd.DataFrame:
    from rlhf_fair.tables import ITEMS, Column, Contract

    optional = Column(required=False, nullable=True)
    columns = {"item_id": ITEMS.columns["item_id"], **dict.fromkeys(NEEDS, optional)}
    return accepted(path, Contract("items", columns, ITEMS.key))


def _read_assignments(path: Path) -> pd.DataFrame:
    """An assignments table in which people may repeat an item: that is for `check` to count."""
    from rlhf_fair.tables import ASSIGNMENTS, Contract

    table = accepted(path, Contract("assignments", ASSIGNMENTS.columns, ("item_id", "slot", "annotator_id")))
    return table.astype({"slot": "int64"})
