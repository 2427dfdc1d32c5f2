"""`rlhf-fair feedback quality`: whose answers cannot be used, and what that control does to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.feedback_aggregate import FeedbackFile, PanelOption
from rlhf_fair.cli.panel import By, Json, Quiet, Seed, accepted, read_groups, show
from rlhf_fair.cli.panel_tables import simulated_lines

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.quality import Quality

EXIT_CODES = {"within_threshold": 0, "exceeds_threshold": 1, "inconclusive": 3, "not_measured": 3}
SCENARIO_WORDS = {
    "neutral": "gold is a matter of fact, all read at one pace (decides)",
    "contested_gold": "gold items are contested too (what if)",
    "fast_readers": "they read faster too (what if)",
}
VERDICT_WORDS = {
    "within_threshold": "within its limit: no group loses honest raters more than {limit:g} more often than the others",
    "exceeds_threshold": "beyond its limit: some group loses honest raters more than {limit:g} more often",
    "inconclusive": "inconclusive: whether a group loses honest raters more than {limit:g} more often cannot be told",
    "not_measured": "not measured: whether a group loses honest raters more than {limit:g} more often",
}

SettingsFile = Annotated[
    Path | None, typer.Option(help="Thresholds (TOML): sections gold, timing, duplicates, straight_lining, audit.")
]


def quality(
    feedback: FeedbackFile,
    out: Annotated[Path, typer.Option(help="Folder for kept.jsonl, excluded.jsonl and tables of what was checked.")],
    settings: SettingsFile = None,
    gold: Annotated[Path | None, typer.Option(help="Items with known answers: item_id, choice and/or value.")] = None,
    panel: PanelOption = None,
    by: By = None,
    audit: Annotated[bool, typer.Option(help="Try the control on simulated honest minorities.")] = True,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Exclude by gold items, timing, copied records and straight-lining; then audit the exclusions by group.

    Disagreement excludes nobody. Excluded rows are kept apart with reasons. The control is held to a limit of its own
    (audit.largest_gap, 0.05 unless the settings say otherwise): by how much one group's false-exclusion rate may be
    above the others'. It is tried on simulated honest minorities, and with --by on the raters at hand.

    Exit code 0: every such gap lies within the limit. 1: a group's honest raters are excluded more often than that, in
    simulation (same gold, same pace) or here. 3: for some group it cannot be told (too few raters, say), or nothing
    was measured (--no-audit without --by).

    Example: rlhf-fair feedback quality feedback.jsonl --gold gold.csv --panel panel.csv --by gender --out checked/
    """
    import numpy as np

    from rlhf_fair.annotators.flips import json_rows
    from rlhf_fair.annotators.quality import check_quality
    from rlhf_fair.annotators.quality_audit import audit_quality, contested_gold, control_verdict, observed_rates
    from rlhf_fair.annotators.quality_settings import QualitySettings
    from rlhf_fair.artifacts import make_folder, write_json
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.settings import read_toml
    from rlhf_fair.tables import FEEDBACK, simulated_rows

    s = read_toml(settings, QualitySettings, "quality settings") if settings else QualitySettings()
    table, groups, known = accepted(feedback, FEEDBACK), read_groups(panel, by or []), _read_gold(gold)
    _require_covered(table, groups)
    make_folder(out)  # a folder that cannot be written to is told before the long work
    found = check_quality(table, s, gold=known)
    parts: dict[str, pd.DataFrame] = {"raters": found.raters, "checks": found.checks}
    if groups is not None:
        parts["observed"] = observed_rates(found, groups, s.audit.largest_gap)
        if known is not None:
            parts["gold_by_group"] = contested_gold(table, known, groups, tolerance=s.gold.tolerance)
    if audit:
        with progress_bar(hidden=quiet or as_json) as progress:
            own = None if groups is None else groups[groups.index.isin(table["annotator_id"])]
            parts["audit"] = audit_quality(s, np.random.default_rng(seed), groups=own, progress=progress)
    excluded = _write(out, table, found, parts)
    said = control_verdict(parts.get("audit"), parts.get("observed"))
    summary: dict[str, Any] = {"verdict": said.verdict.value, "verdict_reason": said.reason}
    summary |= {"raters": len(found.raters), "excluded_raters": int(found.excluded.sum())}
    summary |= {"rows": len(table), "simulated_rows": simulated_rows(table), "excluded_rows": excluded}
    summary |= {"checks_not_made": found.not_made, "settings": s.model_dump(), "seed": seed}
    summary |= {name: json_rows(part) for name, part in parts.items() if name not in ("raters", "checks")}
    write_json(out / "quality.json", summary)
    lines = [*simulated_lines(table), *_lines(summary, found.checks, parts), f"written to {out}"]
    show({"out": str(out), **summary}, lines, as_json=as_json, quiet=quiet)
    raise typer.Exit(EXIT_CODES[said.verdict.value])


def _write(out: Path, table: pd.DataFrame, found: Quality, parts: dict[str, pd.DataFrame]) -> int:
    """The rows that are kept and those that are not, and what was checked; returns how many are not kept."""
    from rlhf_fair.tables import write_table

    kept, excluded = found.split(table)
    write_table(out / "kept.jsonl", kept)
    write_table(out / "excluded.jsonl", excluded)
    for name, part in parts.items():
        write_table(out / f"{name}.csv", part)
    return len(excluded)


def _read_gold(path: Path | None) -> pd.DataFrame | None:
    from rlhf_fair.errors import ColumnError
    from rlhf_fair.tables import Column, Contract

    if path is None:
        return None
    choice = Column(required=False, nullable=True, allowed=("a", "b", "tie"))
    value = Column("number", required=False, nullable=True)
    table = accepted(path, Contract("gold", {"item_id": Column(), "choice": choice, "value": value}, ("item_id",)))
    if "choice" not in table and "value" not in table:
        raise ColumnError("gold", "choice", table.columns)
    return table


def _require_covered(table: pd.DataFrame, groups: pd.Series | None) -> None:
    if groups is not None:
        from rlhf_fair.annotators.aggregation import judgement_weights

        judgement_weights(table, groups=groups)  # raises where the panel lacks an annotator


def _lines(summary: dict[str, Any], checks: pd.DataFrame, parts: dict[str, pd.DataFrame]) -> list[str]:
    lines = [
        f"{summary['excluded_raters']} of {summary['raters']} raters excluded, with {summary['excluded_rows']} of "
        f"{summary['rows']} rows"
    ]
    for check, rows in checks.groupby("check", sort=False):
        effect = "excluded" if rows["excludes"].any() else "marked for a look, not excluded"
        lines.append(f"  {check}: {int(rows['flagged'].sum())} of {len(rows)} raters {effect}")
    lines += [f"  {name}: not checked, {reason}" for name, reason in summary["checks_not_made"].items()]
    if "observed" in parts:
        lines += ["excluded here, by group (all raters, honest or not):"]
        lines += [_rate(row) for row in parts["observed"].to_dict("records")]
    if "gold_by_group" in parts:
        contested = parts["gold_by_group"][parts["gold_by_group"]["contested"]]
        lines.append(f"{contested['item_id'].nunique()} gold items that most of some group answers otherwise")
    if "audit" in parts:
        lines.append("the control tried on simulated honest raters, a group of whom sees contested items differently:")
        for (scenario, differs), rows in parts["audit"].groupby(["scenario", "differs"], sort=False):
            lines.append(f" {differs} differs; {SCENARIO_WORDS[str(scenario)]}:")
            lines += [_rate(row) for row in rows.to_dict("records")]
    limit = summary["settings"]["audit"]["largest_gap"]
    reason = f" ({summary['verdict_reason']})" if summary["verdict_reason"] else ""
    return [*lines, f"{VERDICT_WORDS[summary['verdict']].format(limit=limit)}{reason}"]


def _rate(row: dict[Any, Any]) -> str:
    """A group's line: share excluded, and its gap to the others, which simulated careless raters do not have."""
    wanted = ", as they should be" if row["group"] == "(careless)" else ""
    text = (
        f"  {row['group']}: {row['rate']:.3f} of {row['raters']} raters excluded{wanted}{_limits(row, 'rate', '.3f')}"
    )
    if row["gap"] == row["gap"]:
        text += f"; gap to others {row['gap']:+.3f}{_limits(row, 'gap', '+.3f')}: {row['verdict'].replace('_', ' ')}"
    return text


def _limits(row: dict[Any, Any], name: str, digits: str) -> str:
    low, high = row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    return f" [{low:{digits}}, {high:{digits}}]" if low == low else ""
