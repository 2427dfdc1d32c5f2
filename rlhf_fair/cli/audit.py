"""`rlhf-fair audit`: one audit, as its plan says; the exit code makes it a gate."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.attestation.log import Event
    from rlhf_fair.records import Results

Precision = Literal["float32", "bfloat16", "float16"]
Chat = Literal["auto", "yes", "no"]

ONE: Any = {"rich_help_panel": "What is audited (one of these)"}
HOW: Any = {"rich_help_panel": "How a model or server is asked"}


def audit(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Folder with a plan.toml, the file, or a shipped audit.")],
    model: Annotated[str | None, typer.Option(help="Language model or encoder: directory or hub id.", **ONE)] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Server, OpenAI protocol, up to /v1.", **ONE)
    ] = None,
    endpoint_model: Annotated[str, typer.Option(metavar="NAME", help="The model's name at the endpoint.", **ONE)] = "",
    reward_model: Annotated[str | None, typer.Option(help="Reward model: directory or hub id.", **ONE)] = None,
    predictions: Annotated[Path | None, typer.Option(help="File of answers, instead of a model.", **ONE)] = None,
    feedback: Annotated[Path | None, typer.Option(help="Table of ratings by people with known groups.", **ONE)] = None,
    data_dir: Annotated[str, typer.Option(help="Folder with the public data the plan names, or hub:OWNER/NAME.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default reports/PLAN.")] = None,
    until_decisive: Annotated[
        bool, typer.Option("--until-decisive", help="Ask in random order and stop once every claim is decided.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Ask nothing more: report from the answers that are kept so far.")
    ] = False,
    minimum_cell: Annotated[
        int | None,
        typer.Option("--minimum-cell", min=1, help="Fewest raters or applicants of a group whose numbers are shown."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.", **HOW)] = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the model's weights.", **HOW)] = "float32",
    device_map: Annotated[str | None, typer.Option(help="Spread over devices: auto, balanced, …", **HOW)] = None,
    chat: Annotated[
        Chat, typer.Option(help="Send prompts as chat messages; auto: if the model has a template.", **HOW)
    ] = "auto",
    server: Annotated[Path | None, typer.Option(help="TOML file: the endpoint's api, concurrency, …", **HOW)] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for kept answers; default: the user's cache.", **HOW)
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep no answers outside the report.", **HOW)] = False,
) -> None:
    """Audit a model, a served model, a reward model, a file of predictions or a table of human feedback.

    Results hold no e-mail addresses, phone numbers, keys and the like, and no numbers of groups of few people: fewer
    than --minimum-cell, by default the plan's min_raters or 10. What New York City wants published is not cut.

    Exits with 0 if every claim lies within its threshold, 1 if one exceeds it, 3 if one is inconclusive or was not
    measured, 2 on bad input.

    Example: rlhf-fair audit hiring --model reports/demo/stages/sft --out reports/hiring
    """
    from rlhf_fair.artifacts import sha256_file
    from rlhf_fair.attestation.sealing import begun
    from rlhf_fair.audit.plan import find_plan, report_name
    from rlhf_fair.audit.run import run_audit
    from rlhf_fair.audit.target import Access, Target, default_cache
    from rlhf_fair.records import exit_code
    from rlhf_fair.report.headline import claim_lines

    plan_file = find_plan(plan)
    if not quiet:
        _warn_of_expiry(plan_file, date.today())
    folder = out or Path("reports") / report_name(plan_file)
    target = Target(model, reward_model, endpoint, predictions, feedback, endpoint_model)
    kept = None if no_cache else cache or default_cache()
    start = begun(plan=sha256_file(plan_file)) if plan_file.is_file() else begun()
    with progress_bar(hidden=quiet or as_json) as progress:
        results = run_audit(
            plan_file,
            target,
            data_dir=data_dir,
            out=folder,
            access=Access(device, precision, device_map, server, kept, partial, chat),
            until_decisive=until_decisive,
            progress=progress,
        )
    results = _as_shown(folder, results, minimum_cell)
    _write_pages(folder, results, start)
    code = exit_code(results.findings)
    if as_json:
        told = {"report": str(folder / "index.html"), "exit_code": code, **_tally(results), **_simulated(results)}
        typer.echo(json.dumps(told))
    elif not quiet:
        console = Console(soft_wrap=True)
        if results.audit.get("simulated"):
            console.print(results.audit["simulated"].capitalize(), markup=False, highlight=False)
        for line in claim_lines(results):
            console.print(line, markup=False, highlight=False)
        if "partial" in results.audit:
            console.print(f"Partial: {results.audit['partial']}", markup=False, highlight=False)
        if "sequential" in results.audit:
            console.print(results.audit["sequential"]["stopped"].capitalize(), markup=False, highlight=False)
        console.print(f"Report: {folder / 'index.html'}", markup=False, highlight=False)
    raise typer.Exit(code)


def _as_shown(folder: Path, results: Results, minimum_cell: int | None) -> Results:
    """What may leave the machine; written again where the option asks for another minimum than the audit's own."""
    from rlhf_fair.artifacts import write_results
    from rlhf_fair.disclosure.results import KEY, protected

    if minimum_cell is None:
        return protected(results)
    said = {"minimum_cell": minimum_cell}
    shown = protected(results.model_copy(update={"audit": results.audit | {KEY: said}}), minimum_cell)
    write_results(folder, shown)
    return shown


def _write_pages(folder: Path, results: Results, start: Event) -> None:
    from rlhf_fair.attestation.sealing import seal
    from rlhf_fair.report import write_report

    write_report(folder, results)
    seed = results.audit.get("seed", 0)
    seal(folder, inputs=results.manifest.get("inputs", {}), seeds={"seed": int(seed)}, start=start)


def _warn_of_expiry(plan_file: Path, today: date) -> None:
    """Say so where the plan's policy wants a fresh look; what is wrong with a plan is told by the audit itself."""
    from rlhf_fair.settings import read_toml_table

    policy = read_toml_table(plan_file, "plan").get("policy")
    expires = policy.get("expires") if isinstance(policy, dict) else None
    if isinstance(expires, date) and expires < today:
        typer.echo(f"warning: the policy of {plan_file} expired on {expires}: look at its thresholds afresh", err=True)


def _simulated(results: Results) -> dict[str, int]:
    """Ratings that no person gave, where there are any."""
    simulated = int(results.audit.get("simulated_rows", 0))
    return {"simulated_rows": simulated} if simulated else {}


def _tally(results: Results) -> dict[str, int]:
    claims = [finding.verdict.value for finding in results.findings if finding.role == "claim"]
    return {verdict: claims.count(verdict) for verdict in sorted(set(claims))}
