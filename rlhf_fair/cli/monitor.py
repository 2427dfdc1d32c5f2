"""`rlhf-fair monitor`: dated audits of one plan as a history; the exit code is the alarm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from rlhf_fair.cli.progress import progress_bar


def monitor(
    folders: Annotated[list[Path] | None, typer.Argument(metavar="DIR…", help="Folders of audits by one plan.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page, Markdown and JSON; default: none.")] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Table of earlier audits; the folders are added to it.")
    ] = None,
    dates: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table with the columns folder and date, where folders have none."),
    ] = None,
    baseline: Annotated[
        str, typer.Option(metavar="DATE", help="Begin the history at the first audit of this date or later.")
    ] = "",
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Chance of any false alarm, ever.")] = 0.05,
    planned: Annotated[
        int | None, typer.Option(min=1, help="Share alpha evenly among so many looks, and allow no more.")
    ] = None,
    unpaired: Annotated[bool, typer.Option("--unpaired", help="Compare estimates only; no items are matched.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")] = False,
) -> None:
    """Watch the claims of one plan over dated audits: trends, and alarms with one error rate over all looks.

    An audit's date is that of --dates, of the beginning of its folder's name (2026-11-21-weekly), or of its log. Exits
    with 0 if every claim is steady at the last look, 1 if a claim is shown to have got worse, 3 if that is open, 2 on
    audits of different plans or without dates, 4 if a folder does not match its manifest.

    Example: rlhf-fair monitor reports/2026-* --store history.parquet --out reports/history
    """
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.monitoring.dates import moment_of, read_dates
    from rlhf_fair.monitoring.drift import Watch, drift_of
    from rlhf_fair.monitoring.history import in_order, read_dated, read_store, write_store
    from rlhf_fair.monitoring.page import move_sentence, verdict_sentence, write_history

    if not folders and store is None:
        raise SettingsError("no audits: give folders, or --store FILE.parquet")
    given = read_dates(dates) if dates else {}
    audits = in_order([*(read_store(store) if store else []), *(read_dated(f, given) for f in folders or [])])
    if store:
        write_store(store, audits)
    try:
        shown = in_order([a for a in audits if not baseline or a.date >= moment_of(baseline)])
    except ValueError as error:
        raise SettingsError(f"--baseline {baseline!r}; allowed: a date as 2026-11-21") from error
    watch: Literal["open", "even"] = "even" if planned else "open"
    with progress_bar(hidden=quiet or as_json) as heard:
        drift = drift_of(shown, Watch(alpha, watch, planned or 0, not unpaired), heard)
    page = write_history(out, drift) if out else None
    if as_json:
        alarms = sorted({move.claim.id for move in drift.alarms})
        told = {"report": str(page) if page else None, "exit_code": drift.exit_code, "audits": len(drift.audits)}
        typer.echo(json.dumps(told | {"alarms": alarms}))
    elif not quiet:
        console = Console(soft_wrap=True)
        lines = [*(move_sentence(move, drift) for move in drift.alarms), verdict_sentence(drift)]
        for line in [*lines, *([f"Report: {page}"] if page else [])]:
            console.print(line, markup=False, highlight=False)
    raise typer.Exit(drift.exit_code)
