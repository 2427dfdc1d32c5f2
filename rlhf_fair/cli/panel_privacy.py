"""`rlhf-fair panel pseudonymise` and `privacy`: who can be singled out, and counts that give nobody away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import By, Json, PanelFile, Quiet, show
from rlhf_fair.cli.panel_tables import accepted, attribute_names

if TYPE_CHECKING:
    import pandas as pd


def pseudonymise(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Any table with ids of annotators.")],
    out: Annotated[Path, typer.Option(help="Table to write.")],
    key_file: Annotated[Path | None, typer.Option(help="File with the key, readable by its owner alone.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Or the environment variable that holds the key.")] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Write a fresh random key to --key-file first.")] = False,
    purpose: Annotated[str, typer.Option(help="Ids of their own for this purpose, as with feedback export.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="Column of ids; may be repeated.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replace ids by a keyed hash (HMAC-SHA256); the same key keeps tables joinable, another key does not.

    Example: rlhf-fair panel pseudonymise panel.csv --key-file panel.key --new-key --out shared.csv
    """
    from rlhf_fair.annotators import privacy_pseudonyms
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import read_table, write_table

    content = read_table(table)
    if new_key:
        if key_file is None:
            raise SettingsError("--new-key needs --key-file FILE to write the key to")
        privacy_pseudonyms.new_key(key_file)
    key = privacy_pseudonyms.read_key(key_file=key_file, variable=key_env)
    if purpose:
        key = privacy_pseudonyms.key_for(key, purpose)
    columns = tuple(column or ["annotator_id"])
    write_table(out, privacy_pseudonyms.pseudonymise(content, key, columns))
    people = {name: int(content[name].nunique()) for name in columns}
    lines = [f"{n} different ids of column {name} replaced: {out}" for name, n in people.items()]
    show({"out": str(out), "rows": len(content), "ids": people}, lines, as_json=as_json, quiet=quiet)


def privacy(
    panel: PanelFile,
    by: By = None,
    k: Annotated[int, typer.Option(help="Least people of a cell that may be shown.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Table of counts to write, with all margins.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Noisy counts instead, paid for from --ledger.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="The panel's privacy budget, see --budget.")] = None,
    budget: Annotated[float | None, typer.Option(help="Start the ledger with this total epsilon.")] = None,
    population: Annotated[Path | None, typer.Option(help="Margins that name the levels of noisy counts.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Who shares their attributes with too few, and counts by attribute that give nobody away.

    Cells of fewer than k people are left out, and so are the companions that would tell them. With --epsilon, all
    cells have Laplace noise instead. Exit code 1 if no cell can be shown, 3 if they are too many to tell (no --out).

    Example: rlhf-fair panel privacy --panel panel/panel.csv --by gender --by race --k 5 --out counts.csv
    """
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import ANNOTATORS, attribute_columns

    people = accepted(panel, ANNOTATORS)
    columns = attribute_names(people, by or []) or attribute_columns(people)
    if epsilon is not None:
        if ledger is None or population is None:
            raise SettingsError("--epsilon needs --ledger FILE to pay from and --population FILE to name the levels")
        _noisy(people, columns, population, (epsilon, ledger, budget), (out, as_json, quiet))
        return
    _counted(people, columns, k, (out, as_json, quiet))


def _counted(people: pd.DataFrame, columns: Sequence[str], k: int, to: tuple[Path | None, bool, bool]) -> None:
    from rlhf_fair.annotators.privacy_cells import Gate, risk
    from rlhf_fair.annotators.privacy_suppression import count_table
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import write_table

    out, as_json, quiet = to
    found = risk(people, columns, Gate(k=k))
    summary: dict[str, Any] = {"by": list(columns), "k": k, **asdict(found)}
    lines = [
        f"{' x '.join(columns)}: {found.people} people in {found.cells} cells",
        f"{found.unique} are alone in their cell; {found.below_k} share it with fewer than {k} in all",
    ]
    try:
        table = count_table(people, columns, k=k)
    except SettingsError as error:
        if out is not None:
            raise
        lines.append(f"whether any cell can be shown was not worked out: {error}")
        show(summary | {"withheld": None, "reason": str(error)}, lines, as_json=as_json, quiet=quiet)
        raise typer.Exit(3) from None
    small, companions = table.suppressed("small"), table.suppressed("companion")
    summary |= {"small": small, "companions": companions, "withheld": table.withheld}
    lines.append(
        f"counts with margins: {small} small cells left out, and {companions} that would give them away"
        if not table.withheld
        else "no cell can be shown without telling a small one; name fewer attributes"
    )
    if out is not None:
        write_table(out, table.cells)
        summary["out"] = str(out)
        lines.append(f"written to {out}")
    show(summary, lines, as_json=as_json, quiet=quiet)
    if table.withheld:
        raise typer.Exit(1)


def _noisy(
    people: pd.DataFrame,
    columns: Sequence[str],
    population: Path,
    cost: tuple[float, Path, float | None],
    to: tuple[Path | None, bool, bool],
) -> None:
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.annotators.privacy_budget import open_ledger
    from rlhf_fair.annotators.privacy_noise import check_request, laplace_half_width, private_counts
    from rlhf_fair.errors import ColumnError, SettingsError
    from rlhf_fair.tables import ATTRIBUTE_PREFIX, write_table

    (epsilon, ledger, budget), (out, as_json, quiet) = cost, to
    margins = Population.read(population)
    levels = {}
    for column in columns:
        name = column.removeprefix(ATTRIBUTE_PREFIX)
        if name not in margins.attributes:
            raise ColumnError("population", name, margins.attributes)
        levels[column] = margins.levels(name)
    if budget is not None:
        check_request(people, levels, epsilon)  # a ledger is opened once: not for an answer that cannot be given
        if epsilon > budget:
            raise SettingsError(f"--epsilon {epsilon:g} exceeds --budget {budget:g}; no ledger was started")
        open_ledger(ledger, budget)
    table, left = private_counts(people, levels, epsilon=epsilon, ledger=ledger)
    half = laplace_half_width(epsilon)
    summary = {"epsilon": epsilon, "half_width": half, "left": float(left.left), "cells": table.to_dict("records")}
    lines = [f"{' x '.join(map(str, row[:-3]))}: {row[-3]:.1f}" for row in table.itertuples(index=False)]
    lines.append(f"95 % of the noise is within {half:.1f} people; {float(left.left):g} of the budget are left")
    if out is not None:
        write_table(out, table)
        summary["out"] = str(out)
    show(summary, lines, as_json=as_json, quiet=quiet)
