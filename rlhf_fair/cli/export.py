"""`rlhf-fair export`: a saved audit in the formats of CI systems, code scanning, inventories and model hubs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlhf_fair.cli.options import Json, Quiet, show


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an audit, with its results.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the files, outside DIR: its manifest knows every file in it.")],
    formats: Annotated[
        str, typer.Option("--format", help="Of csv, junit, sarif, cyclonedx, model-card, with commas; default: all.")
    ] = "",
    model_id: Annotated[str, typer.Option(help="The model's name on a hub, owner/name; for the card and BOM.")] = "",
    dataset_id: Annotated[str, typer.Option(help="Data set on a hub that the audit measured on; for the card.")] = "",
    task: Annotated[str, typer.Option(help="Task of the card's metadata.")] = "text-generation",
    plan_file: Annotated[
        Path | None, typer.Option(help="The plan, relative to the repository's root: where SARIF results are shown.")
    ] = None,
    problems_only: Annotated[
        bool, typer.Option(help="SARIF without what passed: GitHub shows an alert for every result in it.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write findings.csv, ledger.csv, junit.xml, results.sarif, bom.cdx.json and MODEL_CARD.md. Needs no model.

    Exits with 0 once they are written, whatever the verdicts; 2 on bad input, 4 if results.json does not match its
    manifest. Equal results give equal bytes.

    Example: rlhf-fair export reports/hiring --format junit,sarif --out exports/hiring
    """
    from rlhf_fair.exchange.folder import ExportNames, export_folder, formats_of, read_plan

    names = ExportNames(model_id, dataset_id, task, read_plan(plan_file), problems_only)
    written = export_folder(folder, out, formats_of(formats), names)
    summary = {"out": str(out), "files": {path.name: path.stat().st_size for path in written}}
    show(
        summary, [f"Written: {path} ({path.stat().st_size:,} bytes)" for path in written], as_json=as_json, quiet=quiet
    )
