"""`rlhf-fair audit`: one audit, as its plan says; the exit code makes it a gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.records import Results


def audit(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Folder with a plan.toml, the file, or a shipped audit.")],
    model: Annotated[str | None, typer.Option(help="Causal language model: directory or hub id.")] = None,
    reward_model: Annotated[str | None, typer.Option(help="Reward model: directory or hub id.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Table of prompt_id and text, instead of a model.")] = None,
    feedback: Annotated[Path | None, typer.Option(help="Table of ratings by people with recorded groups.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Folder with the public data sets the plan names.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default reports/PLAN.")] = None,
    until_decisive: Annotated[
        bool, typer.Option("--until-decisive", help="Ask in random order and stop once every claim is decided.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")] = False,
) -> None:
    """Audit a model, a reward model, a file of predictions or a table of human feedback.

    Exits with 0 if every claim lies within its threshold, 1 if one exceeds it, 3 if one is inconclusive or was not
    measured, 2 on bad input.

    Example: rlhf-fair audit hiring --model reports/demo/stages/sft --out reports/hiring
    """
    from rlhf_fair.audit.plan import find_plan, report_name
    from rlhf_fair.audit.run import run_audit
    from rlhf_fair.records import exit_code
    from rlhf_fair.report.headline import claim_lines

    plan_file = find_plan(plan)
    folder = out or Path("reports") / report_name(plan_file)
    with progress_bar(hidden=quiet or as_json) as progress:
        results = run_audit(
            plan_file,
            model=model,
            reward_model=reward_model,
            predictions=predictions,
            feedback=feedback,
            data_dir=data_dir,
            out=folder,
            until_decisive=until_decisive,
            progress=progress,
        )
    _write_pages(folder, results)
    code = exit_code(results.findings)
    if as_json:
        typer.echo(json.dumps({"report": str(folder / "index.html"), "exit_code": code, **_tally(results)}))
    elif not quiet:
        console = Console(soft_wrap=True)
        for line in claim_lines(results):
            console.print(line, markup=False, highlight=False)
        if "sequential" in results.audit:
            console.print(results.audit["sequential"]["stopped"].capitalize(), markup=False, highlight=False)
        console.print(f"Report: {folder / 'index.html'}", markup=False, highlight=False)
    raise typer.Exit(code)


def _write_pages(folder: Path, results: Results) -> None:
    from rlhf_fair.artifacts import write_manifest
    from rlhf_fair.report import write_report

    write_report(folder, results)
    seed = results.audit.get("seed", 0)
    write_manifest(folder, inputs=results.manifest.get("inputs", {}), seeds={"seed": int(seed)})


def _tally(results: Results) -> dict[str, int]:
    claims = [finding.verdict.value for finding in results.findings if finding.role == "claim"]
    return {verdict: claims.count(verdict) for verdict in sorted(set(claims))}
