"""Agreement of groups: how fast, the same as the krippendorff package, and do the limits of alpha cover?

``--speed``: permutations of the index of agreement (GAI) and the map of disagreement, on a synthetic crowd (72,000
ratings, 500 raters, four groups, values 0 to 4) and on the largest public sets. ``--peer``: alpha at four levels beside
the krippendorff package where it can be imported. ``--coverage``: intervals of alpha over simulated panels with a known
alpha. ``--power``: how often a difference of the stated smallest size is found. All of them without an option.

    OMP_NUM_THREADS=1 python tests/benchmarks/agreement.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.agreement import AgreementSettings
from rlhf_fair.annotators.disagreement import disagreement_map
from rlhf_fair.stats.agreement import Level, comparable, krippendorff_alpha
from rlhf_fair.stats.agreement_interval import _Disagreement, alpha_interval
from rlhf_fair.stats.group_agreement import group_agreement
from rlhf_fair.stats.student_t import t_quantile

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")
NAN = float("nan")
CANONICAL = (  # Krippendorff 2011, example D
    (1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3),
    (NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN),
)
SETS = {
    "crehate": ("crehate/CREHate_raw_annotations.csv.gz", "ID", "annotator_id", "annotation", "nationality"),
    "sbic dev": ("sbic/SBIC.v2.dev.csv.gz", "post", "WorkerId", "offensiveYN", "annotatorRace"),
    "popquorn": ("popquorn/offensiveness/raw_data.csv.gz", "instance_id", "user_id", "offensiveness", "race"),
    "perspective": ("perspective-taking-toxicity/pilot_annotations.csv", "comment", "workerId", "answer", "politic"),
}
DESIGNS = ((30, 10, 5, 0.5), (30, 30, 6, 0.5), (100, 10, 5, 0.5), (100, 30, 6, 0.5), (100, 100, 8, 1.0),
           (300, 30, 5, 1.0), (300, 100, 5, 0.5))  # fmt: skip
"""Items, raters, ratings of an item, spread of raters' moods (items and noise: 1)."""


def synthetic(items: int, each: int, seed: int = 0) -> pd.DataFrame:
    """Every item rated by ``each`` of 500 raters with moods, in groups of about 50, 30, 15 and 5 %."""
    rng = np.random.default_rng(seed)
    item = np.repeat(np.arange(items), each)
    rater = np.concatenate([rng.choice(500, each, replace=False) for _ in range(items)])
    latent = rng.normal(0, 1, items)[item] + rng.normal(0, 0.5, 500)[rater] + rng.normal(0, 1, len(item))
    group = rng.choice(list("abcd"), 500, p=[0.5, 0.3, 0.15, 0.05])
    value = np.clip(np.round(latent + 2), 0, 4)
    return pd.DataFrame({"item": item, "rater": rater, "value": value, "group": group[rater]})


def public(name: str, data: Path) -> pd.DataFrame:
    path, *columns = SETS[name]
    table = pd.read_csv(data / path)[columns].set_axis(["item", "rater", "value", "group"], axis=1)
    if name == "crehate":
        table = table[table["value"] != 2]  # do not know
    table = table.dropna().drop_duplicates(["item", "rater"])
    first = table.groupby("rater")["group"].first()
    return table.assign(group=table["rater"].map(first), item=table["item"].astype("str"))


def cpu(work: Callable[[], object]) -> tuple[float, object]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def speed(sets: dict[str, pd.DataFrame]) -> None:
    print(f"{'':22}{'ratings':>8}{'items':>7}{'groups':>7}{'GAI x 1000':>12}{'alpha +-':>10}{'map':>8}  CPU s")
    for name, t in sets.items():
        columns = (t["item"], t["rater"], t["value"], t["group"])
        rng = np.random.default_rng(0)
        indices, _ = cpu(lambda c=columns, r=rng: group_agreement(*c, level="ordinal", permutations=1000, rng=r))
        limits, _ = cpu(lambda c=columns: alpha_interval(*c[:3], level="ordinal"))
        rows = t.rename(columns={"item": "item_id", "rater": "annotator_id"}).assign(kind="rating")
        groups = {"group": t.groupby("rater")["group"].first()}
        settings = AgreementSettings(permutations=1000)
        mapped, _ = cpu(lambda a=rows, g=groups, s=settings, r=rng: disagreement_map(a, g, s, rng=r))
        size = f"{len(t):>8}{t['item'].nunique():>7}{t['group'].nunique():>7}"
        print(f"{name:22}{size}{indices:>12.2f}{limits:>10.2f}{mapped:>8.2f}", flush=True)


def peer(sets: dict[str, pd.DataFrame]) -> None:
    try:
        import krippendorff
    except ImportError:
        print("krippendorff cannot be imported: not compared")
        return
    canonical = pd.DataFrame(CANONICAL).stack().rename("value").rename_axis(["rater", "item"]).reset_index()
    rng = np.random.default_rng(0)
    random = {
        f"random {k}": pd.DataFrame(
            {"item": rng.integers(0, 50, 400), "rater": np.arange(400), "value": rng.integers(1, 6, 400)}
        )
        for k in range(5)
    }
    print("CPU seconds from columns (ours) and from a table of counts (theirs)")
    print(f"{'':22}{'level':>10}{'alpha':>9}{'apart':>10}{'ours':>9}{'theirs':>9}")
    for name, t in {"canonical": canonical, **random, **sets}.items():
        for level in LEVELS:
            if level == "ratio" and t["value"].min() < 0:
                continue
            ours, found = cpu(lambda t=t, lv=level: krippendorff_alpha(t["item"], t["value"], level=lv).alpha)

            counts = pd.crosstab(t["item"], t["value"])  # not timed: their input
            options = {"value_domain": counts.columns.to_numpy(float), "level_of_measurement": level}
            table = counts.to_numpy()
            other, expected = cpu(lambda c=table, o=options: krippendorff.alpha(value_counts=c, **o))
            apart = abs(float(found) - float(expected))  # type: ignore[arg-type]
            print(f"{name:22}{level:>10}{found:>9.4f}{apart:>10.1e}{ours:>9.3f}{other:>9.3f}", flush=True)
            assert apart < 1e-6, (name, level)


def items_only(item: np.ndarray, value: np.ndarray) -> tuple[float, float]:
    """Limits from leaving out items alone, the raters held fixed."""
    ratings = comparable(item, value)
    sums = _Disagreement.of(ratings, "interval")
    of_unit = sums.influences(ratings)[0]
    n = len(of_unit)
    reach = math.exp(t_quantile(0.975, n - 1) * math.sqrt((of_unit**2).sum() * n / (n - 1)))
    ratio = sums.observed / sums.expected
    return 1 - ratio * reach, 1 - ratio / reach


def coverage(simulations: int) -> None:
    print("95 % limits that cover, %\n items raters each mood  alpha   both  items only  width")
    for items, raters, each, mood in DESIGNS:
        truth, hits, width = 1 / (2 + mood**2), np.zeros(2), 0.0
        for seed in range(simulations):
            rng = np.random.default_rng(seed)
            item = np.repeat(np.arange(items), each)
            rater = np.concatenate([rng.choice(raters, each, replace=False) for _ in range(items)])
            latent = rng.normal(0, 1, items)[item] + rng.normal(0, mood, raters)[rater]
            value = np.round(latent + rng.normal(0, 1, len(item)), 1)
            both = alpha_interval(item, rater, value, level="interval")
            limits = [(both.ci_low, both.ci_high), items_only(item, value)]
            hits += [low <= truth <= high for low, high in limits]
            width += (both.ci_high - both.ci_low) / simulations
        shown = hits / simulations * 100
        print(f"{items:6}{raters:7}{each:5}{mood:5.1f}{truth:7.3f}{shown[0]:7.1f}{shown[1]:12.1f}{width:7.2f}",
              flush=True)  # fmt: skip


def power(simulations: int) -> None:
    """A group of 15 among 90 raters that listens to the item more or less than the others."""
    print("group of 15 of 90 raters: true difference in stated smallest ones, share found at 5 %")
    for gain in (1.0, 1.15, 1.3, 1.5):
        found, size = 0, []
        for seed in range(simulations):
            rng = np.random.default_rng(seed)
            item = np.repeat(np.arange(100), 18)
            rater = np.concatenate([rng.choice(90, 18, replace=False) for _ in range(100)])
            few = rater < 15
            latent = rng.normal(0, 1, 100)[item] * np.where(few, gain, 1.0) + rng.normal(0, 0.4, 90)[rater]
            value = np.clip(np.round(latent + rng.normal(0, 1, len(item)) + 3), 0, 6)
            label = np.where(few, "few", "many")
            one = group_agreement(item, rater, value, label, level="interval", permutations=199, rng=rng)[0]
            found += one.p_difference <= 0.05
            size.append(one.difference / one.mde_difference)
        print(f"  {np.mean(size):6.2f} {100 * found / simulations:6.1f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--simulations", type=int, default=2000)
    for name in ("speed", "peer", "coverage", "power"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    every = not (options.speed or options.peer or options.coverage or options.power)
    sets = {"990 items x 73": synthetic(990, 73), "24,000 items x 3": synthetic(24_000, 3)}
    if options.data.is_dir():
        sets |= {name: public(name, options.data) for name in SETS}
    if every or options.speed:
        speed(sets)
    if every or options.peer:
        peer(sets)
    if every or options.coverage:
        coverage(options.simulations)
    if every or options.power:
        power(options.simulations // 5)


if __name__ == "__main__":
    main()
