"""The correlation of two columns with an interval that assumes neither normal values nor independent rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import Floats, check_lengths, numbers
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.stats.sample import Codes, cluster_codes

FLAT = 1e-12
"""A variance below this share of the whole column's is rounding, not variation."""


def correlation_estimate(
    x: ArrayLike, y: ArrayLike, *, clusters: Sequence[ArrayLike] = (), alpha: float = 0.05
) -> Estimate:
    """Pearson's correlation of ``x`` (n,) and ``y`` (n,); range [-1, 1]; 0 = no linear relation.

    The interval is a t interval on the scale of Fisher's (1921) z = artanh r, where r is nearly symmetric, with the
    delete-one-cluster jackknife's standard error and (clusters - 2) degrees of freedom. For normal pairs that error is
    about Fisher's 1 / sqrt(n - 3); unlike his it holds for values whose spread changes along x (Efron & Tibshirani
    1993, chapter 11). ``standard_error`` is on the scale of r.

    ``clusters``: at most one array (n,); none: rows are independent. Rows with a NaN are left out.
    """
    a, b = numbers("x", x), numbers("y", y)
    check_lengths({"y": b} | {f"clusters[{i}]": way for i, way in enumerate(clusters)}, len(a), "x")
    if len(clusters) > 1:
        raise SettingsError(f"clusters holds {len(clusters)} arrays; allowed: at most 1")
    known = np.isfinite(a) & np.isfinite(b)
    n, left_out = int(known.sum()), int((~known).sum())
    way = cluster_codes(np.asarray(clusters[0])[known]) if clusters else np.arange(n)
    unit = np.unique(way, return_inverse=True)[1].reshape(-1)
    n_clusters = int(unit.max(initial=-1)) + 1
    size = {"n": n, "n_clusters": n_clusters, "n_left_out": left_out}
    if n < 2:
        return Estimate.not_estimable("fewer than 2 measured rows", **size)
    r, without = _correlations(a[known], b[known], unit, n_clusters)
    if not math.isfinite(r):
        return Estimate.not_estimable("a column does not vary", **size)
    if n_clusters < 4 or not np.isfinite(without).all() or (np.abs(np.r_[r, without]) >= 1).any():
        reason = "too few clusters, or all but one lie on a line: no interval can be estimated"
        return Estimate(estimate=r, reason=reason, **size)
    z = np.arctanh(without)
    error = math.sqrt((n_clusters - 1) / n_clusters * float(np.square(z - z.mean()).sum()))
    if error == 0:
        return Estimate(estimate=r, reason="no variation between clusters: an interval cannot be estimated", **size)
    e = t_interval(math.atanh(r), error, n_clusters - 2, alpha=alpha)
    on_r = {name: math.tanh(getattr(e, name)) for name in ("ci_low", "ci_high", "mde")}
    return e.model_copy(update=on_r | size | {"estimate": r, "standard_error": error * (1 - r * r)})


def _correlations(a: Floats, b: Floats, unit: Codes, n_units: int) -> tuple[float, Floats]:
    """The correlation, and (n_units,) those without each unit; NaN where a column does not vary."""
    x, y = a - a.mean(), b - b.mean()
    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    whole = columns.sum(axis=1)
    parts = np.stack([np.bincount(unit, column, n_units) for column in columns])
    n, sx, sy, sxx, syy, sxy = np.c_[whole, whole[:, None] - parts]
    with np.errstate(divide="ignore", invalid="ignore"):
        vx, vy = sxx - sx * sx / n, syy - sy * sy / n
        flat = (vx <= FLAT * whole[3]) | (vy <= FLAT * whole[4])
        r = np.where(flat, np.nan, np.clip((sxy - sx * sy / n) / np.sqrt(vx * vy), -1, 1))
    return float(r[0]), r[1:]
