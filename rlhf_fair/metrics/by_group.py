"""One mean per group, and each group's gap to a reference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.rows import Rows, group_codes, measured_rows, t_contrast
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import RATE_VALUES, contrast_estimate
from rlhf_fair.stats.sample import Codes, Floats


@dataclass(frozen=True)
class ByGroup:
    """``estimates``: label -> value of the group. ``gaps``: label -> group less ``reference``; empty without one.

    ``n_unknown`` counts measured rows without a group label, ``n_missing`` rows that were not measured.
    """

    estimates: Mapping[Hashable, Estimate]
    gaps: Mapping[Hashable, Estimate]
    reference: Hashable
    n_unknown: int
    n_missing: int


@dataclass(frozen=True)
class GroupRows:
    """Measured rows with the code of their group (-1: unknown) and the labels the codes stand for."""

    rows: Rows
    codes: Codes
    labels: tuple[Hashable, ...]
    reference: Hashable

    @property
    def n_missing(self) -> int:
        """Rows given that were not measured."""
        return int((~self.rows.kept).sum())

    @property
    def others(self) -> list[Hashable]:
        """The groups to be compared with the reference."""
        return [] if self.reference is None else [label for label in self.labels if label != self.reference]

    def only(self, label: Hashable) -> Rows:
        """The rows of one group."""
        return self.rows.take(self.codes == self.labels.index(label))


def group_rows(
    columns: Mapping[str, ArrayLike],
    groups: Any,
    *,
    reference: Hashable = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
) -> GroupRows:
    """Measured rows with their groups; a group that lost all its rows keeps its label."""
    rows = measured_rows(columns, clusters=clusters, weights=weights)
    codes, labels = group_codes(groups, len(rows.kept))
    if reference is not None and reference not in labels:
        raise SettingsError(f"reference {reference!r} is no group; groups are {list(labels)}")
    return GroupRows(rows, codes[rows.kept], labels, reference)


def mean_by_group(
    values: ArrayLike,
    groups: Any,
    *,
    reference: Hashable = None,
    null: float = 0.0,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> ByGroup:
    """The mean of ``values`` in every group and its gap to ``reference``, with cluster-robust intervals.

    Range: that of ``values``. The p-value of a group's own mean tests ``null`` by a t test (NaN: no such value, no
    p-value); that of a gap tests 0 = parity. A gap is group less reference; rows that share clusters make it a paired
    one. Rates (values 0, 1 or a tie's 1/2) get score limits, see `contrast_estimate`.
    """
    table = group_rows({"values": values}, groups, reference=reference, clusters=clusters, weights=weights)
    x = table.rows["values"]
    return compare(
        table, x, weights=table.rows.weights, null=null, rates=bool(np.isin(x, RATE_VALUES).all()), alpha=alpha
    )


def compare(
    table: GroupRows,
    values: Floats,
    *,
    weights: Floats | None = None,
    null: float = 0.0,
    rates: bool = False,
    alpha: float = 0.05,
    failures: Mapping[Hashable, str] | None = None,
) -> ByGroup:
    """As `mean_by_group` on rows already gathered; ``failures`` says why a group has no value."""
    comparison = _Comparison(table, values, weights, rates, alpha, failures or {})
    return ByGroup(
        estimates={label: comparison.against(null, label) for label in table.labels},
        gaps={label: comparison.contrast({label: 1.0, table.reference: -1.0}) for label in table.others},
        reference=table.reference,
        n_unknown=int((table.codes < 0).sum()),
        n_missing=table.n_missing,
    )


@dataclass(frozen=True)
class _Comparison:
    table: GroupRows
    values: Floats
    weights: Floats | None
    rates: bool
    alpha: float
    failures: Mapping[Hashable, str]

    def contrast(self, coefficients: Mapping[Hashable, float]) -> Estimate:
        """Of the groups' means; score limits for rates, t limits for others."""
        table = self.table
        coded = {table.labels.index(label): a for label, a in coefficients.items()}
        counts = {label: int((table.codes == code).sum()) for label, code in zip(coefficients, coded, strict=True)}
        reasons = [f"{label}: {self.failures[label]}" for label in coefficients if label in self.failures]
        empty = [str(label) for label, count in counts.items() if not count]
        if empty and not reasons:
            reasons = [f"no measured rows in group {', '.join(empty)}"]
        if reasons:
            return Estimate.not_estimable("; ".join(reasons), n=sum(counts.values()), n_left_out=table.n_missing)
        if not self.rates:
            return self._t_limits(coefficients)
        ways = table.rows.clusters
        e = contrast_estimate(self.values, table.codes, coded, clusters=ways, weights=self.weights, alpha=self.alpha)
        return e.model_copy(update={"n_left_out": table.n_missing})

    def against(self, null: float, label: Hashable) -> Estimate:
        """The group's mean, its p-value testing ``null``."""
        e = self.contrast({label: 1.0})
        if not np.isfinite(e.ci_low):
            return e
        if np.isnan(null):
            return e.model_copy(update={"p_value": NAN, "mde": NAN})
        return e.model_copy(update={"p_value": self._t_limits({label: 1.0}, null).p_value})

    def _t_limits(self, coefficients: Mapping[Hashable, float], null: float = 0.0) -> Estimate:
        a = [coefficients.get(label, 0.0) for label in self.table.labels]
        e = t_contrast(
            self.values - null,
            self.table.codes,
            a,
            self.table.rows.ways,
            weights=self.weights,
            left_out=self.table.n_missing,
            alpha=self.alpha,
        )
        return moved(e, null)


def moved(e: Estimate, by: float) -> Estimate:
    """The estimate and its interval moved along the axis; standard error and test stay."""
    return e.model_copy(update={"estimate": e.estimate + by, "ci_low": e.ci_low + by, "ci_high": e.ci_high + by})
