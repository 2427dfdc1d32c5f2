"""Gaps with length and refusal partialled out: what is left of a gap between texts of one length.

A group's word may be longer than the reference's, and reward models price length. Values are regressed on an intercept
for each group and on the covariates; a contrast of the intercepts is the gap at equal covariates (Frisch & Waugh 1933).
Unit of the values; null value 0 for a gap. The slopes rest on how rows of one group differ among themselves; where they
do not differ, nothing can be partialled out, and the reason says so.

Intervals sum the regression's influence values within clusters, as `rlhf_fair.metrics.calibration` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import Floats, check_lengths, numbers
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.sample import UNKNOWN, encode

FLAT = 1e-9
"""A covariate that varies less than this share of its own size within groups has no slope."""


def partialled_contrasts(
    values: ArrayLike,
    groups: Any,
    covariates: Mapping[str, ArrayLike],
    contrasts: Mapping[str, Mapping[Hashable, float]],
    *,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
    power: float = 0.8,
) -> dict[str, Estimate]:
    """Name of the contrast -> ``sum_g coefficient_g * intercept_g`` with a cluster-robust interval.

    ``values``: (n,); ``groups``: (n,) labels; ``covariates``: name -> (n,). One group with coefficient 1 is its mean
    where all covariates are 0. ``n`` counts the rows of the contrast's groups. Rows with a NaN or without a group are
    left out.
    """
    y = numbers("values", values)
    columns = {name: numbers(name, column) for name, column in covariates.items()}
    check_lengths(columns, len(y), "values")
    codes, labels = encode(groups)
    x = np.column_stack([*columns.values()]) if columns else np.empty((len(y), 0))
    kept = np.isfinite(y) & np.isfinite(x).all(axis=1) & (codes != UNKNOWN)
    y, x, codes = y[kept], x[kept], codes[kept]
    member = np.asarray(codes[:, None] == np.arange(len(labels)), dtype=float)
    varies = _varies_within(x, member)
    idle = [name for name, moves in zip(columns, varies, strict=True) if not moves]
    note = f"no difference in {' and '.join(idle)} within any group: not partialled out" if idle else ""
    estimates, influence = _least_squares(np.column_stack([member, x[:, varies]]), y)
    ways = [np.asarray(way)[kept] for way in clusters]
    counts = dict(zip(labels, member.sum(axis=0).astype(int), strict=True))
    found = {}
    for name, coefficients in contrasts.items():
        n = sum(counts.get(label, 0) for label in coefficients)
        if not all(counts.get(label, 0) for label in coefficients):
            found[name] = Estimate.not_estimable("a group has no measured rows", n=n)
            continue
        a = np.array([coefficients.get(label, 0.0) for label in labels] + [0.0] * int(varies.sum()))
        # the mean of these is the contrast, and their spread between clusters is its error
        summands = a @ estimates + len(y) * (influence @ a)
        e = mean_estimate(summands, clusters=ways, rates=False, alpha=alpha, power=power)
        found[name] = e.model_copy(update={"n": n, "reason": "; ".join(filter(None, [e.reason, note]))})
    return found


def _varies_within(x: Floats, member: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(k,) whether a covariate takes several values inside some group."""
    means = (member.T @ x) / np.maximum(member.sum(axis=0), 1)[:, None]
    spread = np.abs(x - member @ means).max(axis=0, initial=0)
    return np.asarray(spread > FLAT * np.maximum(np.abs(x).max(axis=0, initial=0), 1))


def _least_squares(design: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coefficients (k,), and (n, k) each row's influence on them, (X'X)^-1 x e; empty groups get 0."""
    inverse = np.linalg.pinv(design.T @ design)
    estimates = inverse @ (design.T @ y)
    return estimates, (design * (y - design @ estimates)[:, None]) @ inverse
