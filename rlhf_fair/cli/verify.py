"""`rlhf-fair verify`: is a finished folder what it says it is?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rlhf_fair.integrity.checks import Verification

OPEN = 3


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an audit, a comparison or a training run.")],
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file: whose signature it has to be.")
    ] = None,
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Disagree unless somebody signed; --public-key implies it.")
    ] = False,
    no_recompute: Annotated[
        bool, typer.Option("--no-recompute", help="Hashes, signature and page only: no finding is measured again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")] = False,
) -> None:
    """Check DIR: every hash, the log, the statement and its signature, the page, and the findings themselves.

    The page is rendered again and the findings are measured again from records.parquet; what cannot be is said. Needs
    no model. Exits with 4 if anything disagrees, 3 if a page of another version comes out in other words and so is not
    proven, 2 if DIR is no finished folder, else 0.

    Example: rlhf-fair verify reports/demo --public-key auditor.pub.pem
    """
    from rlhf_fair.attestation.keys import load_public
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.integrity.verify import examine_folder, raise_on_problems

    key = load_public(public_key) if public_key else None
    with progress_bar(hidden=quiet or as_json) as heard:
        found = examine_folder(
            folder, public_key=key, require_signature=require_signature, recompute=not no_recompute, heard=heard
        )
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
    elif not quiet:
        console = Console(soft_wrap=True)
        for check in found.checks:
            console.print(f"{check.outcome:10} {check.name}: {check.detail}", markup=False, highlight=False)
    raise_on_problems(found, told=not (quiet or as_json))
    if found.unproven:
        raise typer.Exit(OPEN)


def _as_json(found: Verification) -> dict[str, object]:
    checks = [{"check": c.name, "outcome": c.outcome, "detail": c.detail} for c in found.checks]
    return {
        "folder": str(found.folder),
        "files": found.files,
        "matches": not (found.problems or found.unproven),
        "signer": found.signer or None,
        "checks": checks,
    }
