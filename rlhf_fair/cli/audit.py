"""`rlhf-fair audit`: one audit, as its plan says; the exit code makes it a gate."""

from __future__ import annotations

import csv
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rlhf_fair.cli import audit_options as opt
from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.attestation.log import Event
    from rlhf_fair.records import Results


def audit(
    plan: opt.PlanName,
    model: opt.Model = None,
    endpoint: opt.Endpoint = None,
    endpoint_model: opt.EndpointModel = "",
    reward_model: opt.RewardModel = None,
    predictions: opt.Predictions = None,
    feedback: opt.Feedback = None,
    data_dir: opt.DataDir = "",
    out: opt.Out = None,
    until_decisive: opt.UntilDecisive = False,
    partial: opt.Partial = False,
    minimum_cell: opt.MinimumCell = None,
    as_json: Json = False,
    quiet: Quiet = False,
    device: opt.Device = "auto",
    precision: opt.Precision = "float32",
    device_map: opt.DeviceMap = None,
    chat: opt.Chat = "auto",
    server: opt.Server = None,
    cache: opt.Cache = None,
    no_cache: opt.NoCache = False,
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
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.records import exit_code

    plan_file = find_plan(plan)
    if not quiet:
        _warn_of_expiry(plan_file, date.today())
    folder = out or Path("reports") / report_name(plan_file)
    target = Target(model, reward_model, endpoint, predictions, feedback, endpoint_model)
    kept = None if no_cache else cache or default_cache()
    access = Access(device, precision, device_map, server, kept, partial, chat)
    start = begun(plan=sha256_file(plan_file)) if plan_file.is_file() else begun()
    with sole_writer(folder):
        with progress_bar(hidden=quiet or as_json) as progress:
            asked: Any = {"access": access, "until_decisive": until_decisive, "progress": progress}
            results = run_audit(plan_file, target, data_dir=data_dir, out=folder, **asked)
        results = _as_shown(folder, results, minimum_cell)
        _write_pages(folder, results, start)
    code = exit_code(results.findings)
    rejected, said = _rejected(results, folder)
    told = {"report": str(folder / "index.html"), "exit_code": code, **_tally(results), **_simulated(results)}
    show(told | rejected, [*said, *_lines(results, folder)], as_json=as_json, quiet=quiet)
    raise typer.Exit(code)


def _lines(results: Results, folder: Path) -> list[str]:
    """What is printed: each claim in a line, how the audit came about where that is not as usual, and the report."""
    from rlhf_fair.report.headline import claim_lines

    said, lines = results.audit, claim_lines(results)
    if said.get("simulated"):
        lines = [said["simulated"].capitalize(), *lines]
    lines = [*lines, *_left_out(results), *filter(None, [said.get("scale_note")])]
    if "partial" in said:
        lines.append(f"Partial: {said['partial']}")
    if "sequential" in said:
        lines.append(said["sequential"]["stopped"].capitalize())
    return [*lines, f"Report: {folder / 'index.html'}"]


def _left_out(results: Results) -> list[str]:
    """How many of the answers are in no mean, or not in every one, and why; rows of tables are told as rejects."""
    from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
    from rlhf_fair.audit.selection_rates_plan import SELECTION_RATES

    said = results.audit
    if said.get("plan", {}).get("probe") in (PANEL_FEEDBACK, SELECTION_RATES) or not said.get("exclusions"):
        return []
    reasons = [f"{one['n']:,} ({one['reason']})" for one in said["exclusions"]]
    return [f"Left out, of {said['counts']['input']:,}: {', '.join(reasons)}"]


def _rejected(results: Results, folder: Path) -> tuple[dict[str, int], list[str]]:
    """How many rows of a table of people or ratings cannot be used, and why the first cannot; nothing where all can."""
    from rlhf_fair.audit.panel_feedback import REJECTS_NAME
    from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
    from rlhf_fair.audit.selection_rates_plan import SELECTION_RATES
    from rlhf_fair.disclosure.identifiers import redacted

    if results.audit.get("plan", {}).get("probe") not in (PANEL_FEEDBACK, SELECTION_RATES):
        return {}, []
    with (folder / REJECTS_NAME).open(encoding="utf-8", newline="") as stream:
        messages = [row["message"] for row in csv.DictReader(stream)]
    if not messages:
        return {}, []
    n = f"{len(messages):,} row{'s' if len(messages) > 1 else ''}"
    first = f"{n} cannot be used, see {folder / REJECTS_NAME}; the first: {redacted(messages[0])}"
    return {"rejected_rows": len(messages)}, [first]


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
    if isinstance(expires, date) and not isinstance(expires, datetime) and expires < today:
        typer.echo(f"warning: the policy of {plan_file} expired on {expires}: look at its thresholds afresh", err=True)


def _simulated(results: Results) -> dict[str, int]:
    """Ratings that no person gave, where there are any."""
    simulated = int(results.audit.get("simulated_rows", 0))
    return {"simulated_rows": simulated} if simulated else {}


def _tally(results: Results) -> dict[str, int]:
    claims = [finding.verdict.value for finding in results.findings if finding.role == "claim"]
    return {verdict: claims.count(verdict) for verdict in sorted(set(claims))}
