"""Rules, flips and quality control on four public rating sets (texts are never read or printed).

Prints, for each set and attribute: items that flip with the rule and the group that loses most; then whom gold made of
near-unanimous items would exclude, were every rater at hand honest; then the control's simulated audit with the set's
groups at their real sizes.

    OMP_NUM_THREADS=1 python tests/benchmarks/feedback_rules.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation_rules import RULES, RuleInputs, compare_rules, default_rules, usable_rules
from rlhf_fair.annotators.flips import FlipSettings, flip_report
from rlhf_fair.annotators.quality import check_quality
from rlhf_fair.annotators.quality_audit import audit_quality, exclusion_rates
from rlhf_fair.annotators.quality_settings import QualitySettings

SMALLEST = 15
"""Raters a group needs to be shown; smaller ones stay in the data."""

SETS = {
    "perspective-taking": (
        "perspective-taking-toxicity/pilot_annotations.csv",
        {"comment": "item_id", "workerId": "annotator_id", "answer": "value"},
        ("gender", "race", "politic"),
        0.0,
    ),
    "popquorn": (
        "popquorn/offensiveness/raw_data.csv.gz",
        {"instance_id": "item_id", "user_id": "annotator_id", "offensiveness": "value"},
        ("gender", "race"),
        3.0,
    ),
    "crehate": (
        "crehate/CREHate_raw_annotations.csv.gz",
        {"ID": "item_id", "annotation": "value"},
        ("gender", "nationality"),
        0.5,
    ),
    "sap-attitudes": (
        "sap-annotators-with-attitudes/smallScale.csv.gz",
        {"annID": "annotator_id", "racist": "value"},
        ("annotatorGender", "annotatorRace"),
        3.0,
    ),
}


def read(name: str, data: Path) -> pd.DataFrame:
    path, columns, _, _ = SETS[name]
    table = pd.read_csv(data / path).rename(columns=columns)
    if name == "sap-attitudes":
        table["item_id"] = table["postCategory"] + table["postId"].astype("str")
    if name == "crehate":
        table = table[table["value"] != 2]  # do not know
    table["item_id"], table["annotator_id"] = table["item_id"].astype("str"), table["annotator_id"].astype("str")
    return table[table["value"].notna()].drop_duplicates(["item_id", "annotator_id"]).assign(kind="rating")


def groups_of(table: pd.DataFrame, attribute: str) -> pd.Series:
    """By annotator: the first answer given; groups of too few raters are put together."""
    own = table.groupby("annotator_id")[attribute].first().astype("object")
    sizes = own.value_counts()
    return own.where(own.map(sizes).fillna(0) >= SMALLEST, "(smaller groups)").where(own.notna())


def flips(table: pd.DataFrame, groups: pd.Series, cut: float) -> None:
    inputs = RuleInputs(groups=groups)
    usable, _ = usable_rules("rating", inputs, [name for name in default_rules() if name not in ("median", "max-min")])
    results = compare_rules(table, usable, inputs)
    aware = [name for name in usable if RULES[name].needs]
    settings = FlipSettings(baseline="mean", cut=cut, permutations=499)
    found = flip_report(table, results, groups, settings, group_aware=aware, rng=np.random.default_rng(0))
    for row in found.rules.to_dict("records"):
        print(f"  {row['rule']:15} flips {row['flipped']:4} of {row['decided']}")
    for rule, rows in found.groups.groupby("rule", sort=False):
        worst = rows.loc[rows["contradicted"].idxmax()]
        text = f"{worst['contradicted']:.3f} [{worst['contradicted_ci_low']:.3f}, {worst['contradicted_ci_high']:.3f}]"
        text += f", gap {worst['gap']:+.3f}"
        if rule not in aware:
            text += f", by lot {worst['gap_by_chance']:+.3f}, p {worst['gap_p_adjusted']:.3f}"
        print(f"  {rule:15} most contradicted: {worst['group']} {text}")


def consensus_gold(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Items on which at least ``share`` of four or more raters give the same value."""
    counts = table.groupby(["item_id", "value"]).size()
    n, most = counts.groupby("item_id").sum(), counts.groupby("item_id").max()
    chosen = n.index[(n >= 4) & (most >= share * n)]
    value = counts.groupby("item_id").idxmax().map(lambda cell: cell[1])
    return pd.DataFrame({"item_id": chosen, "value": value[chosen].to_numpy()})


def false_exclusion(table: pd.DataFrame, groups: pd.Series) -> None:
    gold = consensus_gold(table, 0.9)
    for label, alpha in (("default", 0.01), ("bare cut", 0.5)):
        settings = QualitySettings.model_validate({"gold": {"alpha": alpha}})
        found = check_quality(table, settings, gold=gold)
        rates = exclusion_rates(found.excluded.astype(float), groups.reindex(found.excluded.index))
        shown = ", ".join(
            f"{r.group} {r.rate:.3f} [{r.rate_ci_low:.3f}, {r.rate_ci_high:.3f}] of {r.raters}"
            for r in rates.itertuples()
        )
        print(f"  consensus gold ({len(gold)} items), {label}: {shown}; verdicts {sorted(set(rates['verdict']))}")
    same = check_quality(table, QualitySettings()).checks
    same = same[same["check"] == "straight_lining_ratings"]
    rates = exclusion_rates(
        same.set_index("annotator_id")["flagged"].astype(float), groups.reindex(same["annotator_id"])
    )
    print("  always one rating (marked only): " + ", ".join(f"{r.group} {r.rate:.3f}" for r in rates.itertuples()))


def simulated(groups: pd.Series) -> None:
    settings = QualitySettings.model_validate({"audit": {"simulations": 20}})
    table = audit_quality(settings, np.random.default_rng(0), groups=groups)
    honest = table[table["group"] == table["differs"]]
    for scenario, rows in honest.groupby("scenario", sort=False):
        print(f"  simulated {scenario}: " + ", ".join(f"{r.group} {r.rate:.4f}" for r in rows.itertuples()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    options = parser.parse_args()
    for name in options.sets:
        table = read(name, options.data)
        print(
            f"{name}: {len(table)} ratings of {table['item_id'].nunique()} items by {table['annotator_id'].nunique()}"
        )
        for attribute in SETS[name][2]:
            groups = groups_of(table, attribute)
            print(f" by {attribute}")
            flips(table, groups, SETS[name][3])
            false_exclusion(table, groups)
            simulated(groups)


if __name__ == "__main__":
    main()
