"""What the calibration tables measure: one function per table, each returning rows for one simulated world."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from sequences import error_under_optional_stopping
from worlds import World, draw

from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.stats.bootstrap import Resampling, bootstrap_interval
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.equivalence import verdict
from rlhf_fair.stats.simultaneous import all_pairs
from rlhf_fair.stats.spread import spread
from rlhf_fair.stats.wild_bootstrap import wild_bootstrap_estimate

Row = dict[str, object]

SECTIONS = {
    "gap": "Gap between two groups: the default interval",
    "rare": "The same at a rate of 2 %",
    "mean": "Mean or rate of one group: the default interval",
    "rare-mean": "One rate of 2 %",
    "family": "Many equal groups: family-wise error",
    "four-fifths": "Four-fifths of the best rate, 14 equal cells",
    "methods": "Other intervals for a gap",
    "equivalence": "Equivalence: a gap exactly at the margin",
    "sequence": "Confidence sequences, looked at after every unit",
}

INTRODUCTION = """# Calibration

Simulations with a known truth. Made by `make calibrate`; every cell is listed, and those that miss their target are
marked.

Words: *nested* clusters lie in one group each (raters), *paired* ones are shared by all groups (templates), *crossed*
are raters within groups who judge shared items, with both clusterings given to the estimator. *Clusters* counts those
of the smallest group (nested, crossed) or all (paired). *Imbalance* 5: the other group has five times the clusters
(nested, crossed) or five times the rows per cluster (paired). *Unequal*: cluster sizes vary, coefficient of variation
about 1. Clusters have 8 rows on average and an intra-cluster correlation of 0.2."""


LEVEL = 0.05
LOW, HIGH = 0.93, 0.97
SMALL = 25
"""Targets hold from this many clusters on."""


def name(world: World) -> str:
    """``rate 0.05``, ``normal``, ``skewed``."""
    return f"rate {world.rate:g}" if world.values == "rate" else world.values


def effect_of(world: World) -> float:
    """The effect of the power simulations: 10 points of a rate, 0.3 standard deviations of a score."""
    return 0.1 if world.values == "rate" else 0.3


def _gap(world: World, rng: np.random.Generator) -> Estimate:
    rows = draw(world, rng)
    return contrast_estimate(rows.values, rows.groups, {0: 1.0, 1: -1.0}, clusters=rows.clusters)


def _covered(e: Estimate, truth: float) -> float:
    """1 or 0, NaN without an interval."""
    return float(e.ci_low <= truth <= e.ci_high) if np.isfinite(e.ci_low) else np.nan


def gap(world: World, simulations: int, rng: np.random.Generator) -> list[Row]:
    """Coverage and error under no effect; coverage and power under one."""
    effect = effect_of(world)
    under_null = [_gap(world, rng) for _ in range(simulations // 2)]
    under_effect = [_gap(replace(world, effect=effect), rng) for _ in range(simulations // 2)]
    null = np.array([_covered(e, 0) for e in under_null])
    shifted = np.array([_covered(e, effect) for e in under_effect])
    coverage = np.nanmean(np.r_[null, shifted])
    return [
        {
            **_facts(world),
            "coverage": coverage,
            "coverage, no gap": np.nanmean(null),
            "coverage, gap": np.nanmean(shifted),
            "type I error": np.nanmean([e.p_value < LEVEL for e in under_null]),
            "gap": effect,
            "power": np.nanmean([e.p_value < LEVEL for e in under_effect]),
            "median MDE": np.nanmedian([e.mde for e in under_null]),
            "no interval": float(np.isnan(np.r_[null, shifted]).mean()),
            "simulations": 2 * (simulations // 2),
            "outside": not LOW <= coverage <= HIGH,
        }
    ]


def _facts(world: World) -> Row:
    facts = asdict(world)
    kept = {key: facts[key] for key in ("design", "clusters", "imbalance", "unequal")}
    return {**kept, "values": name(world)}


def mean(world: World, simulations: int, rng: np.random.Generator) -> list[Row]:
    """Coverage of one group's mean."""
    truth = {"rate": world.rate, "normal": 0.0, "skewed": 1.0}[world.values]
    covered = []
    for _ in range(simulations):
        rows = draw(world, rng)
        covered.append(_covered(mean_estimate(rows.values, clusters=rows.clusters), truth))
    coverage = float(np.nanmean(covered))
    return [
        {
            "clusters": world.clusters,
            "unequal": world.unequal,
            "values": name(world),
            "coverage": coverage,
            "simulations": simulations,
            "outside": not LOW <= coverage <= HIGH,
        }
    ]


def family(world: World, simulations: int, rng: np.random.Generator) -> list[Row]:
    """Any false alarm among all pairs of equal groups, by several rules."""
    wrong: dict[str, list[bool]] = {"max-t": [], "Holm": [], "uncorrected": [], "max − min test": [], "four-fifths": []}
    for _ in range(simulations // 4):
        rows = draw(world, rng)
        found = spread(rows.values, rows.groups, clusters=rows.clusters, rng=rng, n_rearrangements=199)
        table = found.pairs.table
        wrong["max-t"].append(bool(((table["ci_low"] > 0) | (table["ci_high"] < 0)).any()))
        wrong["Holm"].append(bool((holm(table["p_value"]) < LEVEL).any()))
        wrong["uncorrected"].append(bool((table["p_value"] < LEVEL).any()))
        wrong["max − min test"].append(found.p_value < LEVEL)
        if world.values == "rate":
            rates = pd.Series(rows.values).groupby(rows.groups).mean()
            wrong["four-fifths"].append(bool(rates.min() < 0.8 * rates.max()))
    shares = {rule: float(np.mean(found)) if found else np.nan for rule, found in wrong.items()}
    facts = {"design": world.design, "groups": world.groups, "clusters": world.clusters, "values": name(world)}
    return [{**facts, **shares, "simulations": simulations // 4, "outside": shares["max-t"] > LEVEL + 0.01}]


def four_fifths(rate: float, per_cell: int, simulations: int, rng: np.random.Generator) -> list[Row]:
    """14 cells of independent people with the same rate: how often a bare ratio accuses somebody."""
    cells = 14
    counts = rng.binomial(per_cell, rate, (simulations, cells))
    bare = counts.min(axis=1) < 0.8 * counts.max(axis=1)
    ours = []
    for row in counts[: simulations // 4]:
        values = np.repeat(np.tile([1.0, 0.0], cells), np.c_[row, per_cell - row].ravel())
        table = all_pairs(values, np.repeat(np.arange(cells), per_cell), rng=rng).table
        ours.append(bool(((table["ci_low"] > 0) | (table["ci_high"] < 0)).any()))
    error = float(np.mean(ours))
    return [
        {
            "rate": rate,
            "per cell": per_cell,
            "bare four-fifths": float(bare.mean()),
            "max-t": error,
            "simulations": simulations // 4,
            "outside": error > LEVEL + 0.01,
        }
    ]


def intervals_compared(world: World, simulations: int, rng: np.random.Generator) -> list[Row]:
    """Coverage of every method on the same draws, no gap."""
    covered: dict[str, list[float]] = {}
    for _ in range(simulations // 8):
        rows = draw(world, rng)
        data = (rows.values, rows.groups, {0: 1.0, 1: -1.0})
        found = {
            "default": contrast_estimate(*data, clusters=rows.clusters),
            "rows taken as independent": contrast_estimate(*data),
            "wild": wild_bootstrap_estimate(*data, clusters=rows.clusters, rng=rng),
        }
        for method in ("percentile", "bca", "studentised"):
            resampling = Resampling(method=method, n_boot=499)
            found[method] = bootstrap_interval(*data, clusters=rows.clusters, rng=rng, resampling=resampling)
        for method, e in found.items():
            covered.setdefault(method, []).append(_covered(e, 0))
    facts = {"design": world.design, "clusters": world.clusters, "values": name(world)}
    shares = {method: float(np.nanmean(found)) for method, found in covered.items()}
    return [{**facts, **shares, "simulations": simulations // 8}]


def equivalence(world: World, simulations: int, rng: np.random.Generator) -> list[Row]:
    """How often a gap exactly at the margin is called within it, and how often a gap of 0 is."""
    margin = 0.5
    shares = []
    for effect in (margin, 0.0):
        found = [
            verdict(_gap(replace(world, effect=effect), rng), threshold=margin, margin=margin)
            for _ in range(simulations)
        ]
        shares.append(float(np.mean([judged == Verdict.WITHIN for judged, _ in found])))
    facts = {"design": world.design, "clusters": world.clusters, "margin": margin}
    return [
        {
            **facts,
            "gap = margin": shares[0],
            "gap = 0": shares[1],
            "simulations": simulations,
            "outside": shares[0] > LEVEL,
        }
    ]


def sequence(simulations: int, rng: np.random.Generator) -> list[Row]:
    """Whether the truth is ever excluded by somebody who may stop at any time."""
    rows = [
        {key: value for key, value in row.items() if key != "sequences"}
        for row in error_under_optional_stopping(rng, simulations)
    ]
    return [{**row, "simulations": simulations, "outside": float(str(row["ever excluded"])) > LEVEL} for row in rows]


def summary(section: str, table: pd.DataFrame) -> str:
    """What the table shows, in words computed from it."""
    if section in ("gap", "rare", "mean", "rare-mean", "family"):
        large = table[table["clusters"] >= SMALL]
        small = table[table["clusters"] < SMALL]
        target = "coverage 93–97 %" if section != "family" else "max-t error at most 6 %"
        text = (
            f"Target: {target}. Met in {(~large['outside']).sum()} of {len(large)} cells with {SMALL} clusters or more"
        )
        if len(small):
            text += f", and in {(~small['outside']).sum()} of {len(small)} with fewer"
        text += "."
        if section != "family":
            ranges = [
                f"{part['coverage'].min():.3f} to {part['coverage'].max():.3f}" for part in (large, small) if len(part)
            ]
            text += f" Coverage from {', and from '.join(ranges)}."
        return text
    if section == "methods":
        return "Share of 95 % intervals that cover a gap of 0, all on the same draws."
    return f"Target met in {len(table) - table['outside'].sum()} of {len(table)} cells."
