"""`rlhf-fair feedback`: check what annotators sent in, and make one judgement of many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.panel import By, Json, Quiet, accepted, read_groups, show

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="feedback", help="Feedback in and out: validate, aggregate.", no_args_is_help=True, rich_markup_mode=None
)

FeedbackFile = Annotated[Path, typer.Argument(metavar="FEEDBACK", help="Feedback table (JSONL, JSON, CSV, Parquet).")]


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
    from rlhf_fair.artifacts import make_folder
    from rlhf_fair.tables import FEEDBACK, read_table, read_validated, require_columns, write_table

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
    summary = {"input": good + bad, "accepted": good, "rejected": bad, "codes": codes}
    lines = [f"{good + bad} rows: {good} accepted, {bad} rejected", *checked.rejects["message"].head(10)]
    if bad > 10:
        lines.append(f"and {bad - 10} more")
    if out is not None:
        make_folder(out)
        write_table(out / "accepted.jsonl", checked.table)
        write_table(out / "rejects.csv", checked.rejects)
        summary["out"] = str(out)
    show(summary, lines, as_json=as_json, quiet=quiet)
    if bad:
        raise typer.Exit(2)


@app.command()
def aggregate(
    feedback: FeedbackFile,
    out: Annotated[Path, typer.Option(help="Table to write, one row for each item (and kind).")],
    rule: Annotated[Literal["mean", "median", "majority"], typer.Option(help="How judgements become one.")] = "mean",
    weights: Annotated[Path | None, typer.Option(help="Weights table: annotator_id, weight.")] = None,
    panel: Annotated[Path | None, typer.Option(help="Panel table, needed with --by.")] = None,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One judgement for each item, by count, by weight, or with every group counting the same (--by).

    Example: rlhf-fair feedback aggregate feedback.jsonl --weights weights.csv --out preferences.csv
    """
    import pandas as pd

    from rlhf_fair.annotators.aggregation import aggregate_pairs, aggregate_ratings, flips
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import FEEDBACK, write_table

    table = accepted(feedback, FEEDBACK)
    by_annotator, groups = _read_weights(weights), read_groups(panel, by or [])
    pairs, ratings = table[table["kind"] == "pair"], table[table["kind"] == "rating"]
    if rule == "median" and len(pairs):
        raise SettingsError("--rule median is for ratings; for pairs allowed: mean, majority")
    parts: list[pd.DataFrame] = []
    summary: dict[str, Any] = {"out": str(out), "judgements": len(table)}
    lines = []
    if len(pairs):
        pair_rule: Literal["mean", "majority"] = "majority" if rule == "majority" else "mean"
        chosen = aggregate_pairs(pairs, by_annotator, groups=groups, rule=pair_rule)
        moved = flips(aggregate_pairs(pairs), chosen)
        parts.append(chosen.assign(kind="pair"))
        summary |= {"pair_items": len(chosen), "flipped": moved.flipped, "tied": moved.tied}
        lines.append(f"{len(chosen)} pairs; against the plain mean {moved.flipped} flip, {moved.tied} are tied")
    if len(ratings):
        rated = aggregate_ratings(ratings, by_annotator, groups=groups, rule=rule)
        parts.append(rated.assign(kind="rating"))
        summary["rating_items"] = len(rated)
        lines.append(f"{len(rated)} rated items")
    write_table(out, pd.concat(parts, ignore_index=True))
    show(summary, [*lines, f"written to {out}"], as_json=as_json, quiet=quiet)


def _read_weights(path: Path | None) -> pd.Series | None:
    """Weights by annotator_id."""
    from rlhf_fair.tables import Column, Contract

    if path is None:
        return None
    contract = Contract("weights", {"annotator_id": Column(), "weight": Column("number", low=0)}, ("annotator_id",))
    return accepted(path, contract).set_index("annotator_id")["weight"]
