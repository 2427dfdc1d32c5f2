"""Rows of an audit: columns of one length, the rows that were measured, and which rows belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.stats.columns import check_lengths, design_weights, label_column, numbers
from rlhf_fair.stats.sample import Codes, Floats, cluster_codes

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
    """The rows in which every column is finite; columns of different lengths and weights that are not positive are
    errors, as in `rlhf_fair.stats.sample.sample`."""
    arrays = {name: numbers(name, column) for name, column in columns.items()}
    first, *_ = arrays
    n = len(arrays[first])
    check_lengths({**arrays, "weights": weights, **{f"clusters[{i}]": way for i, way in enumerate(clusters)}}, n, first)
    kept = np.ones(n, dtype=bool)
    for array in arrays.values():
        kept &= np.isfinite(array)
    return Rows(
        columns={name: array[kept] for name, array in arrays.items()},
        clusters=tuple(cluster_codes(label_column(way))[kept] for way in clusters),
        weights=None if weights is None else design_weights(weights, n)[kept],
        kept=kept,
    )
