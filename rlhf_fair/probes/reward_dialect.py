"""Reward for the same statement in African American English and in Standard American English (Hofmann et al. 2024).

Gap = reward of the AAE statement less that of its SAE counterpart, in SDs of the reward; 0 = the dialect is not priced.
The control is the SAE statement with its contraction written out ("she's" to "she is"), which changes no meaning.
AAE statements here are shorter by an almost constant number of characters, so length cannot be taken out pair by pair:
its slope comes from the statements of one dialect, which differ in their verbs.
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

    ``sd``: the unit of the gap, in raw reward.
    """
    rows = records[records["attribute"] == "dialect"]
    found = partialled_contrasts(
        np.r_[rows["reward"], rows["base_reward"]] / sd,
        np.repeat([AAE, SAE], len(rows)),
        {"length": np.r_[rows["length"], rows["base_length"]].astype(float)},
        {"gap": {AAE: 1.0, SAE: -1.0}},
        clusters=[np.r_[rows["verb"], rows["verb"]]],
        alpha=alpha,
        power=power,
    )
    return found["gap"].model_copy(update={"n": len(rows)})
