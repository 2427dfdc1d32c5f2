"""A gap between two groups as a confidence sequence: independent units become contrasts, contrasts are bet on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.confidence_sequence import ConfidenceSequence, Interval

Floats = NDArray[np.float64]
Design = Literal["crossed", "nested"]


class GapSequence:
    """Mean of ``group`` less mean of ``reference``, from independent units that arrive in random order; 0 = parity.

    Rows have scores within ``bounds`` (low, high); the gap lies within plus or minus high - low. One contrast is one
    observation of a `ConfidenceSequence`:

    - ``crossed``: a unit holds rows of both groups (a scenario asked about everybody). Its contrast is the difference
      of its two group means, and the gap is the mean contrast over units. What units share (the names) is given.
    - ``nested``: a unit belongs to one group (a name, a single prompt). The i-th unit of the group is set against the
      i-th of the reference, in order of arrival. For groups of equal size this is narrower than two sequences at
      alpha / 2 whose bounds are subtracted: the standard deviation of a pair is sqrt(2) of one unit's, while two
      intervals add up to 2, and alpha is not split. Where groups differ in size, ``per_contrast`` = (k, 1) sets the
      mean of k units of the group against one of the reference, so that few units are left without a partner.

    A unit without a measured row in a group it should hold is left out, so the gap is the one among measured units.
    """

    def __init__(
        self,
        group: str,
        reference: str,
        *,
        bounds: tuple[float, float],
        design: Design,
        per_contrast: tuple[int, int] = (1, 1),
        alpha: float = 0.05,
        targets: Sequence[int] = (),
    ) -> None:
        if design not in ("crossed", "nested"):
            raise SettingsError(f"design = {design!r}; allowed: 'crossed', 'nested'")
        if min(per_contrast) < 1:
            raise SettingsError(f"per_contrast = {per_contrast}: both numbers of units must be at least 1")
        self.group, self.reference, self.design = group, reference, design
        self.contrasts = ConfidenceSequence(bounds[0] - bounds[1], bounds[1] - bounds[0], alpha=alpha, targets=targets)
        self.rows = 0
        self._seen: set[object] = set()
        self._waiting: tuple[list[float], list[float]] = ([], [])
        self._per_contrast = per_contrast

    @property
    def unpaired(self) -> int:
        """Measured units that still wait for a partner; always 0 where crossed."""
        return sum(map(len, self._waiting))

    def add(self, values: ArrayLike, groups: ArrayLike, units: ArrayLike) -> None:
        """Take in whole units; (n,) arrays of scores (NaN = missing), group labels and unit labels, in order.

        Rows of other groups are passed over. All rows of one unit must come in one call.
        """
        x, labels, names = np.asarray(values, dtype=float), np.asarray(groups), np.asarray(units)
        self._claim_units(names[(labels == self.group) | (labels == self.reference)])
        of_group = _unit_means(x, names, labels == self.group)
        of_reference = _unit_means(x, names, labels == self.reference)
        if self.design == "crossed":
            new = (of_group - of_reference)[np.isfinite(of_group - of_reference)]
        else:
            both = np.isfinite(of_group) & np.isfinite(of_reference)
            if both.any():
                raise RowError(f"a unit holds both {self.group!r} and {self.reference!r}: the design is not nested")
            new = self._pair(of_group[np.isfinite(of_group)], of_reference[np.isfinite(of_reference)])
        self.rows += int((np.isfinite(x) & ((labels == self.group) | (labels == self.reference))).sum())
        self.contrasts.add(new)

    def update(self, values: ArrayLike, groups: ArrayLike, units: ArrayLike) -> Interval:
        """`add`, then the interval of this moment."""
        self.add(values, groups, units)
        return self.contrasts.interval

    def estimate(self) -> Estimate:
        """The mean contrast with the running intersection; ``n_clusters`` counts contrasts, ``n`` measured rows."""
        return self.contrasts.estimate(n=self.rows)

    def _pair(self, of_group: Floats, of_reference: Floats) -> Floats:
        for waiting, arrived in zip(self._waiting, (of_group, of_reference), strict=True):
            waiting.extend(arrived.tolist())
        ready = min(len(w) // k for w, k in zip(self._waiting, self._per_contrast, strict=True))
        means = []
        for waiting, k in zip(self._waiting, self._per_contrast, strict=True):
            means.append(np.array(waiting[: ready * k], dtype=float).reshape(ready, k).mean(axis=1))
            del waiting[: ready * k]
        return np.asarray(means[0] - means[1])

    def _claim_units(self, units: NDArray[np.generic]) -> None:
        arrived = set(units.tolist())
        again = arrived & self._seen
        if again:
            raise RowError(f"unit {min(map(str, again))!r} came in an earlier call: hand over whole units")
        self._seen |= arrived


def _unit_means(x: Floats, units: NDArray[np.generic], chosen: NDArray[np.bool_]) -> Floats:
    """(units,) mean of the measured chosen rows of each unit, in order of arrival; NaN where a unit has none."""
    _, first, codes = np.unique(units, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    kept = chosen & np.isfinite(x)
    codes = rank[codes.reshape(-1)][kept]
    counts = np.bincount(codes, minlength=len(first))
    means = np.full(len(first), NAN)
    np.divide(np.bincount(codes, x[kept], len(first)), counts, out=means, where=counts > 0)
    return means
