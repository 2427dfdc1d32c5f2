"""`rlhf-fair report`: render a saved audit again."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an audit, with its results.json.")]


def report(
    folder: Folder,
    framework: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Laws and standards for the clause matrix, with commas; list frameworks."),
    ] = "",
    context: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file: the system, its purpose, who deploys it, who signs.")
    ] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day on which standings and ages are counted.")
    ] = None,
    plotly_js: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plotly bundle to draw with, such as plotly-basic.min.js: a smaller page."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without the clauses, context and bundle of earlier renderings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Render index.html and summary.md again from DIR/results.json. Needs no model and no torch.

    With --framework the page says which evidence there is for which clause, and clauses.csv has the same table. What a
    page is rendered with is kept in DIR/rendering.json and holds until other options are given. Where DIR has a
    manifest, results.json must match it, and the rendered files get their new hashes. The page holds the installed
    Plotly, or the bundle of --plotly-js, whose SHA-256 is kept beside the results.

    Example: rlhf-fair report reports/demo --framework eu-ai-act,ll144 --context context.toml --as-of 2026-07-05
    """
    from rlhf_fair.artifacts import ENVELOPE_NAME, read_results
    from rlhf_fair.report import HTML_NAME
    from rlhf_fair.report.bundle import bundle_of, read_bundle
    from rlhf_fair.report.clauses import warnings
    from rlhf_fair.report.folder import render_again
    from rlhf_fair.report.rendering import Rendering, read_rendering, with_options

    kept = Rendering() if plain else read_rendering(folder)
    day = as_of.date() if as_of else None
    rendering = with_options(kept, frameworks=framework, context_file=context, as_of=day)
    bundle = read_bundle(plotly_js) if plotly_js else bundle_of(folder / HTML_NAME, rendering.plotly_js)
    if bundle:
        rendering = rendering.model_copy(update={"plotly_js": bundle.sha256})
    signed = (folder / ENVELOPE_NAME).is_file()
    page = render_again(folder, rendering, bundle)
    said = warnings(read_results(folder), rendering)
    if signed and not (folder / ENVELOPE_NAME).is_file():
        said.append("The page is another one now, so its signature was taken away: sign the folder again.")
    if as_json:
        about = {"frameworks": list(rendering.frameworks), "warnings": said}
        typer.echo(json.dumps({"report": str(page), "bytes": page.stat().st_size, **about}))
    elif not quiet:
        console = Console(soft_wrap=True)
        for line in said:
            console.print(f"Warning: {line}", markup=False, highlight=False)
        console.print(f"Report: {page}", markup=False, highlight=False)
