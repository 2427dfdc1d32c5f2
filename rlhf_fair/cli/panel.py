"""`rlhf-fair panel`: plan a panel, assign its work, weigh its members, measure its agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.tables import Contract

app = typer.Typer(
    name="panel",
    help="Diverse annotator sampling and what follows from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code and the files tell.")]
Seed = Annotated[int, typer.Option(help="Seed of all random draws.")]
PopulationFile = Annotated[Path, typer.Option("--population", help="Margins: a .toml file or a table.")]
PanelFile = Annotated[Path, typer.Option("--panel", help="Panel table: annotator_id, attr.* and what planning added.")]
By = Annotated[list[str] | None, typer.Option("--by", help="Attribute whose groups count; repeat to cross several.")]


@app.command()
def plan(
    pool: Annotated[Path, typer.Option(help="Candidates: annotator_id, attr.* columns, optionally cost.")],
    population: PopulationFile,
    size: Annotated[int, typer.Option(min=1, help="Number of annotators.")],
    out: Annotated[Path, typer.Option(help="Folder for panel.csv, targets.csv and certificate.json.")],
    minimum_per_cell: Annotated[int, typer.Option(min=0, help="Least people in every margin cell.")] = 0,
    budget: Annotated[float | None, typer.Option(help="Highest total cost.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="People a cell may miss its target by.")] = 1.0,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose annotators whose margins match the population's, at least cost.

    Example: rlhf-fair panel plan --pool pool.csv --population adults.toml --size 100 --out panel/
    """
    import numpy as np

    from rlhf_fair.annotators.panel import plan_panel
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.artifacts import make_folder, write_json
    from rlhf_fair.tables import ANNOTATORS, read_validated, write_table

    people = Population.read(population)
    candidates = read_validated(pool, ANNOTATORS)
    planned = plan_panel(
        candidates.table,
        people,
        size=size,
        minimum_per_cell=minimum_per_cell,
        budget=budget,
        tolerance=tolerance,
        rng=np.random.default_rng(seed),
    )
    certificate = {**planned.certificate(), "rejected": len(candidates.rejects), "seed": seed}
    make_folder(out)
    write_table(out / "panel.csv", planned.members)
    write_table(out / "targets.csv", planned.targets)
    write_json(out / "certificate.json", certificate)
    if len(candidates.rejects):
        write_table(out / "rejects.csv", candidates.rejects)
    show({"out": str(out), **certificate}, _plan_lines(certificate, out), as_json=as_json, quiet=quiet)


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


def show(summary: Mapping[str, Any], lines: Sequence[str], *, as_json: bool, quiet: bool) -> None:
    """Print ``summary`` as one line of JSON (NaN as null), or the lines, or nothing."""
    import json
    import math

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    if as_json:
        typer.echo(json.dumps(plain(summary), ensure_ascii=False, allow_nan=False))
    elif not quiet:
        typer.echo("\n".join(lines))


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


def _plan_lines(certificate: Mapping[str, Any], out: Path) -> list[str]:
    size, eligible, cost = certificate["size"], certificate["eligible"], certificate["cost"]
    lines = [
        f"panel of {size} from {eligible} candidates, cost {cost:g}: {out}",
        f"{certificate['targets_met']} of {certificate['targets']} targets met within {certificate['tolerance']:g}",
    ]
    lines += [
        f"  {miss['attribute']}={miss['level']}: wanted {miss['target']:.1f}, planned {miss['planned']}, "
        f"{miss['available']} in the pool"
        for miss in certificate["missed"]
    ]
    notes = {
        "unplaced": "candidates have an attribute the population does not know and were not considered",
        "never_drawn": "candidates had no chance to be drawn, so no weighting can stand for them",
        "rejected": "rows of the pool were unusable, see rejects.csv",
    }
    return lines + [f"{certificate[key]} {note}" for key, note in notes.items() if certificate[key]]
