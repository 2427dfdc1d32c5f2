"""Measured rows with their group, clusters, weight and stratum: checked and coded once, nothing dropped unseen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.stats.columns import Codes as Codes
from rlhf_fair.stats.columns import Floats as Floats
from rlhf_fair.stats.columns import check_lengths, design_weights, label_column, numbers


@dataclass(frozen=True)
class Sample:
    """The n rows that can be used, and how many could not be.

    ``values``, ``weights``: (n,). ``group``, ``stratum``: (n,) codes into ``labels`` and ``strata``. ``ways``: one (n,)
    array of cluster codes for each way in which rows belong together; never empty, since independent rows are
    clusters of one. Input rows = n + ``n_missing`` (no finite value) + ``n_unknown`` (no group or no control feature)
    + ``n_other`` (a group nobody asked for); a row is counted under the first that applies, from the right.
    ``n_alone``: usable rows without a cluster label, each a cluster of its own (the most over the ways).
    """

    values: Floats
    group: Codes
    labels: tuple[Hashable, ...]
    ways: tuple[Codes, ...]
    weights: Floats
    stratum: Codes
    strata: tuple[Hashable, ...]
    n_missing: int = 0
    n_unknown: int = 0
    n_other: int = 0
    n_alone: int = 0

    @property
    def rows_per_group(self) -> Codes:
        """(n_groups,) usable rows."""
        return np.bincount(self.group, minlength=len(self.labels))

    @property
    def cell(self) -> Codes:
        """(n,) position of the row in the table strata × groups."""
        return self.stratum * len(self.labels) + self.group

    @cached_property
    def weight_per_cell(self) -> Floats:
        """(n_strata, n_groups) sums of the weights."""
        return self._per_cell(self.weights)

    @cached_property
    def comparable(self) -> NDArray[np.bool_]:
        """(n_strata, n_groups) True where a stratum's group can be compared: it has rows, in two clusters at least.

        Without strata, rows are enough: a group with one cluster has a mean, and its gap has no interval.
        """
        if len(self.strata) == 1:
            return np.asarray(self.weight_per_cell > 0)
        n_cells = self.weight_per_cell.size
        enough = np.ones(self.weight_per_cell.shape, dtype=bool)
        for way in self.ways:
            distinct = np.unique(way * n_cells + self.cell) % n_cells
            enough &= np.bincount(distinct, minlength=n_cells).reshape(enough.shape) >= 2
        return enough

    @property
    def remark(self) -> str:
        """What should be known about rows that were used; empty if nothing."""
        return f"{self.n_alone} rows without a cluster label count as clusters of their own" if self.n_alone else ""

    def _per_cell(self, amounts: Floats) -> Floats:
        shape = (len(self.strata), len(self.labels))
        return np.bincount(self.cell, amounts, shape[0] * shape[1]).astype(float).reshape(shape)


def sample(
    values: ArrayLike,
    groups: Any,
    *,
    labels: Sequence[Hashable] | None = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    control_features: Any = None,
) -> Sample:
    """Line up and code the columns of a comparison.

    Parameters
    ----------
    values: (n,) numbers; rows that are not finite are missing.
    groups: (n,) labels, or a table with one column for each sensitive feature: its rows' combinations are the groups,
        labelled by tuples. None and NaN are unknown.
    labels: the groups to keep and their order; default all that occur, sorted.
    control_features: (n,) labels or a table: the strata. Other parameters as in `contrast_estimate`.

    Raises
    ------
    RowError
        The columns differ in length, or a weight is not a positive finite number.
    """
    x = numbers("values", values)
    groups, control_features = (pd.DataFrame(f) if isinstance(f, dict) else f for f in (groups, control_features))
    columns: dict[str, Any] = {"groups": groups, "control_features": control_features, "weights": weights}
    columns |= {f"clusters[{index}]": way for index, way in enumerate(clusters)}
    check_lengths(columns, len(x), "values")
    w = design_weights(weights, len(x))

    group, names = encode(groups, labels)
    stratum, strata = (np.zeros(len(x), dtype=np.intp), ("",)) if control_features is None else encode(control_features)
    other, unknown = group == OTHER, (group == UNKNOWN) | (stratum == UNKNOWN)
    missing = ~np.isfinite(x)
    keep = ~(other | unknown | missing)
    labelled = [label_column(way)[keep] for way in clusters]
    ways = tuple(map(cluster_codes, labelled)) or (np.arange(int(keep.sum())),)
    return Sample(
        values=x[keep],
        group=group[keep],
        labels=names,
        ways=ways,
        weights=w[keep],
        stratum=stratum[keep],
        strata=strata,
        n_missing=int((missing & ~unknown & ~other).sum()),
        n_unknown=int((unknown & ~other).sum()),
        n_other=int(other.sum()),
        n_alone=max((int(pd.isna(way).sum()) for way in labelled), default=0),
    )


UNKNOWN = -1
OTHER = -2


def encode(features: Any, labels: Sequence[Hashable] | None = None) -> tuple[Codes, tuple[Hashable, ...]]:
    """Codes into the sorted labels (or into ``labels``, in their order); `UNKNOWN` for missing ones, `OTHER` for more.

    A table of several columns is coded by its rows' combinations; one missing part makes the row unknown.
    """
    if getattr(features, "ndim", 1) == 2:
        table = pd.DataFrame(features)
        if table.shape[1] > 1:
            known = table.notna().all(axis=1).to_numpy()
            index = pd.MultiIndex.from_frame(table)
            codes, found = _factorize(index, known)
            return _relabel(codes, [tuple(label) for label in found], labels)
        features = table.iloc[:, 0]
    column = pd.Series(label_column(features))
    codes, found = _factorize(pd.Index(column), column.notna().to_numpy())
    return _relabel(codes, [label.item() if isinstance(label, np.generic) else label for label in found], labels)


def cluster_codes(labels: NDArray[Any]) -> Codes:
    """Codes 0, 1, … of cluster labels; a missing label is a cluster of its own, since nothing ties it to others."""
    codes, found = pd.factorize(pd.Series(labels))
    alone = codes < 0
    codes[alone] = len(found) + np.arange(alone.sum())
    return codes.astype(np.intp)


def cross(ways: Sequence[Codes]) -> Codes:
    """Codes of the intersections of several clusterings."""
    code = ways[0]
    for way in ways[1:]:
        code = np.unique(code * (int(way.max(initial=0)) + 1) + way, return_inverse=True)[1].reshape(-1)
    return code


def signed_intersections(ways: Sequence[Codes]) -> list[tuple[float, Codes]]:
    """All intersections of clusterings with their signs, the clusterings themselves first.

    Variances of crossed clusterings add up by inclusion-exclusion over these (Cameron, Gelbach & Miller 2011).
    """
    sizes = range(1, len(ways) + 1)
    return [(1.0 if size % 2 else -1.0, cross(chosen)) for size in sizes for chosen in combinations(ways, size)]


def _factorize(index: pd.Index, known: NDArray[np.bool_]) -> tuple[Codes, list[Any]]:
    codes = np.full(len(index), UNKNOWN, dtype=np.intp)
    inner, found = pd.factorize(index[known])
    order = sorted(range(len(found)), key=lambda code: _sort_key(found[code]))
    rank = np.empty(len(found), dtype=np.intp)
    rank[order] = np.arange(len(found))
    codes[known] = rank[inner]
    return codes, [found[code] for code in order]


def _sort_key(label: Any) -> tuple[Any, ...]:
    """Numbers in order, everything else by its text; mixed labels do not clash."""
    parts = label if isinstance(label, tuple) else (label,)
    return tuple((0, part, "") if isinstance(part, int | float | np.number) else (1, 0, str(part)) for part in parts)


def _relabel(
    codes: Codes, found: list[Hashable], labels: Sequence[Hashable] | None
) -> tuple[Codes, tuple[Hashable, ...]]:
    if labels is None:
        return codes, tuple(found)
    position = {label: code for code, label in enumerate(labels)}
    mapping = np.array([position.get(label, OTHER) for label in found] + [UNKNOWN], dtype=np.intp)
    return mapping[codes], tuple(labels)
