"""Group means, and differences between policies, over the three seeds: worked out from the tables beside this file.

Every scorer here read every answer, and a third of the answers speak of each religion. So where the gap is Christian
less the others, the mean for Christians is the mean of all + 2/3 gap, and that for Jews and Muslims together the mean
of all - 1/3 gap. Intervals are t intervals over three seeds (two degrees of freedom), those of shares Fieller's.

    python reports/case-study/over_seeds.py      # writes over-seeds.csv
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

HERE = Path(__file__).parent
SCORERS = {"regard": 990, "harmlessness (trained on)": 2376, "judge": 2376}
"""Scorer -> answers that it read, all that there are for it."""
PLAIN, FAIR, MENDED = "plain PPO", "fair PPO", "PPO on the mended reward"
STAGES = {("sft", ""): "SFT", ("ppo", "diverse"): PLAIN, ("fair_ppo", "diverse"): FAIR}
KEPT = "share of reward gain kept"
STUDENT = float(t.ppf(0.975, 2))

Seeds = NDArray[np.float64]


def read() -> pd.DataFrame:
    """Seed, policy, scorer, what, estimate, n of all four policies."""
    main = pd.read_csv(HERE / "certificates.csv", keep_default_na=False, na_values={"estimate": [""]})
    main["policy"] = [STAGES.get(key) for key in zip(main["stage"], main["panel"], strict=True)]
    others = pd.concat(pd.read_csv(HERE / f"methods-{seed}.csv") for seed in range(3))
    others = others[others["method"] == "consistent-reward"].assign(policy=MENDED)
    return pd.concat([main.dropna(subset="policy"), others])[["seed", "policy", "scorer", "what", "estimate", "n"]]


def per_seed(table: pd.DataFrame, policy: str, scorer: str, what: str) -> Seeds:
    """(3,) estimates, seeds 0 to 2."""
    found = table[(table["policy"] == policy) & (table["scorer"] == scorer) & (table["what"] == what)]
    found = found.sort_values("seed")
    assert found["seed"].tolist() == [0, 1, 2]
    assert (found["n"] == SCORERS.get(scorer, 2376)).all()
    return found["estimate"].to_numpy(float)


def row(scorer: str, policy: str, what: str, values: Seeds) -> dict[str, object]:
    """The mean of three seeds with its t interval."""
    mean, half = values.mean(), STUDENT * values.std(ddof=1) / np.sqrt(3)
    return line(scorer, policy, what, values, (mean, mean - half, mean + half))


def ratio(scorer: str, policy: str, what: str, part: Seeds, whole: Seeds) -> dict[str, object]:
    """mean(part) / mean(whole) with Fieller's interval; without one where the denominator cannot be told from 0."""
    covariance, square = np.cov(part, whole) / 3, STUDENT**2
    a = whole.mean() ** 2 - square * covariance[1, 1]
    b = part.mean() * whole.mean() - square * covariance[0, 1]
    c = part.mean() ** 2 - square * covariance[0, 0]
    root = np.sqrt(b * b - a * c) if a > 0 else np.nan
    return line(scorer, policy, what, part / whole, (part.mean() / whole.mean(), (b - root) / a, (b + root) / a))


def line(scorer: str, policy: str, what: str, values: Seeds, told: tuple[float, float, float]) -> dict[str, object]:
    """One row of the table."""
    seeds = {f"seed {seed}": value for seed, value in enumerate(values)}
    mean, low, high = told
    return {"scorer": scorer, "policy": policy, "what": what, **seeds, "mean": mean, "low": low, "high": high}


def account(table: pd.DataFrame) -> pd.DataFrame:
    """All of it."""
    rows = []
    for scorer in SCORERS:
        found = {}
        for policy in (*STAGES.values(), MENDED):
            mean, gap = (per_seed(table, policy, scorer, what) for what in ("mean", "religion gap"))
            found[policy] = {"Christian": mean + gap * 2 / 3, "Jewish and Muslim": mean - gap / 3, "gap": gap}
            rows += [row(scorer, policy, what, values) for what, values in found[policy].items()]
        for policy in (FAIR, MENDED):
            for before in ("SFT", PLAIN):
                changes = {what: found[policy][what] - found[before][what] for what in found[policy]}
                rows += [row(scorer, f"{policy} less {before}", what, values) for what, values in changes.items()]
            closed = -changes["gap"]
            rows.append(ratio(scorer, policy, "share of plain PPO's gap that is gone", closed, found[PLAIN]["gap"]))
            if scorer != "judge":  # by which the gap points the other way and is not closed by the penalty
                rows.append(ratio(scorer, policy, "share of that by Christians falling", -changes["Christian"], closed))
        rows.append(row(scorer, f"{FAIR} less {MENDED}", "gap", found[FAIR]["gap"] - found[MENDED]["gap"]))
    kept = {policy: per_seed(table, policy, "reward", KEPT) for policy in (FAIR, MENDED)}
    rows += [row("reward", policy, KEPT, values) for policy, values in kept.items()]
    rows.append(row("reward", f"{FAIR} less {MENDED}", KEPT, kept[FAIR] - kept[MENDED]))
    return pd.DataFrame(rows)


if __name__ == "__main__":
    found = account(read())
    found.to_csv(HERE / "over-seeds.csv", index=False, float_format="%.4f")
    print(found.round(3).to_string(index=False))
