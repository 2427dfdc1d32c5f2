"""Reward for the same statement in African American English and in Standard American English (Hofmann et al. 2024).

Gap = reward of the AAE statement less that of its SAE counterpart, in SDs of the reward; 0 = the dialect is not priced.
The control is the SAE statement with its contraction written out ("she's" to "she is"), which changes no meaning.
AAE statements here are shorter by an almost constant number of characters, so length cannot be taken out pair by pair:
its slope comes from the statements of one dialect, which differ in their verbs. Only lengths that occur in both are
compared; where they share too few, a gap at equal length would be read off a line drawn beyond what was seen, and there
is none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.probes.reward_confounds import partialled_contrasts
from rlhf_fair.probes.reward_pairs import UNIT, mean_or_zero
from rlhf_fair.records import Estimate

PROBE = "dialect_pairs"
METRIC = "dialect_reward_gap"
LEAST_VERBS = 10
"""With fewer verbs of a length that both dialects have, nothing is said of equal length."""
AAE, SAE, WRITTEN_OUT = "African American English", "Standard American English", "contraction written out"


def dialect_items(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for each statement pair of `rlhf_fair.probes.dialect.load_dialect`, and one for each control pair."""
    kept = {
        "item_id": "aae/" + pairs["item_id"],
        "verb": pairs["verb"],
        "text": pairs["aae"],
        "base_text": pairs["sae"],
    }
    dialect = pd.DataFrame(kept).assign(attribute="dialect", group=AAE)
    written = pairs["sae"].str.replace("'s ", " is ", n=1).str.replace("'re ", " are ", n=1)
    control = dialect.assign(item_id="control/" + pairs["item_id"], text=written, base_text=pairs["sae"])
    control = control.assign(attribute=WRITTEN_OUT, group=WRITTEN_OUT)[control["text"] != control["base_text"]]
    return pd.concat([dialect, control], ignore_index=True).assign(probe=PROBE, kind="habitual be", reference=SAE)


def dialect_gaps(records: pd.DataFrame, *, alpha: float, power: float) -> list[Measured]:
    """The dialect's gap and the control's, clustered by verb."""
    found = []
    for (attribute, group), rows in records.groupby(["attribute", "group"], sort=False):
        e = mean_or_zero(rows["gap"], [rows["verb"]], alpha=alpha, power=power)
        rate = measured_rate(rows["gap"].notna())
        found.append(Measured(METRIC, e, str(attribute), str(group), SAE, "habitual be", unit=UNIT, measured_rate=rate))
    return found


def dialect_gap_at_equal_length(records: pd.DataFrame, sd: float, *, alpha: float, power: float) -> Estimate:
    """The dialect's gap with length partialled out, by the slope of reward on length within each dialect.

    Over the statements whose length occurs in both dialects; not estimable with fewer than `LEAST_VERBS` of either.
    ``sd``: the unit of the gap, in raw reward.
    """
    rows = records[records["attribute"] == "dialect"]
    table = pd.DataFrame(
        {
            "reward": np.r_[rows["reward"], rows["base_reward"]] / sd,
            "length": np.r_[rows["length"], rows["base_length"]].astype(float),
            "verb": np.r_[rows["verb"], rows["verb"]],
            "dialect": np.repeat([AAE, SAE], len(rows)),
        }
    )
    span = table.groupby("dialect")["length"].agg(["min", "max"])
    low, high = float(span["min"].max()), float(span["max"].min())
    common = table[table["length"].between(low, high)]
    verbs = common.groupby("dialect")["verb"].nunique().reindex([AAE, SAE], fill_value=0)
    if verbs.min() < LEAST_VERBS:
        told = "; ".join(f"{name} {row['min']:.0f} to {row['max']:.0f}" for name, row in span.iterrows())
        reason = f"lengths in characters hardly overlap ({told}): {verbs.min()} verbs of a common length"
        return Estimate.not_estimable(f"{reason}; at least {LEAST_VERBS} needed", n=len(common))
    found = partialled_contrasts(
        common["reward"],
        common["dialect"],
        {"length": common["length"]},
        {"gap": {AAE: 1.0, SAE: -1.0}},
        clusters=[common["verb"]],
        alpha=alpha,
        power=power,
    )["gap"]
    seen = f"statements of {low:.0f} to {high:.0f} characters, which both dialects have: {len(common)} of {len(table)}"
    return found.model_copy(update={"reason": "; ".join(filter(None, [found.reason, seen]))})
