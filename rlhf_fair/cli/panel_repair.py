"""`rlhf-fair panel repair`: who stands in for drop-outs; what has been judged stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import By, Json, PanelFile, Quiet, Seed, show
from rlhf_fair.cli.panel_assign import (
    NEEDS,
    AssignmentsFile,
    Groups,
    read_assignments,
    read_ids,
    read_items,
    require_by,
)
from rlhf_fair.cli.panel_tables import accepted, attribute_names
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.assignment_leavers import Leavers
    from rlhf_fair.annotators.assignment_repair import Repair

Dropped = Annotated[
    str | None, typer.Option(help="Who dropped out: ids separated by commas, or a table of annotator_id.")
]
Answered = Annotated[Path | None, typer.Option(help="Feedback so far: what is judged stays, of drop-outs as well.")]
Open = Annotated[
    Path | None,
    typer.Option("--open", help="Just these are given to others: item_id, annotator_id, as simulate --unanswered."),
]
PanelOut = Annotated[
    Path | None, typer.Option(help="Panel to write, with those of --pool who stand in: use it from then on.")
]


def repair(
    assignments: AssignmentsFile,
    panel: PanelFile,
    out: Annotated[Path, typer.Option(help="Assignments table to write.")],
    dropped: Dropped = None,
    answered: Answered = None,
    open_: Open = None,
    pool: Annotated[Path | None, typer.Option(help="People besides the panel who may stand in.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items table; needed to heed language and skills.")] = None,
    distinct_groups: Groups = 1,
    by: By = None,
    unreplaced: Annotated[Path | None, typer.Option(help="Table of judgements nobody could take, with why.")] = None,
    rest: Annotated[Path | None, typer.Option(help="Table of assignments still to be judged.")] = None,
    panel_out: PanelOut = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give the judgements of drop-outs to others; nothing else is touched.

    With --answered or --open, what drop-outs judged before they left stays theirs, and counts for their items. Whoever
    has an entry in --open has left. Loads and capacities count all that a person was assigned, judged or not.

    Example: rlhf-fair panel repair --assignments assignments.csv --panel panel/panel.csv --dropped p12,p40
    --answered feedback.jsonl --pool reserve.csv --by gender --distinct-groups 2 --out repaired.csv
    """
    import numpy as np

    from rlhf_fair.annotators.assignment_openings import RepairTerms
    from rlhf_fair.annotators.assignment_repair import repair as repair_assignments
    from rlhf_fair.tables import ANNOTATORS, write_table

    require_by(distinct_groups, by)
    _check(dropped, open_, rest, answered)
    with progress_bar(hidden=as_json or quiet) as progress:
        progress("repairing", 0, 3)
        members, table = accepted(panel, ANNOTATORS), read_assignments(assignments)
        others = None if pool is None else accepted(pool, ANNOTATORS)
        work = None if items is None else read_items(items)
        state = _state(table, dropped, open_, answered)
        progress("repairing", 1, 3)
        terms = RepairTerms(distinct_groups, tuple(attribute_names(members, by or [])))
        given: Any = {"items": work, "replacements": others, "terms": terms}
        done = repair_assignments(table, members, state.leavers, **given, rng=np.random.default_rng(seed))
        progress("repairing", 2, 3)
        joined = _joined(members, others, done)
        written = {unreplaced: done.unreplaced, rest: _rest(done, state), panel_out: joined}
        for path, part in {out: done.assignments, **written}.items():
            if path is not None:
                write_table(path, part)
        progress("repairing", 3, 3)
    heeded = work is not None and any(name in work for name in NEEDS)
    newcomers = len(joined) - len(members)
    summary = {"out": str(out), **_summary(done, state), "newcomers": newcomers, "eligibility_heeded": heeded}
    lines = [*_lines(summary, done, distinct_groups), *_newcomer_lines(newcomers, panel_out)]
    if work is None and "languages" in members:
        lines.append("languages and skills were not looked at: that needs --items")
    show(summary, lines, as_json=as_json, quiet=quiet)


@dataclass(frozen=True)
class _State:
    """Where the collection stands: who left, judgements at hand (None: not told), how many of them nobody was assigned.

    ``kept``: judgements that leavers made, which stay.
    """

    leavers: Leavers
    answered: pd.DataFrame | None
    not_assigned: int
    kept: int


def _check(dropped: str | None, open_: Path | None, rest: Path | None, answered: Path | None) -> None:
    from rlhf_fair.errors import SettingsError

    if dropped is None and open_ is None:
        raise SettingsError("nobody left; allowed: --dropped IDS, --open FILE of what is left open, or both")
    if rest is not None and open_ is None and answered is None:
        raise SettingsError(f"--rest {rest} needs --answered FEEDBACK or --open FILE to say what is judged already")


def _state(table: pd.DataFrame, dropped: str | None, open_: Path | None, answered: Path | None) -> _State:
    from rlhf_fair.annotators.assignment_leavers import Leavers, not_assigned
    from rlhf_fair.tables import FEEDBACK, Column, Contract

    gone = read_ids(dropped, "dropped") if dropped is not None else []
    judged = None if answered is None else accepted(answered, FEEDBACK)
    if open_ is None:
        leavers = Leavers.of(table, gone, answered=judged)
    else:
        pair = {"item_id": Column(), "annotator_id": Column()}
        leavers = Leavers.with_open(
            table, accepted(open_, Contract("open", pair, tuple(pair))), ids=gone, answered=judged
        )
    theirs = table["annotator_id"].isin(list(leavers.annotator_ids)).to_numpy()
    unknown = 0 if judged is None else not_assigned(table, judged)
    return _State(leavers, judged, unknown, int((theirs & ~leavers.open_rows).sum()))


def _rest(done: Repair, state: _State) -> pd.DataFrame:
    """Assignments without a judgement; where only --open was given, what has changed hands."""
    from rlhf_fair.annotators.assignment_leavers import has_judgement

    judged = state.answered
    if judged is None:
        return done.assignments[has_judgement(done.assignments, done.replaced)]
    return done.assignments[~has_judgement(done.assignments, judged)]


def _joined(members: pd.DataFrame, others: pd.DataFrame | None, done: Repair) -> pd.DataFrame:
    """The panel, and below it those of the pool who stand in; a cost that the pool does not name is left out.

    ``joined``: draw or repair. Nobody knows with what probability a stand-in would have been drawn, so it stays empty,
    even where the pool is a panel drawn for another purpose.
    """
    import pandas as pd

    if others is None:
        return members
    new = others[
        others["annotator_id"].isin(done.replaced["annotator_id"])
        & ~others["annotator_id"].isin(members["annotator_id"])
    ]
    before = members if "joined" in members else members.assign(joined="draw")
    columns = [name for name in before if name in new or name != "cost"]
    new = new.reindex(columns=columns).assign(joined="repair")
    for name in ("inclusion_probability", "unreached_share"):
        if name in new:
            new[name] = float("nan")
    return pd.concat([before[columns], new], ignore_index=True) if len(new) else before


def _summary(done: Repair, state: _State) -> dict[str, Any]:
    from rlhf_fair.annotators.assignment_leavers import has_judgement

    judged = state.answered
    return {
        "dropped": len(state.leavers.annotator_ids),
        "replaced": len(done.replaced),
        "by_people": done.replaced["annotator_id"].nunique(),
        "kept_of_dropped": state.kept,
        "judgements_not_assigned": state.not_assigned,
        "judged_again": 0 if judged is None else int(has_judgement(done.replaced, judged).sum()),
        "unreplaced": len(done.unreplaced),
        "reasons": done.unreplaced["reason"].value_counts().to_dict(),
        "items_short_of_groups": len(done.short_of_groups),
        "uneven_orders": _uneven_orders(done),
        "exhaustive": done.exhaustive,
    }


def _newcomer_lines(newcomers: int, panel_out: Path | None) -> list[str]:
    if not newcomers:
        return []
    where = f"{panel_out}: the panel from here on" if panel_out else "no panel table yet: that needs --panel-out"
    return [f"{newcomers} newcomers, without an inclusion probability, are in {where}"]


def _uneven_orders(done: Repair) -> int:
    """Those who took over something and see one order at least twice more often than the other, as `check` counts."""
    if "order" not in done.assignments:
        return 0
    theirs = done.assignments[done.assignments["annotator_id"].isin(done.replaced["annotator_id"])]
    sign = (theirs["order"] == "ab").astype("int64") * 2 - 1
    balance = sign.groupby(theirs["annotator_id"]).sum()
    return int((balance.abs() > 1).sum())


def _lines(summary: dict[str, Any], done: Repair, distinct_groups: int) -> list[str]:
    lines = [
        f"{summary['replaced']} judgements of {summary['dropped']} drop-outs go to {summary['by_people']} others: "
        f"{summary['out']}",
        f"{summary['unreplaced']} could not be replaced",
        *(f"  {count}: {reason}" for reason, count in summary["reasons"].items()),
    ]
    if not done.exhaustive:
        lines.append("  the search was cut short, so that some of these might still be replaceable")
    if summary["kept_of_dropped"]:
        lines.append(f"{summary['kept_of_dropped']} judgements that drop-outs made before stay as they are")
    if summary["judgements_not_assigned"]:
        lines.append(
            f"warning: {summary['judgements_not_assigned']} judgements at hand are of items and annotators that were "
            f"not assigned to each other; they count for nothing here, so {summary['judged_again']} of the judgements "
            "given to others are at hand already"
        )
    if summary["uneven_orders"]:
        lines.append(f"{summary['uneven_orders']} who took over something now see one order more than once more often")
    if distinct_groups > 1:
        lines.append(f"{len(done.short_of_groups)} of the items concerned have fewer than {distinct_groups} groups")
    return lines
