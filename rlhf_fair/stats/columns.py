"""Columns as users give them: one length, allowed values, positive design weights; a fault names the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.records import NAN

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


def numbers(name: str, values: ArrayLike) -> Floats:
    """The column as floats, (n,); refused if it has another shape."""
    column = np.asarray(values, dtype=float)
    if column.ndim != 1:
        raise RowError(f"{name} has shape {column.shape}; allowed: one number per row")
    return column


def label_column(labels: Any) -> NDArray[Any]:
    """(n,) labels of groups or clusters; a missing one (None, NaN) stays missing, also in a plain list of texts.

    >>> label_column(["a", float("nan")]).tolist()
    ['a', nan]
    """
    return labels if isinstance(labels, np.ndarray) else pd.Series(labels).to_numpy()


def check_lengths(columns: Mapping[str, Any], n: int, like: str) -> None:
    """Refuse a column without the ``n`` rows of the column called ``like``; None is a column that was not given."""
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise RowError(f"{name} has {len(column)} rows, {like} has {n}")


def check_among(name: str, values: Floats, allowed: Sequence[float]) -> None:
    """Refuse a value that is neither missing (NaN) nor one of ``allowed``."""
    _refuse(name, values[~np.isnan(values) & ~np.isin(values, allowed)], ", ".join(f"{value:g}" for value in allowed))


def check_shares(name: str, values: Floats) -> None:
    """Refuse a value that is neither missing (NaN) nor in [0, 1]."""
    _refuse(name, values[(values < 0) | (values > 1)], "[0, 1]")


def design_weights(weights: ArrayLike | None, n: int) -> Floats:
    """(n,) the weights, 1 where none are given; refused if one is not a positive finite number."""
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, dtype=float)
    wrong = np.flatnonzero(~(np.isfinite(w) & (w > 0)))
    if len(wrong):
        raise RowError(f"weights row {wrong[0] + 1}: {w[wrong[0]]:g}; allowed: positive finite numbers")
    return w


def kish_effective_n(weights: ArrayLike) -> float:
    """``(Σw)² / Σw²``: the equally weighted rows that say as much; range [1, n]; NaN without weight (Kish 1965).

    >>> round(kish_effective_n([1, 1, 1, 1, 3, 3]), 4)
    4.5455
    """
    w = np.asarray(weights, dtype=float)
    return float(kish_effective_rows(w, np.zeros(len(w), dtype=np.intp), 1)[0])


def kish_effective_rows(weights: Floats, group: Codes, n_groups: int) -> Floats:
    """(G,) `kish_effective_n` of each group; ``weights``, ``group``: (n,)."""
    total, squares = np.bincount(group, weights, n_groups), np.bincount(group, weights**2, n_groups)
    return np.asarray(np.divide(total**2, squares, out=np.full(n_groups, NAN), where=squares > 0))


def _refuse(name: str, wrong: Floats, allowed: str) -> None:
    if len(wrong):
        raise RowError(f"{name} holds {wrong[0]:g}; allowed: {allowed} and NaN for missing")
