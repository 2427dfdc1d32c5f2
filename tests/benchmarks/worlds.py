"""Simulated audits with a known truth: who is rated, in which clusters, with which values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Design = Literal["nested", "paired", "crossed"]
"""nested: a cluster (a rater) lies in one group. paired: clusters (templates) are shared by all groups. crossed: raters
nested in groups and items shared by all raters; both are clusterings."""

Values = Literal["rate", "normal", "skewed"]


@dataclass(frozen=True)
class World:
    """One simulated audit's design and truth.

    ``clusters``: in the smallest group (nested, crossed), or shared (paired). ``imbalance``: every group but the first
    has this many times the clusters (nested, crossed) or the rows in each cluster (paired). ``rows``: mean rows in a
    cluster of the first group. ``unequal``: cluster sizes vary with a coefficient of variation of about 1. ``icc``:
    correlation of two rows of a cluster. ``effect``: what the first group's mean has more than the others'.
    """

    design: Design = "nested"
    values: Values = "normal"
    clusters: int = 25
    groups: int = 2
    imbalance: int = 1
    rows: int = 8
    unequal: bool = False
    rate: float = 0.5
    icc: float = 0.2
    effect: float = 0.0


@dataclass(frozen=True)
class Draw:
    """values, groups: (n,). clusters: as estimators take them."""

    values: NDArray[np.float64]
    groups: NDArray[np.intp]
    clusters: list[NDArray[np.intp]] = field(default_factory=list)


def draw(world: World, rng: np.random.Generator) -> Draw:
    """One audit of this world."""
    group, cluster = _rows(world, rng)
    deviate = _shared(world, group, cluster, rng)
    clusters = [cluster]
    share = world.icc
    if world.design == "crossed":
        n_items = 25 if world.clusters < 25 else world.clusters
        item = np.concatenate([rng.permutation(n_items)[:k] for k in np.bincount(cluster).clip(max=n_items)])
        clusters.append(item)
        deviate = np.sqrt(0.5) * (deviate + rng.normal(size=n_items)[item])  # half of the variance each
    return Draw(_values(world, deviate, share, group, rng), group, clusters)


def _rows(world: World, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Group and cluster of every row."""
    times = np.where(np.arange(world.groups) == 0, 1, world.imbalance)
    if world.design == "paired":
        sizes = _sizes(world, world.clusters, rng)[:, None] * times
        owner = np.tile(np.arange(world.groups), world.clusters)
        cluster = np.repeat(np.arange(world.clusters), world.groups)
        return np.repeat(owner, sizes.ravel()), np.repeat(cluster, sizes.ravel())
    owner = np.repeat(np.arange(world.groups), world.clusters * times)
    sizes = _sizes(world, len(owner), rng)
    if world.design == "crossed":
        sizes = sizes.clip(max=25 if world.clusters < 25 else world.clusters)
    return np.repeat(owner, sizes), np.repeat(np.arange(len(owner)), sizes)


def _sizes(world: World, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    if not world.unequal:
        return np.full(n, world.rows)
    return np.maximum(1, np.round(world.rows * rng.lognormal(-0.32, 0.8, n))).astype(np.intp)


def _shared(
    world: World, group: NDArray[np.intp], cluster: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Standard normal: what the rows of a cluster have in common, half of it a group's own where groups share it."""
    n = int(cluster.max()) + 1
    if world.design != "paired":
        return rng.normal(size=n)[cluster]
    own = rng.normal(size=(n, world.groups))
    return np.sqrt(0.5) * (rng.normal(size=n)[cluster] + own[cluster, group])


def _values(
    world: World,
    deviate: NDArray[np.float64],
    icc: float,
    group: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Rows whose mean is the truth: ``rate`` (or 0, or 1 for skewed) plus the effect in the first group."""
    effect = np.where(group == 0, world.effect, 0.0)
    if world.values == "rate":
        first = _chances(world.rate + world.effect, icc)
        p = np.where(group == 0, np.interp(deviate, GRID, first), np.interp(deviate, GRID, _chances(world.rate, icc)))
        return (rng.random(len(group)) < p).astype(float)
    mixed = np.sqrt(icc) * deviate + np.sqrt(1 - icc) * rng.normal(size=len(group))
    if world.values == "normal":
        return mixed + effect
    return stats.expon.ppf(stats.norm.cdf(mixed)) + effect  # mean 1, standard deviation 1, skewness 2


GRID = np.linspace(-6, 6, 12_001)


@lru_cache
def _chances(mean: float, icc: float) -> NDArray[np.float64]:
    """Beta quantiles at `GRID`'s normal probabilities: the correlation of two trials of a cluster is ``icc``."""
    strength = (1 - icc) / icc
    return np.asarray(stats.beta.ppf(stats.norm.cdf(GRID), mean * strength, (1 - mean) * strength))
