"""Do paired delete-a-group intervals cover? Two audits of the same items, simulated with a known change.

    python tests/benchmarks/grouped_jackknife.py            # 1,000 runs of five designs: about a minute on one core

Each design has items in clusters, effects of cluster and item that both audits share, and noise of each audit's own.
``change``: coverage of the interval for B less A. ``size``: of that for |B| - |A|. ``level``: how often p <= 0.05 in
runs without any change. ``contrast``: coverage of `contrast_estimate` on the per-item differences, where the number is
a contrast of means, so that such differences exist.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from rlhf_fair.records import Estimate
from rlhf_fair.stats.absolute_change import absolute_change
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.grouped_jackknife import LeaveOuts, grouped_jackknife, leave_groups_out

Array = np.ndarray


@dataclass(frozen=True)
class Items:
    """(n,) each: the group (0, 1), the clusters in one or two ways, the values in A and B."""

    group: Array
    ways: list[Array]
    a: Array
    b: Array


Number = Callable[[Array, Array], tuple[float, int]]
"""From values and groups to a number and the rows that it used."""


def gap(values: Array, group: Array) -> tuple[float, int]:
    return float(values[group == 1].mean() - values[group == 0].mean()), len(values)


def signed_share(values: Array, group: Array) -> tuple[float, int]:
    """As s_DIS of BBQ: the mean of -1 and 1 among those that are not 0, so that its denominator varies too."""
    named = values[values != 0]
    return float(named.mean()), len(named)


def effects(cluster: Array, sd: float, rng: np.random.Generator) -> Array:
    return rng.normal(0, sd, cluster.max() + 1)[cluster]


def nested(change: float, rng: np.random.Generator) -> Items:
    """Names in two groups, 35 and 15, with 4 to 12 answers each."""
    size = rng.integers(4, 13, 50)
    cluster = np.repeat(np.arange(50), size)
    group = (cluster < 35).astype(int)
    shared, own = effects(cluster, 1.0, rng), effects(cluster, 0.5, rng) + change * group
    noise = rng.normal(0, 1, (2, len(cluster)))
    return Items(group, [cluster], shared + noise[0] - 0.3 * group, shared + own + noise[1] - 0.3 * group)


def crossed(change: float, rng: np.random.Generator) -> Items:
    """30 names by 25 scenarios; both move the change."""
    name, scenario = (codes.reshape(-1) for codes in np.meshgrid(np.arange(30), np.arange(25), indexing="ij"))
    group = name % 2
    shared = effects(name, 0.7, rng) + effects(scenario, 0.7, rng) * (1 + 0.5 * group)
    own = effects(name, 0.4, rng) + effects(scenario, 0.5, rng) * (group - 0.5) + change * group
    noise = rng.normal(0, 1, (2, len(name)))
    return Items(group, [name, scenario], shared + noise[0] + 0.3 * group, shared + own + noise[1] + 0.3 * group)


def templates(change: float, rng: np.random.Generator) -> Items:
    """25 templates of 20 to 60 questions, answered with the stereotype, its opposite or neither."""
    cluster = np.repeat(np.arange(25), rng.integers(20, 61, 25))
    shared, own = effects(cluster, 0.6, rng) + rng.normal(0, 1, len(cluster)), effects(cluster, 0.3, rng)
    sides = [shared + rng.normal(0, 0.5, len(cluster)), shared + own + rng.normal(0, 0.5, len(cluster)) + change]
    a, b = (np.where(x > 0.4, 1.0, np.where(x < -0.4, -1.0, 0.0)) for x in sides)
    return Items(np.zeros(len(cluster), dtype=int), [cluster], a, b)


def sentences(change: float, rng: np.random.Generator) -> Items:
    """1,500 independent pairs of sentences, of which one is preferred."""
    shared = rng.normal(0, 1, 1500)
    a, b = shared + rng.normal(0, 0.5, 1500), shared + rng.normal(0, 0.5, 1500) + change
    return Items(np.ones(1500, dtype=int), [np.arange(1500)], (a > 0) - 0.5, (b > 0) - 0.5)


def near_zero(change: float, rng: np.random.Generator) -> Items:
    """As `nested`, without any gap in A: the side of 0 on which the gaps lie is open."""
    items = nested(change, rng)
    return Items(items.group, items.ways, items.a + 0.3 * items.group, items.b + 0.3 * items.group)


def mean(values: Array, group: Array) -> tuple[float, int]:
    return float(values.mean()), len(values)


DESIGNS: dict[str, tuple[Callable[[float, np.random.Generator], Items], Number, dict[int, float] | None]] = {
    "names in groups, gap": (nested, gap, {1: 1.0, 0: -1.0}),
    "names in groups, gap near 0": (near_zero, gap, {1: 1.0, 0: -1.0}),
    "names by scenarios, gap": (crossed, gap, {1: 1.0, 0: -1.0}),
    "25 templates, signed share": (templates, signed_share, None),
    "1,500 pairs, rate": (sentences, mean, {1: 1.0}),
}


def paired(items: Items, number: Number, rng: np.random.Generator) -> tuple[Estimate, Estimate]:
    """B less A and |B| - |A|."""

    def recompute(kept: Array) -> tuple[Array, Array]:
        (a, n), (b, m) = (number(values[kept], items.group[kept]) for values in (items.a, items.b))
        return np.array([b - a, b + a]), np.array([n + m, n + m], dtype=float)

    leave_outs: list[LeaveOuts] = leave_groups_out(recompute, items.ways, rng=rng)
    full = recompute(np.ones(len(items.a), dtype=bool))[0]
    coefficients = {1: 1.0, 0: -1.0} if number is gap else {int(items.group[0]): 1.0}
    own = [
        contrast_estimate(x, items.group, coefficients, clusters=items.ways, rates=False) for x in (items.a, items.b)
    ]
    df = np.full(2, min(e.df for e in own))
    difference, total = grouped_jackknife(full, leave_outs, scale=np.abs(full).max() + np.zeros(2), most_df=df)
    return difference, absolute_change(difference, total)


def truth(name: str, change: float) -> tuple[float, float]:
    """B less A and |B| - |A| of a very large sample."""
    design, number, _ = DESIGNS[name]
    if design in (nested, crossed, near_zero):
        a = {nested: -0.3, crossed: 0.3, near_zero: 0.0}[design]
        return change, abs(a + change) - abs(a)
    rng = np.random.default_rng(0)
    drawn = [number(x.a, x.group) + number(x.b, x.group) for x in (design(change, rng) for _ in range(8000))]
    total = np.array(drawn)
    a, b = (np.average(total[:, k], weights=total[:, k + 1]) for k in (0, 2))
    return b - a, abs(b) - abs(a)


def covered(e: Estimate, value: float) -> bool:
    return bool(e.ci_low <= value <= e.ci_high)


def simulate(name: str, runs: int, change: float, seed: int) -> dict[str, float]:
    design, number, coefficients = DESIGNS[name]
    b_less_a, grown = truth(name, change)
    rng = np.random.default_rng(seed)
    hits: dict[str, list[bool]] = {"change": [], "size": [], "contrast": [], "level": []}
    for _ in range(runs):
        items = design(change, rng)
        difference, size = paired(items, number, rng)
        hits["change"].append(covered(difference, b_less_a))
        hits["size"].append(covered(size, grown))
        if coefficients is not None:
            each = items.b - items.a
            plain = contrast_estimate(each, items.group, coefficients, clusters=items.ways, rates=False)
            hits["contrast"].append(covered(plain, b_less_a))
        null, _ = paired(design(0.0, rng), number, rng)
        hits["level"].append(null.p_value <= 0.05)
    return {key: 100 * float(np.mean(found)) if found else np.nan for key, found in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| design | change | size | contrast | level |\n| --- | ---: | ---: | ---: | ---: |")
    for position, name in enumerate(DESIGNS):
        found = simulate(name, chosen.runs, 0.4, chosen.seed + position)
        cells = ["–" if np.isnan(x) else f"{x:.1f}" for x in found.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
