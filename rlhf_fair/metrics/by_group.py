"""One mean per group, and each group's gap to a reference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.rows import Rows, measured_rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import check_lengths
from rlhf_fair.stats.contrasts import RATE_VALUES, contrast_estimate
from rlhf_fair.stats.sample import UNKNOWN, Codes, Floats, encode


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
    """Measured rows with the code of their group (`UNKNOWN` without one) and the labels the codes stand for.

    ``codes``: (n,). ``missing``: codes of the rows that were not measured.
    """

    rows: Rows
    codes: Codes
    missing: Codes
    labels: tuple[Hashable, ...]
    reference: Hashable

    @property
    def n_missing(self) -> int:
        """Rows given that were not measured."""
        return len(self.missing)

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
    check_lengths({"groups": groups}, len(rows.kept), next(iter(columns)))
    codes, labels = encode(groups)
    if reference is not None and reference not in labels:
        raise SettingsError(f"reference {reference!r} is no group; groups are {list(labels)}")
    return GroupRows(rows, codes[rows.kept], codes[~rows.kept], labels, reference)


def mean_by_group(
    values: ArrayLike,
    groups: Any,
    *,
    reference: Hashable = None,
    null: float | None = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> ByGroup:
    """The mean of ``values`` in every group and its gap to ``reference``, with cluster-robust intervals.

    Range: that of ``values``. The p-value of a group's own mean tests ``null``, see `contrast_estimate`; that of a gap
    tests 0 = parity. A gap is group less reference; rows that share clusters make it a paired one. If all values are 0,
    1 or a tie's 1/2, the means are rates.
    """
    table = group_rows({"values": values}, groups, reference=reference, clusters=clusters, weights=weights)
    x = table.rows["values"]
    rates = bool(np.isin(x, RATE_VALUES).all())
    return compare(table, x, weights=table.rows.weights, null=null, rates=rates, alpha=alpha)


def compare(
    table: GroupRows,
    values: Floats,
    *,
    weights: Floats | None = None,
    null: float | None = None,
    rates: bool = False,
    alpha: float = 0.05,
    failures: Mapping[Hashable, str] | None = None,
) -> ByGroup:
    """As `mean_by_group` on rows already gathered; ``failures`` says why a group has no value."""
    comparison = _Comparison(table, values, weights, rates, alpha, failures or {})
    return ByGroup(
        estimates={label: comparison.contrast({label: 1.0}, null) for label in table.labels},
        gaps={label: comparison.contrast({label: 1.0, table.reference: -1.0}) for label in table.others},
        reference=table.reference,
        n_unknown=int((table.codes == UNKNOWN).sum()),
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

    def contrast(self, coefficients: Mapping[Hashable, float], null: float | None = None) -> Estimate:
        """Of the groups' means; ``n_left_out`` counts the rows of these groups, or of none, that are not in it."""
        table, codes = self.table, [self.table.labels.index(label) for label in coefficients]
        names = np.array([*table.labels, None], dtype=object)  # UNKNOWN is the last
        e = contrast_estimate(
            self.values,
            names[table.codes],
            coefficients,
            clusters=table.rows.clusters,
            weights=self.weights,
            rates=self.rates,
            null=null,
            alpha=self.alpha,
        )
        left_out = e.n_left_out + int(np.isin(table.missing, [*codes, UNKNOWN]).sum())
        reasons = [f"{label}: {self.failures[label]}" for label in coefficients if label in self.failures]
        if reasons:
            n = int(np.isin(table.codes, codes).sum())
            return Estimate.not_estimable("; ".join(reasons), n=n, n_left_out=left_out)
        return e.model_copy(update={"n_left_out": left_out})
