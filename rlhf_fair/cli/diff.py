"""`rlhf-fair diff`: two audits of one plan, item by item; the exit code makes it a gate for a new model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.changes import AuditDiff


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of an audit: before, or the model in use.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of an audit by the same plan: after.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the page, Markdown and JSON; default: none.")] = None,
    groups: Annotated[int, typer.Option(min=10, help="Groups of clusters that are left out for the intervals.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of how clusters are dealt into groups.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")] = False,
) -> None:
    """Compare two audits of the same plan: what changed from A to B, with paired intervals. Needs no model.

    Only items that both audits measured are compared, and every number is measured again from their records. Exits
    with 0 if no claim is worse by more than its margin and none newly exceeds its threshold, 1 if one does, 3 if that
    is open, 2 on audits that do not compare, 4 if a folder does not match its manifest.

    Example: rlhf-fair diff reports/bbq-before reports/bbq-after --out reports/bbq-diff
    """
    from rlhf_fair.audit.compare import compare_audits
    from rlhf_fair.report.diff import claim_lines, tally, verdict_sentence, write_diff

    with progress_bar(hidden=quiet or as_json) as heard:
        found = compare_audits(a, b, n_groups=groups, seed=seed, heard=heard)
    page = write_diff(out, found) if out else None
    if as_json:
        typer.echo(json.dumps(_line(found, page) | {"claims": tally(found)}))
    elif not quiet:
        console = Console(soft_wrap=True)
        lines = [*claim_lines(found), verdict_sentence(found), _items(found)]
        for line in [*lines, *([f"Report: {page}"] if page else [])]:
            console.print(line, markup=False, highlight=False)
    raise typer.Exit(found.exit_code)


def _line(found: AuditDiff, page: Path | None) -> dict[str, object]:
    return {"report": str(page) if page else None, "exit_code": found.exit_code, "items": found.items.model_dump()}


def _items(found: AuditDiff) -> str:
    items = found.items
    return (
        f"{items.compared:,} items compared; {items.only_a:,} only in A, {items.only_b:,} only in B, "
        f"{items.unmeasured:,} not measured in both"
    )
