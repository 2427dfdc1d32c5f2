"""`rlhf-fair feedback`: check what annotators sent in, and make one judgement of many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.feedback_aggregate import FeedbackFile, aggregate
from rlhf_fair.cli.feedback_exchange import export, import_
from rlhf_fair.cli.feedback_flips import flips
from rlhf_fair.cli.feedback_quality import quality
from rlhf_fair.cli.panel import Json, Quiet, show
from rlhf_fair.cli.panel_tables import simulated_lines

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="feedback",
    help="Feedback in and out: validate, aggregate, and what aggregation costs whom.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def validate(
    feedback: FeedbackFile,
    annotators: Annotated[Path | None, typer.Option(help="Annotators table: unknown ids are rejected.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items table: unknown ids are rejected.")] = None,
    missing: Annotated[list[str] | None, typer.Option(help="Cell text that means missing; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for accepted.jsonl and rejects.csv.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every row; ends with exit code 2 if some are rejected. Accepted and rejected rows add up to the input.

    Example: rlhf-fair feedback validate feedback.jsonl --annotators panel/panel.csv --out checked/
    """
    from rlhf_fair.artifacts import replaced_files
    from rlhf_fair.tables import (
        FEEDBACK,
        read_table,
        read_validated,
        require_columns,
        simulated_rows,
        write_rejects,
        write_table,
    )

    known: dict[str, pd.Series] = {}
    for column, path in (("annotator_id", annotators), ("item_id", items)):
        if path is not None:
            table = read_table(path)
            require_columns(table, [column], str(path))
            known[column] = table[column]
    checked = read_validated(
        feedback, FEEDBACK, known={name: set(ids) for name, ids in known.items()}, missing_values=missing or ()
    )
    good, bad = len(checked.table), len(checked.rejects)
    codes = {str(code): int(count) for code, count in checked.rejects["code"].value_counts().items()}
    summary: dict[str, Any] = {"input": good + bad, "accepted": good, "rejected": bad, "codes": codes}
    lines = [f"{good + bad} rows: {good} accepted, {bad} rejected", *checked.rejects["message"].head(10)]
    if bad > 10:
        lines.append(f"and {bad - 10} more")
    summary["simulated_rows"] = simulated_rows(checked.table)
    lines += simulated_lines(checked.table)
    if out is not None:
        with replaced_files(out, ("accepted.jsonl", "rejects.csv")) as folder:
            write_table(folder / "accepted.jsonl", checked.table)
            write_rejects(folder / "rejects.csv", checked.rejects)
        summary["out"] = str(out)
    show(summary, lines, as_json=as_json, quiet=quiet)
    if bad:
        raise typer.Exit(2)


app.command()(aggregate)
app.command()(flips)
app.command()(quality)
app.command("import")(import_)
app.command()(export)
