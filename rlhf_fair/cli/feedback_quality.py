"""`rlhf-fair feedback quality`: whose answers cannot be used, and what that control does to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.feedback_aggregate import FeedbackFile, PanelOption
from rlhf_fair.cli.panel import By, Json, Quiet, Seed, accepted, read_groups, show

if TYPE_CHECKING:
    import pandas as pd


def quality(
    feedback: FeedbackFile,
    out: Annotated[Path, typer.Option(help="Folder for kept.jsonl, excluded.jsonl and tables of what was checked.")],
    settings: Annotated[
        Path | None, typer.Option(help="Thresholds (TOML): sections gold, timing, duplicates, straight_lining, audit.")
    ] = None,
    gold: Annotated[Path | None, typer.Option(help="Items with known answers: item_id, choice and/or value.")] = None,
    panel: PanelOption = None,
    by: By = None,
    audit: Annotated[bool, typer.Option(help="Try the control on simulated honest minorities.")] = True,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Exclude by gold items, timing, copied records and straight-lining; then audit the exclusions by group.

    Disagreement excludes nobody. Excluded rows are kept apart with reasons. Ends with exit code 1 if a group's honest
    raters are excluded more often than others by more than the settings allow, in simulation (same gold, same pace) or
    among the raters at hand.

    Example: rlhf-fair feedback quality feedback.jsonl --gold gold.csv --panel panel.csv --by gender --out checked/
    """
    import numpy as np

    from rlhf_fair.annotators.flips import json_rows
    from rlhf_fair.annotators.quality import check_quality
    from rlhf_fair.annotators.quality_audit import audit_quality, contested_gold, observed_rates
    from rlhf_fair.annotators.quality_settings import QualitySettings
    from rlhf_fair.artifacts import make_folder, write_json
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.settings import read_toml
    from rlhf_fair.tables import FEEDBACK, write_table

    s = read_toml(settings, QualitySettings, "quality settings") if settings else QualitySettings()
    table, groups, known = accepted(feedback, FEEDBACK), read_groups(panel, by or []), _read_gold(gold)
    _require_covered(table, groups)
    found = check_quality(table, s, gold=known)
    kept, excluded = found.split(table)
    make_folder(out)
    write_table(out / "kept.jsonl", kept)
    write_table(out / "excluded.jsonl", excluded)
    parts: dict[str, pd.DataFrame] = {"raters": found.raters, "checks": found.checks}
    if groups is not None:
        parts["observed"] = observed_rates(found, groups, s.audit.largest_gap)
        if known is not None:
            parts["gold_by_group"] = contested_gold(table, known, groups)
    if audit:
        with progress_bar(hidden=quiet or as_json) as progress:
            own = None if groups is None else groups[groups.index.isin(table["annotator_id"])]
            parts["audit"] = audit_quality(s, np.random.default_rng(seed), groups=own, progress=progress)
    for name, part in parts.items():
        write_table(out / f"{name}.csv", part)
    summary: dict[str, Any] = {
        "raters": len(found.raters),
        "excluded_raters": int(found.excluded.sum()),
        "rows": len(table),
        "excluded_rows": len(excluded),
        "checks_not_made": found.not_made,
        "settings": s.model_dump(),
        "seed": seed,
        **{name: json_rows(part) for name, part in parts.items() if name not in ("raters", "checks")},
    }
    write_json(out / "quality.json", summary)
    show(
        {"out": str(out), **summary},
        [*_lines(summary, found.checks, parts), f"written to {out}"],
        as_json=as_json,
        quiet=quiet,
    )
    if _exceeded(parts):
        raise typer.Exit(1)


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


def _exceeded(parts: dict[str, pd.DataFrame]) -> bool:
    """Some group of honest raters loses more people than allowed; contested gold and pace are what-ifs."""
    tables = [parts[name] for name in ("observed",) if name in parts]
    if "audit" in parts:
        tables.append(parts["audit"][parts["audit"]["scenario"] == "neutral"])
    return any((table["verdict"] == "exceeds_threshold").any() for table in tables)


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
        lines += ["excluded here, by group:", *(_rate(row) for row in parts["observed"].to_dict("records"))]
    if "gold_by_group" in parts:
        contested = parts["gold_by_group"][parts["gold_by_group"]["contested"]]
        lines.append(f"{contested['item_id'].nunique()} gold items that most of some group answers otherwise")
    if "audit" in parts:
        for (scenario, differs), rows in parts["audit"].groupby(["scenario", "differs"], sort=False):
            lines.append(f"simulated, {str(scenario).replace('_', ' ')}, {differs} differs:")
            lines += [_rate(row) for row in rows.to_dict("records")]
    return lines


def _rate(row: dict[Any, Any]) -> str:
    text = f"  {row['group']}: {row['rate']:.3f} of {row['raters']} raters"
    if row["rate_ci_low"] == row["rate_ci_low"]:
        text += f" [{row['rate_ci_low']:.3f}, {row['rate_ci_high']:.3f}]"
    if row["gap"] == row["gap"]:
        text += f"; gap to others {row['gap']:+.3f}: {row['verdict'].replace('_', ' ')}"
    return text
