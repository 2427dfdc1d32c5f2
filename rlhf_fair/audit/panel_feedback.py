"""The audit ``panel-feedback``: do rater groups judge the same things differently, and where do they disagree?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import sha256_file, write_results
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.panel_feedback_attributes import CONFLICTING, NO_GROUPS, declared_attributes, label_ratings
from rlhf_fair.audit.panel_feedback_estimates import measure
from rlhf_fair.audit.panel_feedback_plan import AttributePlan, FeedbackPlan, load_feedback_plan
from rlhf_fair.audit.panel_feedback_records import shareable_records, withheld_raters
from rlhf_fair.audit.panel_feedback_table import REASONS, Ratings, read_ratings
from rlhf_fair.audit.panel_feedback_tables import (
    account_table,
    agreement_table,
    clustering_table,
    item_type_table,
    mean_table,
    overall_agreement,
    same_items_table,
)
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.records import Results
from rlhf_fair.tables import simulated_note, simulated_rows, write_rejects, write_table

RECORDS_NAME, REJECTS_NAME = "records.parquet", "rejects.csv"

Progress = Callable[[str, int, int], None]
"""Hears (what, done, total)."""


def run(
    plan_file: str | Path,
    feedback: Path | None,
    data_dir: Path,
    out_dir: Path,
    *,
    progress: Progress | None = None,
) -> Results:
    """Read the ratings, judge every gap, write ``results.json``, ``records.parquet`` and ``rejects.csv``."""
    plan = load_feedback_plan(plan_file)
    files, raters_file = input_files(plan, feedback, data_dir)
    ratings = read_ratings(plan, files, raters_file)
    begin(Path(plan_file), out_dir)
    results, records = build_results(plan, ratings, progress=progress)
    sources = {"ratings": ", ".join(path.name for path in files), "scale": f"{ratings.low:g} to {ratings.high:g}"}
    sources |= {"ratings used": f"{len(records):,}", "items": f"{records['item'].nunique():,}"}
    if made := simulated_note(ratings.table):
        sources["not people's"] = made
    if ratings.has_raters:
        sources["raters"] = f"{records['rater'].nunique():,}"
    names = [attribute.name for attribute in declared_attributes(plan, ratings)]
    shared = shareable_records(records, names, plan.records_k)
    if withheld := withheld_raters(shared, names):
        who = "raters" if ratings.has_raters else "ratings"
        sources["attributes withheld in records.parquet"] = (
            f"those of {withheld:,} {who}, whose attributes fewer than {plan.records_k} people share in full"
        )
    inputs = {"plan": sha256_file(Path(plan_file))} | {
        f"ratings/{path.name}": sha256_file(path) for path in [*files, *filter(None, [raters_file])]
    }
    results = results.model_copy(update={"audit": results.audit | {"data": sources}, "manifest": {"inputs": inputs}})
    write_table(out_dir / RECORDS_NAME, shared)
    write_rejects(out_dir / REJECTS_NAME, ratings.rejects)
    write_results(out_dir, results)
    return results


def input_files(plan: FeedbackPlan, feedback: Path | None, data_dir: Path) -> tuple[list[Path], Path | None]:
    """The ratings files and the rater table, which must exist."""
    if feedback is None and not plan.ratings.files:
        raise SettingsError("the plan names no ratings file: give --feedback")
    files = [feedback] if feedback is not None else [data_dir / name for name in plan.ratings.files]
    raters = data_dir / plan.raters.file if plan.raters is not None else None
    for path in [*files, *filter(None, [raters])]:
        if not path.is_file():
            raise MissingFileError(path, "feedback file", "" if feedback else "give --data-dir or --feedback")
    return files, raters


def build_results(
    plan: FeedbackPlan, ratings: Ratings, *, progress: Progress | None = None
) -> tuple[Results, pd.DataFrame]:
    """Findings, tables, limits and counts, and the labelled ratings that they rest on."""
    hear = progress or (lambda what, done, total: None)
    attributes = declared_attributes(plan, ratings)
    records = label_ratings(ratings, attributes)
    hear("gaps between groups", 0, 1)
    measurements = measure(records, attributes, plan)
    agreement, notes = agreement_table(records, attributes, plan, hear)
    tables = {
        "mean rating of every group": mean_table(records, attributes, plan, ratings.low, ratings.high),
        "gaps as rated and on the same items": same_items_table(measurements),
        "what clustering by rater and item does to each gap": clustering_table(measurements, records, plan),
        "gaps on each type of item": item_type_table(records, attributes, plan) if plan.item_type else {},
        "agreement inside groups, and across to all other raters (XRR)": agreement,
        "agreement of all raters (Krippendorff's alpha)": overall_agreement(records, plan),
        "where every rating went, attribute by attribute": account_table(records, attributes, ratings),
    }
    audit: dict[str, Any] = {
        "title": plan.title,
        "question": plan.question,
        "plan": plan.model_dump(mode="json"),
        "seed": plan.agreement.seed,
        "alpha": plan.policy.alpha,
        "simulated_rows": simulated_rows(ratings.table),
        "simulated": simulated_note(ratings.table),
        **({"scale_note": ratings.scale_note} if ratings.scale_note else {}),
        "limits": [*simulated_limit(ratings), *plan.limits, *limits(records, attributes, ratings), *notes],
        "tables": {name: table for name, table in tables.items() if table and table["rows"]},
        **counts(records, attributes, ratings),
    }
    return Results(audit=audit, findings=build_findings(measurements, plan.policy)), records


def simulated_limit(ratings: Ratings) -> tuple[str, ...]:
    """The sentence that comes before every other where ratings were drawn from a model."""
    note = simulated_note(ratings.table)
    return (note[0].upper() + note[1:] + ".",) if note else ()


def limits(records: pd.DataFrame, attributes: Sequence[AttributePlan], ratings: Ratings) -> tuple[str, ...]:
    """What holds of any ratings file, and what this one lacks."""
    step = 5 * (ratings.high - ratings.low) / 100
    found = [
        f"Scores run from 0 to 100, the ends of the scale ({ratings.low:g} and {ratings.high:g}): "
        f"5 points are {step:g} on that scale.",
        "A gap says that groups rate differently, not why, and not which group is right.",
        "Raters of a group are those who took part; they need not stand for everybody who belongs to it.",
        *ratings.notes,
        *filter(None, [ratings.scale_note]),
    ]
    if not ratings.has_raters:
        found.insert(
            0,
            "The file does not say who gave which rating: ratings by one person count as independent, so every "
            "interval is too narrow by an unknown amount, repeated ratings cannot be found, and group sizes are "
            "counted in items.",
        )
    for attribute in attributes:
        rows = records[attribute.name] == CONFLICTING
        if rows.any():
            found.append(
                f"{records.loc[rows, 'rater'].nunique()} raters gave several answers about {attribute.name}; "
                f"their {int(rows.sum()):,} ratings count as unknown there."
            )
    return tuple(found)


def counts(records: pd.DataFrame, attributes: Sequence[AttributePlan], ratings: Ratings) -> dict[str, Any]:
    """input = reported + excluded + unknown; unknown here: of no group in any attribute."""
    groups = records[[attribute.name for attribute in attributes]]
    unknown = int(groups.isin(NO_GROUPS).all(axis=1).sum())
    reasons = ratings.rejects["code"].map(REASONS).fillna(ratings.rejects["message"]).value_counts()
    return {
        "counts": {
            "input": ratings.n_input,
            "reported": len(records) - unknown,
            "excluded": len(ratings.rejects),
            "unknown": unknown,
        },
        "exclusions": [{"reason": str(reason), "n": int(n)} for reason, n in reasons.items()],
    }
