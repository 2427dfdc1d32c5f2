"""`rlhf-fair feedback import` and `export`: feedback in the formats of other tools; raw attributes stay at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.panel_tables import accepted, attribute_names, simulated_lines

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.exchange.losses import Lost
    from rlhf_fair.annotators.privacy_cells import Gate

Format = Annotated[
    Literal["jsonl", "csv", "parquet", "label-studio", "argilla"], typer.Option("--format", help="Format of the file.")
]
KeyFile = Annotated[Path | None, typer.Option(help="Pseudonyms for the annotators: file (mode 600) with the key.")]
KeyEnv = Annotated[str | None, typer.Option(help="Or the environment variable that holds the key.")]


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="File as the tool exports it.")],
    form: Format,
    out: Annotated[Path, typer.Option(help="Feedback table to write (JSONL, CSV or Parquet).")],
    rejects: Annotated[Path | None, typer.Option(help="Table of rejects; by default beside --out.")] = None,
    choice_question: Annotated[str, typer.Option(help="Argilla: the question that holds choices.")] = "choice",
    rating_question: Annotated[str, typer.Option(help="Argilla: the question that holds ratings.")] = "rating",
    key_file: KeyFile = None,
    key_env: KeyEnv = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read feedback from another tool. Ends with exit code 2 if entries were set aside; the sound ones are written.

    Example: rlhf-fair feedback import project-7.json --format label-studio --out feedback.jsonl
    """
    from rlhf_fair.annotators.exchange.formats import import_feedback
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import simulated_rows, write_table

    key = pseudonym_key(key_file, key_env)
    found = import_feedback(source, form, choice_question=choice_question, rating_question=rating_question)
    good, bad = len(found.table), len(found.rejects)
    summary: dict[str, Any] = {"accepted": good, "rejected": bad, "not_imported": [asdict(lost) for lost in found.lost]}
    summary["simulated_rows"] = simulated_rows(found.table)
    lines = [f"{good} rows of feedback, {bad} set aside", *simulated_lines(found.table)]
    lines += loss_lines("not imported", found.lost)
    if bad:
        summary["rejects"] = str(beside := rejects or out.with_name(f"{out.name.partition('.')[0]}.rejects.csv"))
        write_table(beside, found.rejects)
        lines += [*found.rejects["message"].head(5), f"all that was set aside: {beside}"]
    if not good:
        raise RowError(f"{source}: no row of feedback in {bad} entries" + (f", see {beside}" if bad else ""))
    write_table(out, hide(found.table, key))
    summary["out"] = str(out)
    show(summary, [*lines, f"written to {out}"], as_json=as_json, quiet=quiet)
    if bad:
        raise typer.Exit(2)


def export(
    form: Format,
    out: Annotated[Path, typer.Option(help="File to write.")],
    feedback: Annotated[Path | None, typer.Argument(metavar="[FEEDBACK]", help="Feedback table.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items table: puts prompt and answers into the tasks.")] = None,
    panel: Annotated[Path | None, typer.Option(help="Panel table whose attributes may leave.")] = None,
    with_attributes: Annotated[bool, typer.Option("--with-attributes", help="Let attributes leave, gated.")] = False,
    quasi: Annotated[list[str] | None, typer.Option(help="Attribute that may single people out; repeat.")] = None,
    sensitive: Annotated[list[str] | None, typer.Option(help="Sensitive attribute, see --l; repeat.")] = None,
    k: Annotated[int, typer.Option(help="Least people who share all --quasi attributes.")] = 5,
    l: Annotated[int, typer.Option("--l", help="Least different values of a sensitive attribute.")] = 1,  # noqa: E741
    key_file: KeyFile = None,
    key_env: KeyEnv = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write feedback for another tool; without FEEDBACK, the items as tasks to label (Label Studio).

    Attributes (attr.*) stay at home unless --with-attributes lets them through the gate; exit code 1 if it is shut.

    Example: rlhf-fair feedback export feedback.jsonl --format label-studio --items items.jsonl --out tasks.json
    """
    from rlhf_fair.annotators.exchange.formats import export_feedback, write_entries
    from rlhf_fair.annotators.exchange.label_studio import blank_tasks
    from rlhf_fair.annotators.privacy_cells import Gate
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import FEEDBACK, ITEMS, attribute_columns, simulated_rows

    texts = accepted(items, ITEMS) if items is not None else None
    if feedback is None:
        if texts is None or form != "label-studio":
            raise SettingsError("give FEEDBACK, or --items and --format label-studio for tasks to label")
        write_entries(out, blank_tasks(texts))
        told = {"out": str(out), "tasks": len(texts)}
        show(told, [f"{len(texts)} tasks to label: {out}"], as_json=as_json, quiet=quiet)
        return
    key, table = pseudonym_key(key_file, key_env), accepted(feedback, FEEDBACK)
    kept_home = attribute_columns(table)
    summary: dict[str, Any] = {"out": str(out), "rows": len(table), "attributes": []}
    summary["simulated_rows"] = simulated_rows(table)
    lines = simulated_lines(table)
    if with_attributes:
        if form in ("label-studio", "argilla"):
            raise SettingsError(f"--with-attributes: {form} keeps no attributes; allowed: jsonl, csv, parquet")
        gate = Gate(k=k, l=l, sensitive=tuple(sensitive or ()))
        table, told, gate_lines = _released(table, panel, quasi or [], gate)
        summary |= told
        lines += gate_lines
    else:
        table = table.drop(columns=kept_home)
        summary["kept_home"] = kept_home
        lines += [f"{len(kept_home)} attributes stay at home: {', '.join(kept_home)}"] if kept_home else []
    lost = export_feedback(hide(table, key), out, form, items=texts)
    summary["lost"] = [asdict(entry) for entry in lost]
    lines += [*loss_lines("lost", lost), f"{len(table)} rows of feedback: {out}"]
    show(summary, lines, as_json=as_json, quiet=quiet)


def pseudonym_key(key_file: Path | None, key_env: str | None) -> bytes | None:
    """The key, where one is named."""
    from rlhf_fair.annotators.privacy_pseudonyms import read_key

    return None if key_file is None and key_env is None else read_key(key_file=key_file, variable=key_env)


def hide(table: pd.DataFrame, key: bytes | None) -> pd.DataFrame:
    """The table with pseudonyms, where there is a key."""
    from rlhf_fair.annotators.privacy_pseudonyms import pseudonymise

    return table if key is None else pseudonymise(table, key)


def loss_lines(what: str, lost: Sequence[Lost]) -> list[str]:
    """One line for each loss."""
    return [f"{what}: {e.cells} {'of ' + e.column if e.column else 'entries'} ({e.code}): {e.message}" for e in lost]


def _released(
    table: pd.DataFrame, panel: Path | None, quasi: Sequence[str], gate: Gate
) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """The feedback with the attributes that pass the gate; ends with exit code 1 where none does."""
    from dataclasses import replace

    from rlhf_fair.annotators.privacy_release import people_of, release_attributes
    from rlhf_fair.tables import ANNOTATORS, attribute_columns

    people = accepted(panel, ANNOTATORS) if panel is not None else people_of(table)
    hidden = attribute_names(people, gate.sensitive)
    columns = attribute_names(people, quasi) or [name for name in attribute_columns(people) if name not in hidden]
    people = people[people["annotator_id"].isin(set(table["annotator_id"]))].reset_index(drop=True)
    released = release_attributes(people, columns, replace(gate, sensitive=tuple(hidden)))
    leaving = [*columns, *hidden]
    told = {
        "attributes": leaving,
        "people": len(people),
        "withheld": released.withheld,
        "too_few": released.too_few,
        "companions": released.companions,
        "too_alike": released.too_alike,
    }
    lines = [
        f"attributes {', '.join(leaving)} of {len(people) - released.withheld} people leave; those of "
        f"{released.withheld} are withheld: {released.too_few} in cells of fewer than {gate.k}, {released.companions} "
        f"in cells that would give those away, {released.too_alike} in cells of fewer than {gate.l} sensitive values"
    ]
    if not released.passed:
        typer.echo(f"nothing written: {lines[0]}; name fewer or coarser attributes with --quasi", err=True)
        raise typer.Exit(1)
    rows = table.drop(columns=attribute_columns(table))
    return rows.merge(released.people, on="annotator_id", how="left", validate="many_to_one"), told, lines
