"""`rlhf-fair panel`: plan a panel, assign its work, weigh its members, measure its agreement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import By as By  # other commands import these names from here
from rlhf_fair.cli.options import Json as Json
from rlhf_fair.cli.options import PanelFile as PanelFile
from rlhf_fair.cli.options import PopulationFile as PopulationFile
from rlhf_fair.cli.options import Quiet as Quiet
from rlhf_fair.cli.options import Seed as Seed
from rlhf_fair.cli.options import show as show
from rlhf_fair.cli.panel_plan import plan
from rlhf_fair.cli.panel_size import size

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.tables import Contract

app = typer.Typer(
    name="panel",
    help="Diverse annotator sampling and what follows from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(plan)
app.command()(size)


@app.command()
def assign(
    panel: PanelFile,
    items: Annotated[Path, typer.Option(help="Items table: item_id and anything else.")],
    out: Annotated[Path, typer.Option(help="Assignments table to write.")],
    ratings_per_item: Annotated[int, typer.Option(min=1, help="Different annotators for each item.")] = 3,
    distinct_groups: Annotated[int, typer.Option(min=1, help="Different groups (see --by) for each item.")] = 1,
    by: By = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Share the items out: level loads within capacity, several groups for each item, both presentation orders.

    Example: rlhf-fair panel assign --panel panel/panel.csv --items items.jsonl --by gender --distinct-groups 2
    --out assignments.csv
    """
    import numpy as np

    from rlhf_fair.annotators.assignment import assign as assign_items
    from rlhf_fair.annotators.assignment import coverage
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import ANNOTATORS, ITEMS, Contract, write_table

    if distinct_groups > 1 and not by:
        raise SettingsError(f"--distinct-groups {distinct_groups} needs --by ATTRIBUTE to say what a group is")
    members = accepted(panel, ANNOTATORS)
    work = accepted(items, Contract("items", {"item_id": ITEMS.columns["item_id"]}, ITEMS.key))
    columns = attribute_names(members, by or [])
    table = assign_items(
        work,
        members,
        ratings_per_item=ratings_per_item,
        distinct_groups=distinct_groups,
        group_columns=columns,
        rng=np.random.default_rng(seed),
    )
    write_table(out, table)
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
        short = int((coverage(table, members, columns)["groups"] < distinct_groups).sum())
        summary["items_short_of_groups"] = short
        lines.append(f"{short} items seen by fewer than {distinct_groups} groups of {' x '.join(by or [])}")
    show(summary, lines, as_json=as_json, quiet=quiet)


@app.command()
def weigh(
    panel: PanelFile,
    population: PopulationFile,
    out: Annotated[Path, typer.Option(help="Weights table to write: annotator_id, weight.")],
    trim: Annotated[float, typer.Option(help="Largest weight, as a multiple of the mean.")] = 5.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Weights that make the panel stand for the population, and what they cost in precision.

    Example: rlhf-fair panel weigh --panel panel/panel.csv --population adults.toml --out weights.csv
    """
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.annotators.weights import design_effect, raking_weights
    from rlhf_fair.stats.columns import kish_effective_n
    from rlhf_fair.tables import ANNOTATORS, write_table

    found = raking_weights(accepted(panel, ANNOTATORS), Population.read(population), trim=trim)
    write_table(out, found.weights.reset_index())
    effective, effect = kish_effective_n(found.weights), design_effect(found.weights)
    summary = {
        "out": str(out),
        "members": len(found.weights),
        "effective_size": effective,
        "design_effect": effect,
        "max_gap": found.max_gap,
        "trimmed": found.trimmed,
        "unknown": found.unknown,
        "margins": found.margins.to_dict("records"),
    }
    lines = [
        f"{len(found.weights)} members weigh as much as {effective:.1f} equal ones (design effect {effect:.2f}): {out}",
        f"largest distance of a weighted share from its target: {found.max_gap:.3f}; {found.trimmed} weights trimmed",
        *(
            f"{count} members of unknown {name} left out of that margin"
            for name, count in found.unknown.items()
            if count
        ),
    ]
    show(summary, lines, as_json=as_json, quiet=quiet)


@app.command()
def agree(
    feedback: Annotated[Path, typer.Option(help="Feedback table.")],
    panel: Annotated[Path | None, typer.Option(help="Panel table, for agreement inside groups.")] = None,
    by: By = None,
    rating_level: Annotated[
        Literal["nominal", "ordinal", "interval", "ratio"], typer.Option(help="What a distance of ratings means.")
    ] = "ordinal",
    out: Annotated[Path | None, typer.Option(help="Table to write.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Krippendorff's alpha, over everybody and inside groups.

    Example: rlhf-fair panel agree --feedback feedback.jsonl --panel panel/panel.csv --by gender
    """
    from rlhf_fair.annotators.agreement import agreement_table
    from rlhf_fair.tables import FEEDBACK, write_table

    table = agreement_table(
        accepted(feedback, FEEDBACK), groups=read_groups(panel, by or []), rating_level=rating_level
    )
    if out is not None:
        write_table(out, table)
    rows: list[dict[Any, Any]] = table.to_dict("records")
    lines = []
    for row in rows:
        result = f"not estimable, {row['reason']}" if row["reason"] else f"{row['alpha']:.3f}"
        counts = f"{row['level']}; {row['n_ratings']} ratings of {row['n_units']} items"
        lines.append(f"{row['kind']} {row['group']}: alpha {result} ({counts})")
    show({"agreement": rows}, lines, as_json=as_json, quiet=quiet)


def accepted(path: Path, contract: Contract) -> pd.DataFrame:
    """Read a table all of whose rows must be sound; the first that is not becomes the error."""
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import read_validated

    read = read_validated(path, contract)
    if len(read.rejects):
        more = f" (and {len(read.rejects) - 1} more rows)" if len(read.rejects) > 1 else ""
        raise RowError(f"{path}: {read.rejects['message'].iloc[0]}{more}")
    return read.table


def attribute_names(table: pd.DataFrame, attributes: Sequence[str]) -> list[str]:
    """Column names of attributes given with or without ``attr.``; an unknown one is an error naming those there are."""
    from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

    columns = [ATTRIBUTE_PREFIX + name.removeprefix(ATTRIBUTE_PREFIX) for name in attributes]
    require_columns(table, columns, "panel")
    return columns


def read_groups(panel: Path | None, attributes: Sequence[str]) -> pd.Series | None:
    """Each annotator's group, crossed levels joined by ``*``; None where no attribute is asked for."""
    from rlhf_fair.annotators.population import CROSS
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import ANNOTATORS

    if not attributes:
        return None
    if panel is None:
        raise SettingsError(f"--by {attributes[0]} needs --panel FILE to say who is in which group")
    members = accepted(panel, ANNOTATORS)
    columns = attribute_names(members, attributes)
    group = members[columns].fillna("").agg(CROSS.join, axis=1).where(members[columns].notna().all(axis=1))
    return group.set_axis(members["annotator_id"])
