"""Nine public rating sets audited as one family: which differences between rater groups survive, and which are unknown?

Each set is read by its plan in ``audits/panel-feedback``; margin, family and correction stand in ``family.toml``, which
was committed before. Writes ``gaps.csv``, ``agreement.csv`` and ``sets.csv`` into the folder and the tables of its
README; ``--folders`` makes the audit folders that lie beside them. No text and no rater's id is read out, and counts of
small groups are withheld as the audit folders withhold them.

    OMP_NUM_THREADS=1 python tests/benchmarks/feedback_sets.py --data ../shared/data --out reports/case-study/feedback
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feedback_family import OPEN, UNKNOWN, Family, family_mde, judged, tests_of
from feedback_sets_tables import (
    agreement_summary,
    artefact_table,
    gap_table,
    put,
    set_table,
    unmeasured_list,
    verdict_table,
)

from rlhf_fair.annotators.simulation_moments import variance_components
from rlhf_fair.artifacts import sha256_file
from rlhf_fair.attestation.sealing import begun, seal
from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.panel_feedback import RECORDS_NAME, REJECTS_NAME, input_files, run
from rlhf_fair.audit.panel_feedback_attributes import NO_GROUPS, declared_attributes, label_ratings
from rlhf_fair.audit.panel_feedback_cells import UNMAPPED
from rlhf_fair.audit.panel_feedback_clustering import as_rated, clustering_effect
from rlhf_fair.audit.panel_feedback_estimates import SAME_ITEMS, contrast, measure
from rlhf_fair.audit.panel_feedback_plan import AttributePlan, FeedbackPlan, load_feedback_plan
from rlhf_fair.audit.panel_feedback_table import read_ratings
from rlhf_fair.audit.panel_feedback_tables import agreement_table
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.disclosure.results import COMPANION, protected
from rlhf_fair.disclosure.suppression import hidden_cells
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.report import HTML_NAME, write_report
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import write_table

FAMILY_NAME, README_NAME = "family.toml", "README.md"
WITH_ROWS, WITH_PAGE, NUMBERS_ONLY = "sbic", "gbv-attitudes", "perspective-taking"
"""Folders to show: the one set whose licence lets ratings be passed on whole; two others without their rows."""

Hidden = dict[tuple[str, str], str]
"""(attribute, group) -> what stands in place of its counts."""


@dataclass(frozen=True)
class Audited:
    """One set: its gaps, what is known of the set, and agreement in each group."""

    gaps: list[dict[str, Any]]
    facts: dict[str, Any]
    agreement: list[dict[str, Any]]
    hidden: Hidden


def audited(name: str, data: Path, family: Family) -> Audited:
    """The gaps between groups of one attribute of the set ``name``, as its plan has them."""
    plan = load_feedback_plan(find_plan(f"panel-feedback/{name}"))
    policy = plan.policy
    if (policy.alpha, policy.power, policy.margin, policy.threshold) != (
        family.alpha,
        family.power,
        *[family.margin] * 2,
    ):
        raise SettingsError(f"plan {name}: its policy is not the family's")
    ratings = read_ratings(plan, *input_files(plan, None, data))
    attributes = declared_attributes(plan, ratings)
    records = label_ratings(ratings, attributes)
    alone = plan.model_copy(update={"intersections": (), "item_type": None})
    measurements = measure(records, attributes, alone)
    same = {(m.attribute, m.group): m.estimate for m in measurements if m.variant == SAME_ITEMS}
    gaps = [
        {"set": name, **gap_row(records, gap, alone, same[gap.attribute, gap.group])} for gap in as_rated(measurements)
    ]
    agreement = agreement_rows(records, attributes, plan)
    return Audited(
        gaps,
        {"set": name, **facts(records, ratings.n_input)},
        [{"set": name, **row} for row in agreement],
        hidden_groups(records, attributes, plan.min_raters),
    )


def hidden_groups(records: pd.DataFrame, attributes: Sequence[AttributePlan], k: int) -> Hidden:
    """The groups of fewer than ``k`` raters, and those that would give them away by subtraction."""
    found = {}
    for attribute in attributes:
        raters = records.groupby(attribute.name)["rater"].nunique()
        if (raters >= k).all():
            continue
        chosen = hidden_cells(raters.to_numpy(np.int64), k)
        for at, (group, n) in enumerate(raters.items()):
            if chosen is None or chosen[at]:
                found[attribute.name, str(group)] = f"fewer than {k}" if n < k else COMPANION
    return found


def gap_row(records: pd.DataFrame, gap: Measurement, plan: FeedbackPlan, same_items: Estimate) -> dict[str, Any]:
    """One line of ``gaps.csv``, before the family is judged. Gaps are in points of 100; ``sds``: in SDs of a rating."""
    e, policy = gap.estimate, plan.policy
    rows = {who: records[records[gap.attribute] == label] for who, label in (("g", gap.group), ("r", gap.reference))}
    effect = clustering_effect(records, gap, plan)
    # the same test were these items the only ones that anybody asks about
    signs = {gap.group: 1.0, gap.reference: -1.0}
    these_items = contrast(records.drop(columns="item"), records[gap.attribute], signs, plan)
    return {
        "attribute": gap.attribute,
        "group": gap.group,
        "reference": gap.reference,
        "role": gap.role,
        "estimate": e.estimate,
        "ci_low": e.ci_low,
        "ci_high": e.ci_high,
        "sds": e.estimate / records["score"].std(),
        "same_items": same_items.estimate,
        "same_items_low": same_items.ci_low,
        "same_items_high": same_items.ci_high,
        "p_naive": effect.naive.p_value,
        "p_rater": these_items.p_value if np.isfinite(e.p_value) else np.nan,
        **tests_of(e, margin=policy.margin, alpha=policy.alpha),
        "design_effect": effect.design_effect,
        "mde": e.mde,
        "margin": policy.margin,
        "n_ratings": len(rows["g"]) + len(rows["r"]),
        "n_raters": rows["g"]["rater"].nunique(),
        "n_raters_reference": rows["r"]["rater"].nunique(),
        "n_items": pd.concat(rows.values())["item"].nunique(),
        "reason": e.reason,
        "gap": e,
    }


def facts(records: pd.DataFrame, n_input: int) -> dict[str, Any]:
    """Sizes of a set, and how much of a rating's variance lies between items and between raters."""
    loads = records.groupby("rater").size()
    return {
        "rows": n_input,
        "ratings": len(records),
        "raters": len(loads),
        "items": records["item"].nunique(),
        "ratings_per_rater_median": float(loads.median()),
        "ratings_per_rater_max": int(loads.max()),
        "raters_per_item_median": float(records.groupby("item").size().median()),
        "mean": records["score"].mean(),
        "sd": records["score"].std(),
        **icc(records),
    }


def icc(records: pd.DataFrame) -> dict[str, float]:
    """Shares of a rating's variance between items and between raters; 0 = none, unbiased and so perhaps below 0."""
    codes = [pd.factorize(records[name])[0] for name in ("item", "rater")]
    parts = variance_components(records["score"].to_numpy(float), *codes, np.zeros(len(records), dtype=np.intp))
    total = parts.item + parts.rater + parts.residual
    return {"icc_item": parts.item / total, "icc_rater": parts.rater / total}


def agreement_rows(
    records: pd.DataFrame, attributes: Sequence[AttributePlan], plan: FeedbackPlan
) -> list[dict[str, Any]]:
    """Agreement inside each group of enough raters, as the audit reports it, with the group's ICCs."""
    table, _ = agreement_table(records, attributes, plan, lambda what, done, total: None)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    kept = [row for row in rows if row["group"] not in (*NO_GROUPS, UNMAPPED)]
    return [
        {**row, "ratings": int((of := records[row["attribute"]] == row["group"]).sum()), **icc(records[of])}
        for row in kept
    ]


def judged_family(found: Sequence[Audited], family: Family) -> pd.DataFrame:
    """All gaps of all sets with adjusted p-values, verdicts and the MDE that the family's correction leaves."""
    gaps = pd.DataFrame([row for one in found for row in one.gaps])
    tests = gaps[gaps["p_clustered"].notna()].groupby("role").size()
    gaps["mde_family"] = [
        family_mde(gap, tests=int(tests[role]), alpha=family.alpha, power=family.power)
        if np.isfinite(gap.p_value)
        else np.nan
        for gap, role in zip(gaps["gap"], gaps["role"], strict=True)
    ]
    return judged(gaps.drop(columns="gap"), alpha=family.alpha)


def uncounted(gaps: pd.DataFrame, agreement: pd.DataFrame, hidden: dict[str, Hidden]) -> None:
    """Put what `hidden_groups` says of each set in place of counts; estimates stay, as in the audit folders."""
    for table, counts in (
        (gaps, {"group": ["n_raters"], "reference": ["n_raters_reference"]}),
        (agreement, {"group": ["raters"]}),
    ):
        alone = [column for columns in counts.values() for column in columns]
        shared = [column for column in ("n_ratings", "n_items", "ratings") if column in table]
        for column in (*alone, *shared):
            table[column] = table[column].astype(object)
        for side, columns in counts.items():
            for row in table.index:
                key = table.at[row, "attribute"], table.at[row, side]
                if said := hidden[table.at[row, "set"]].get(key):
                    table.loc[row, columns] = said
                    table.loc[row, shared] = COMPANION
                    if said != COMPANION and "reason" in table:
                        table.at[row, "reason"] = f"{key[1]}: {said} raters"


def make_folder(name: str, data: Path, out: Path) -> None:
    """A sealed folder as ``rlhf-fair audit`` makes it; without rows where the set's licence does not allow them."""
    plan = find_plan(f"panel-feedback/{name}")
    shutil.rmtree(out, ignore_errors=True)
    start = begun(plan=sha256_file(plan))
    results = protected(run(plan, None, data, out))
    if name != WITH_ROWS:
        (out / RECORDS_NAME).unlink()
        (out / REJECTS_NAME).unlink()
    write_report(out, results)
    if name == NUMBERS_ONLY:
        (out / HTML_NAME).unlink()
    seal(out, inputs=results.manifest["inputs"], seeds={"seed": int(results.audit["seed"])}, start=start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public sets")
    parser.add_argument("--out", type=Path, required=True, help=f"folder with {FAMILY_NAME}")
    parser.add_argument("--folders", action="store_true", help="make the audit folders, too")
    args = parser.parse_args()
    family = read_toml(args.out / FAMILY_NAME, Family)
    found = []
    for name in family.sets:
        start = time.process_time()
        found.append(audited(name, args.data, family))
        print(f"{name}: {len(found[-1].gaps)} gaps, {time.process_time() - start:.0f} CPU s", flush=True)
    gaps = judged_family(found, family)
    sets = pd.DataFrame([one.facts for one in found])
    agreement = pd.DataFrame([row for one in found for row in one.agreement])
    uncounted(gaps, agreement, {one.facts["set"]: one.hidden for one in found})
    for name, table in (("gaps", gaps), ("sets", sets), ("agreement", agreement)):
        write_table(args.out / f"{name}.csv", table.map(lambda x: float(f"{x:.5g}") if isinstance(x, float) else x))
    known = gaps[gaps["verdict"].isin([UNKNOWN, OPEN])]
    put(
        args.out / README_NAME,
        {
            "verdicts": verdict_table(gaps),
            "gaps": gap_table(gaps),
            "artefacts": artefact_table(gaps, family.alpha),
            "sets": set_table(sets),
            "agreement": agreement_summary(agreement, family.alpha),
            "unmeasured": unmeasured_list(gaps),
        },
    )
    print(verdict_table(gaps), f"\nMDE of what is open: median {known['mde'].median():.1f}")
    for name in (WITH_ROWS, WITH_PAGE, NUMBERS_ONLY) if args.folders else ():
        make_folder(name, args.data, args.out / name)


if __name__ == "__main__":
    main()
