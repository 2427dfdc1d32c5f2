"""`rlhf-fair report` and `rlhf-fair verify`: render a saved audit again, and check what it says it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an audit, with its results.json.")]


def report(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Render index.html and summary.md again from DIR/results.json. Needs no model and no torch.

    Where DIR has a manifest, results.json must match it, and the two rendered files get their new hashes.

    Example: rlhf-fair report reports/demo
    """
    from rlhf_fair.report.folder import render_again

    page = render_again(folder)
    if as_json:
        typer.echo(json.dumps({"report": str(page), "bytes": page.stat().st_size}))
    elif not quiet:
        Console(soft_wrap=True).print(f"Report: {page}", markup=False, highlight=False)


def verify(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Check every file in DIR against manifest.json, and the data inside index.html against results.json.

    Exits with 0 if all agree and with 4 if anything was changed, added or removed.

    Example: rlhf-fair verify reports/demo
    """
    from rlhf_fair.report.folder import verify_folder

    checked = verify_folder(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "files": checked, "matches": True}))
    elif not quiet:
        text = f"{folder}: {checked} files match their manifest, and the page holds the same results."
        Console(soft_wrap=True).print(text, markup=False, highlight=False)
