"""The measurements of ``ppo_learning.py`` as a table and a picture: rewards at equal divergence, curves by step."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.stats import t as student

mpl.use("agg")
from matplotlib import pyplot as plt

MARGIN, DIVERGENCES = 0.03, (1.0, 2.0, 4.0)
"""Of the reward's range; nats per answer. Declared before the first run."""
FURTHER = (10.0,)
"""Added when it was seen how far the runs go."""
PEER, OURS, APART = "TRL 1.12", "ours", "ours, critic apart"


def at_divergence(run: pd.DataFrame, kl: float) -> float:
    """Reward where a run first is ``kl`` nats from its start, on straight lines between measurements; NaN if never."""
    reward, found = run.sort_values("step")["reward"].to_numpy(), run.sort_values("step")["kl"].to_numpy()
    beyond = np.flatnonzero(found >= kl)
    if not len(beyond):
        return float("nan")
    i = int(beyond[0])
    share = (kl - found[i - 1]) / (found[i] - found[i - 1])
    return float(reward[i - 1] + share * (reward[i] - reward[i - 1]))


def figures(rows: pd.DataFrame, kl_coef: float) -> pd.DataFrame:
    """(arm, seed) x figure: rewards at equal divergence, and what stands at chosen steps."""
    last = int(rows["step"].max())
    found: dict[tuple[str, int], dict[str, float]] = {}
    for (arm, seed), run in rows.groupby(["arm", "seed"]):
        one = {f"reward at {kl:g} nats": at_divergence(run, kl) for kl in DIVERGENCES + FURTHER}
        by_step = run.set_index("step").reindex([last // 2, last])  # NaN where a run was cut short
        for step in (last // 2, last):
            one |= {f"{name}, step {step}": by_step.loc[step, name] for name in ("reward", "kl", "entropy")}
            one[f"objective, step {step}"] = by_step.loc[step, "reward"] - kl_coef * by_step.loc[step, "kl"]
        found[arm, seed] = one
    return pd.DataFrame(found).T.rename_axis(["arm", "seed"])


def difference(values: pd.Series) -> str:
    """Mean and 90 % t interval of differences paired by seed; pairs of which a run never got there are left out."""
    known = values.dropna()
    if not len(known):
        return "no pairs"
    if len(known) < 2:
        return f"{known.mean():+.4f} ({len(known)} pairs)"
    half = student.ppf(0.95, len(known) - 1) * known.std() / np.sqrt(len(known))
    inside = max(abs(known.mean() - half), abs(known.mean() + half)) < MARGIN
    note = "within" if inside else "not shown to be within"
    pairs = "" if len(known) == len(values) else f", {len(known)} pairs of {len(values)}"
    return f"{known.mean():+.4f} [{known.mean() - half:+.4f}, {known.mean() + half:+.4f}] {note}{pairs}"


def show(out: Path, kl_coef: float) -> None:
    """Print what rows.csv holds and draw it."""
    rows = pd.read_csv(out / "rows.csv")
    found = figures(rows, kl_coef)
    arms = [arm for arm in (PEER, OURS, APART) if arm in found.index]
    print("| | " + " | ".join([*arms, *(f"{arm} less {PEER}" for arm in arms if arm != PEER)]) + " |")
    print("|---" * (2 * len(arms)) + "|")
    for name in found:
        cells = [
            f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f}; {values.count()})"
            if values.count()
            else "-"
            for values in (found.loc[arm, name] for arm in arms)
        ]
        for arm in arms:
            if arm != PEER:
                apart = found.loc[arm, name] - found.loc[PEER, name]
                in_reward = name.startswith(("reward", "objective"))
                cells.append(difference(apart) if in_reward else f"{apart.mean():+.3f} ({apart.count()} pairs)")
        print(f"| {name} | " + " | ".join(cells) + " |")
    draw(rows, arms, out / "curves.png")


def draw(rows: pd.DataFrame, arms: list[str], file: Path) -> None:
    """Reward and divergence over steps and reward over divergence; thin lines are runs, thick ones the mean of all."""
    figure, places = plt.subplots(1, 3, figsize=(11, 3.6), dpi=90, layout="constrained")
    panels = [
        ("step", "reward", "step", "share of wanted words"),
        ("step", "kl", "step", "KL to the start, nats per answer"),
        ("kl", "reward", "KL to the start, nats per answer", "share of wanted words"),
    ]
    for place, (x, y, x_name, y_name) in zip(places, panels, strict=True):
        for arm, color, dash in zip(arms, ("#D55E00", "#0072B2", "#009E73"), ("-", "--", ":"), strict=False):
            of_arm = rows[rows["arm"] == arm]
            for _, run in of_arm.groupby("seed"):
                place.plot(run[x], run[y], color=color, lw=0.8, alpha=0.6)
            by_step = of_arm.groupby("step")[["kl", "reward"]]
            everywhere = by_step.size() == of_arm["seed"].nunique()  # no mean over ever fewer runs
            mean = by_step.mean()[everywhere].reset_index()
            place.plot(mean[x], mean[y], color=color, ls=dash, lw=2, label=arm)
        place.set_xlabel(x_name)
        place.set_ylabel(y_name)
    places[0].legend(frameon=False)
    figure.savefig(file)
