"""The audit ``selection-rates``: are some categories of people selected, or scored high, less often than others?

Impact ratios as New York City's Local Law 144 defines them (6 RCNY 5-300 ff.), with what that law does not ask for:
intervals, tests, and what people of unknown category could change. Predictions: a table of people, see the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import sha256_file, write_results
from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.selection_rates_plan import IMPACT_RATIO, SELECTION_RATES, SelectionRatesPlan
from rlhf_fair.audit.selection_rates_plan import load_selection_rates_plan as load
from rlhf_fair.audit.selection_rates_publication import publication
from rlhf_fair.audit.selection_rates_table import CLUSTER, OUTCOME, People, read_people
from rlhf_fair.audit.selection_rates_tables import account_table, bounds_table, rates_table
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.metrics.impact_ratio import ImpactRatioOptions, ImpactRatioTable, selection_rates
from rlhf_fair.metrics.ratio_to_best import Comparison, RatioToBest, ratios_to_best
from rlhf_fair.records import NAN, Estimate, Results, Role
from rlhf_fair.stats.sample import encode
from rlhf_fair.tables import write_rejects, write_table

RECORDS_NAME, REJECTS_NAME = "records.parquet", "rejects.csv"
STAGE = "tool"
HIGHEST = "highest rate"
"""What every category is compared with. Not the name of a category: which one it is, the data say, and may differ."""
CROSS = " × "

Progress = Callable[[str, int, int], None]
"""Hears (what, done, total)."""

DEFINITION = (
    "{} of the category over the highest of all categories compared (6 RCNY 5-300). Range 0 to 1; 1 = no category has "
    "a higher rate. The interval allows for the data having picked the highest (multiple comparisons with the best, "
    "Hsu 1984)."
)
RATES = {"selection": "Selection rate", "score": "Scoring rate (share scored strictly above the median of all people)"}


@dataclass(frozen=True)
class View:
    """One of the plan's tables: an attribute, or several crossed."""

    name: str
    attributes: tuple[str, ...]
    role: Role


def run(plan_file: str | Path, predictions: Path | None, out_dir: Path, *, progress: Progress | None = None) -> Results:
    """Read the people, judge every impact ratio, write ``results.json``, ``records.parquet`` and ``rejects.csv``."""
    hear = progress or (lambda what, done, total: None)
    file = find_plan(plan_file)
    plan = load(file)
    path = people_file(plan, file, predictions)
    people = read_people(plan, path)
    begin(file, out_dir)
    results = build_results(plan, people, synthetic=predictions is None and plan.applicants.synthetic, hear=hear)
    data = {"people": path.name, "rows": f"{people.n_input:,}", "outcome": f"{plan.applicants.kind} rates"}
    inputs = {"plan": sha256_file(file), f"people/{path.name}": sha256_file(path)}
    results = results.model_copy(update={"audit": results.audit | {"data": data}, "manifest": {"inputs": inputs}})
    write_table(out_dir / RECORDS_NAME, people.table)
    write_rejects(out_dir / REJECTS_NAME, people.rejects)
    write_results(out_dir, results)
    return results


def people_file(plan: SelectionRatesPlan, plan_file: Path, predictions: Path | None) -> Path:
    """The table of people, which must exist."""
    if predictions is None and not plan.applicants.file:
        raise SettingsError(f"plan {plan_file} names no applicants.file: give --predictions")
    path = predictions if predictions is not None else plan_file.parent / plan.applicants.file
    if not path.is_file():
        raise MissingFileError(path, "table of people", "" if predictions else "give --predictions")
    return path


def views(plan: SelectionRatesPlan) -> tuple[View, ...]:
    """The plan's tables in order: single attributes, then intersections."""
    single = [View(attribute.name, (attribute.name,), attribute.role) for attribute in plan.attributes]
    return (*single, *(View(CROSS.join(crossed.of), crossed.of, crossed.role) for crossed in plan.intersections))


def table_of(plan: SelectionRatesPlan, records: pd.DataFrame, view: View) -> ImpactRatioTable:
    """The law's table of one view."""
    options = ImpactRatioOptions(
        leave_out_below=plan.small_categories.leave_out_below,
        justification=plan.small_categories.justification,
        clusters=_clusters(records),
        alpha=plan.policy.alpha,
    )
    return selection_rates(records[OUTCOME], _features(records, view), attribute=view.name, options=options)


def measure(plan: SelectionRatesPlan, records: pd.DataFrame) -> list[Measurement]:
    """The impact ratio of every category of every view, from records as `run` writes them."""
    return [m for view in views(plan) for m in _measured(plan, records, view, table_of(plan, records, view))]


def build_results(
    plan: SelectionRatesPlan, people: People, *, synthetic: bool = False, hear: Progress | None = None
) -> Results:
    """Findings, tables, the publication and counts."""
    records, measurements = people.table, list[Measurement]()
    tables: dict[View, ImpactRatioTable] = {}
    for done, view in enumerate(views(plan)):
        if hear is not None:
            hear("impact ratios", done, len(views(plan)))
        tables[view] = table_of(plan, records, view)
        measurements += _measured(plan, records, view, tables[view])
    if hear is not None:
        hear("impact ratios", len(tables), len(tables))
    listed = {view.name: table for view, table in tables.items()}
    shown = {f"rates and impact ratios: {name}": rates_table(table, plan) for name, table in listed.items()}
    shown["What if the people of unknown category were known?"] = bounds_table(records, listed, _parts(tables))
    shown["where every row went, table by table"] = account_table(listed, len(people.rejects))
    audit: dict[str, Any] = {
        "title": plan.title,
        "question": plan.question,
        "plan": plan.model_dump(mode="json"),
        "alpha": plan.policy.alpha,
        "definitions": {IMPACT_RATIO: DEFINITION.format(RATES[plan.applicants.kind])},
        "limits": limits(plan, people, synthetic=synthetic),
        "tables": {name: table for name, table in shown.items() if table["rows"]},
        "publication": publication(plan, listed, _parts(tables), people, synthetic=synthetic),
        **_synthetic(people, synthetic),
        "unknown_by_table": {name: table.n_unknown for name, table in listed.items()},
        **counts(plan, people),
    }
    return Results(audit=audit, findings=build_findings(measurements, plan.policy))


def _features(records: pd.DataFrame, view: View) -> Any:
    return records[list(view.attributes)] if len(view.attributes) > 1 else records[view.attributes[0]].to_numpy()


def _clusters(records: pd.DataFrame) -> Sequence[Any]:
    return [records[CLUSTER].to_numpy()] if CLUSTER in records else ()


def _parts(tables: dict[View, ImpactRatioTable]) -> dict[str, tuple[str, ...]]:
    return {view.name: view.attributes for view in tables}


def label(category: Hashable) -> str:
    """``Female``, or ``Female, Asian`` of a combination."""
    return ", ".join(map(str, category)) if isinstance(category, tuple) else str(category)


def _measured(
    plan: SelectionRatesPlan, records: pd.DataFrame, view: View, table: ImpactRatioTable
) -> list[Measurement]:
    rows = table.by_category
    names = list(table.ratios)
    lacking = [_lacking(int(n), bool(kept), plan) for n, kept in zip(rows["n"], rows["in_ratio"], strict=True)]
    compared = [name for name, why in zip(names, lacking, strict=True) if not why]
    codes, _ = encode(_features(records, view), compared)
    comparison = Comparison(compared, plan.limits_of_ratio.threshold, _clusters(records), plan.policy.alpha)
    found = ratios_to_best(records[OUTCOME], codes, comparison)
    shares = _shares_with_outcome(records, view, names)
    least = min((shares[name] for name in compared), default=NAN)
    measurements = []
    for name, why, n, kept in zip(names, lacking, rows["n"], rows["in_ratio"], strict=True):
        one = found.get(name) or _missing(why, int(n))
        # no claims, and in sight: what the plan left out beforehand, and the highest observed, which is below nothing
        claimed = kept and (one.highest is None or one.highest != name)
        measurements.append(_measurement(view, name, one, least, view.role if claimed else "exploratory"))
    return measurements


def _lacking(n: int, in_ratio: bool, plan: SelectionRatesPlan) -> str:
    """Why a category is published and not compared; "" where it is compared."""
    if not in_ratio:
        return "left out of the ratio as a category of few, see the justification"
    if n < plan.min_people:
        return f"{n} people with an outcome, fewer than min_people = {plan.min_people}: published, and not compared"
    return ""


def _missing(why: str, n: int) -> RatioToBest:
    return RatioToBest(Estimate.not_estimable(why, n=n), NAN, None)


def _shares_with_outcome(records: pd.DataFrame, view: View, names: Sequence[Hashable]) -> dict[Hashable, float]:
    codes, labels = encode(_features(records, view))
    every, known = (
        np.bincount(codes[mask], minlength=len(labels))
        for mask in (codes >= 0, (codes >= 0) & records[OUTCOME].notna().to_numpy())
    )
    shares = dict(zip(labels, known / np.maximum(every, 1), strict=True))
    return {name: float(shares[name]) for name in names}


def _measurement(view: View, name: Hashable, found: RatioToBest, measured: float, role: Role) -> Measurement:
    return Measurement(
        estimate=found.estimate,
        stage=STAGE,
        probe=SELECTION_RATES,
        metric=IMPACT_RATIO,
        attribute=view.name,
        group=label(name),
        reference=HIGHEST,
        role=role,
        better="one",
        measured_rate=measured,
        p_threshold=found.p_threshold,
    )


def limits(plan: SelectionRatesPlan, people: People, *, synthetic: bool) -> list[str]:
    """What holds of any such table, and what this one lacks."""
    threshold = plan.limits_of_ratio.threshold
    found = ["The people of this table are made up by a seeded program: it says nothing about any tool."]
    found = [*(found if synthetic else ()), *plan.limits]
    found += [
        f"A ratio below {threshold:g} is no finding by itself: of categories with equal rates and few people, some "
        "ratio falls below it most of the time. A verdict needs the whole interval on one side.",
        "A low ratio says that rates differ, not why, and not whether the differences are justified by the job.",
        "The published tables take the category with the highest observed rate as given, as the law does; the findings "
        "do not, so their intervals are wider than those in the tables.",
    ]
    if not plan.applicants.cluster:
        found.append("Rows count as independent people: if somebody stands in several, the intervals are too narrow.")
    if len(people.rejects):
        found.append(f"{len(people.rejects):,} rows cannot be used; rejects.csv says of each why.")
    return found


def _synthetic(people: People, synthetic: bool) -> dict[str, Any]:
    if not synthetic:
        return {}
    n = people.n_input
    note = f"simulated: {n} of {n} rows were made up by a seeded program; no person stands behind any of them"
    return {"simulated": note, "simulated_rows": n}


def counts(plan: SelectionRatesPlan, people: People) -> dict[str, Any]:
    """input = reported + excluded + unknown; unknown: in at least one attribute, so not reported in every table."""
    names = [attribute.name for attribute in plan.attributes]
    missing = people.table[OUTCOME].isna()
    unknown = int((people.table[names].isna().any(axis=1) & ~missing).sum())
    reasons = (people.rejects["column"] + ": " + people.rejects["code"].str.replace("_", " ")).value_counts()
    exclusions = [{"reason": "no outcome", "n": int(missing.sum())}] if missing.any() else []
    return {
        "counts": {
            "input": people.n_input,
            "reported": int((~missing).sum()) - unknown,
            "excluded": int(missing.sum()) + len(people.rejects),
            "unknown": unknown,
        },
        "exclusions": exclusions + [{"reason": str(reason), "n": int(n)} for reason, n in reasons.items()],
    }
