"""Rows of an audit: columns of one length, the rows that were measured, and which rows belong together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import linear_estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.sample import Codes, Floats, cluster_codes, encode

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Measured rows: every column is finite in them.

    ``columns``: name -> (n,); ``clusters``: one (n,) array of codes for each clustering, empty for independent rows;
    ``weights``: (n,) or None; ``kept``: (rows given,) True where a row was measured.
    """

    columns: Mapping[str, Floats]
    clusters: tuple[Codes, ...]
    weights: Floats | None
    kept: Mask

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    @property
    def n(self) -> int:
        return int(self.kept.sum())

    @property
    def unit_weights(self) -> Floats:
        """The weights, 1 where none were given."""
        return np.ones(self.n) if self.weights is None else self.weights

    @property
    def ways(self) -> tuple[Codes, ...]:
        """The clusterings as codes 0, 1, … without holes; independent rows are each a cluster of their own."""
        if not self.clusters:
            return (np.arange(self.n),)
        return tuple(np.unique(way, return_inverse=True)[1].reshape(-1) for way in self.clusters)

    @property
    def n_clusters(self) -> int:
        """The smallest count over the clusterings."""
        return min(len(np.unique(way)) for way in self.ways)

    def take(self, chosen: Mask) -> Rows:
        """The rows where ``chosen`` (n,) is True."""
        kept = self.kept.copy()
        kept[self.kept] = chosen
        return replace(
            self,
            columns={name: column[chosen] for name, column in self.columns.items()},
            clusters=tuple(way[chosen] for way in self.clusters),
            weights=None if self.weights is None else self.weights[chosen],
            kept=kept,
        )


def measured_rows(
    columns: Mapping[str, ArrayLike], *, clusters: Sequence[ArrayLike] = (), weights: ArrayLike | None = None
) -> Rows:
    """The rows in which every column is finite; a column of another length or a weight that
    is not positive is an error."""
    arrays = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
    first, *_ = arrays
    size = arrays[first].shape
    for name, array in arrays.items():
        if array.ndim != 1 or array.shape != size:
            raise RowError(f"{name} has shape {array.shape}; needs one number per row, like {first} {size}")
    ways = [_cluster_way(way, place, size) for place, way in enumerate(clusters)]
    w = None if weights is None else _design_weights(weights, size)
    kept = np.ones(size, dtype=bool)
    for array in arrays.values():
        kept &= np.isfinite(array)
    return Rows(
        columns={name: array[kept] for name, array in arrays.items()},
        clusters=tuple(way[kept] for way in ways),
        weights=None if w is None else w[kept],
        kept=kept,
    )


def t_contrast(
    values: Floats,
    cells: Codes,
    coefficients: Sequence[float],
    ways: Sequence[Codes],
    *,
    weights: Floats | None = None,
    left_out: int = 0,
    alpha: float = 0.05,
) -> Estimate:
    """``sum_c coefficients[c] * mean(values in cell c)`` with t limits, whatever the values.

    For differences and influence values: these may happen to be all 0 or 1, yet are no rates, and the score limits that
    `contrast_estimate` gives to rates would not let them go below 0. ``cells``: (n,) codes, -1 for a row without one.
    """
    a = np.asarray(coefficients, dtype=float)
    used = cells >= 0
    used[used] = a[cells[used]] != 0
    x, cell, w = values[used], cells[used], np.ones(len(values))[used] if weights is None else weights[used]
    if not np.bincount(cell, minlength=len(a))[a != 0].all():
        return Estimate.not_estimable("no measured rows", n=len(x), n_left_out=left_out)
    compact = [np.unique(way[used], return_inverse=True)[1].reshape(-1) for way in ways]
    means = GroupMeans.of(w * x, w, cell, compact, len(a))
    return linear_estimate(means, a, scale=float(np.abs(x).max()), n=len(x), left_out=left_out, alpha=alpha)


def group_codes(groups: Any, n: int) -> tuple[Codes, tuple[Hashable, ...]]:
    """Codes (n,) into the sorted labels; -1 where a label is None or NaN."""
    values = np.asarray(groups)
    if values.shape != (n,):
        raise RowError(f"groups has shape {values.shape}; needs one label per row, ({n},)")
    return encode(values)


def _cluster_way(way: ArrayLike, place: int, size: tuple[int, ...]) -> Codes:
    labels = np.asarray(way)
    if labels.shape != size:
        raise RowError(f"clusters[{place}] has shape {labels.shape}; needs one label per row, {size}")
    return cluster_codes(labels)


def _design_weights(weights: ArrayLike, size: tuple[int, ...]) -> Floats:
    w = np.asarray(weights, dtype=float)
    if w.shape != size:
        raise RowError(f"weights has shape {w.shape}; needs one weight per row, {size}")
    wrong = np.flatnonzero(~(np.isfinite(w) & (w > 0)))
    if len(wrong):
        raise RowError(f"weights row {wrong[0] + 1}: {w[wrong[0]]:g}; allowed: positive finite numbers")
    return w
