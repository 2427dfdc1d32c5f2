"""Values of metrics by group, as fairlearn's `MetricFrame` tabulates them; no uncertainty here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.rates import RowMetric
from rlhf_fair.stats.sample import Codes, Floats, encode

Compare = Literal["between_groups", "to_overall"]


@dataclass(frozen=True)
class Counts:
    """Input rows = reported + excluded (not measured) + unknown (a group or stratum is missing)."""

    input: int
    reported: int
    excluded: int
    unknown: int


@dataclass(frozen=True, eq=False)
class GroupValues:
    """Tables with one row for each combination of the features' levels; an empty combination is NaN.

    ``between_groups`` compares the largest with the smallest group, ``to_overall`` the group farthest from the overall
    value; with control features there is one comparison for each stratum.

    ``values``: metric -> (n,) row values, NaN where a row does not count. ``measured``: (n,) True where all that some
    metric needs is known.
    """

    values: Mapping[str, Floats]
    metrics: Mapping[str, RowMetric]
    measured: Any
    sensitive: pd.DataFrame
    control: pd.DataFrame
    clusters: tuple[Any, ...]
    weights: Floats | None

    @cached_property
    def counts(self) -> Counts:
        """What became of the input rows."""
        known = self._cell >= 0
        return Counts(
            input=len(known),
            reported=int((known & self.measured).sum()),
            excluded=int((known & ~self.measured).sum()),
            unknown=int((~known).sum()),
        )

    @cached_property
    def by_group(self) -> pd.DataFrame:
        """Value of each metric in each stratum and group; index: control levels, then sensitive levels."""
        return self._aggregate(self._cell, self._index)

    @cached_property
    def n_by_group(self) -> pd.DataFrame:
        """Rows behind each value of `by_group`."""
        n = {
            name: np.bincount(self._cell[use], minlength=len(self._index))
            for name, x in self.values.items()
            for use in [(self._cell >= 0) & np.isfinite(x)]
        }
        return pd.DataFrame(n, index=self._index)

    @cached_property
    def overall(self) -> pd.Series | pd.DataFrame:
        """Value of each metric over all rows with a known group; by stratum where there are control features."""
        if self.control.empty:
            return self._aggregate(np.where(self._cell >= 0, 0, -1), pd.RangeIndex(1)).iloc[0].rename(None)
        n_groups = self._n_groups
        return self._aggregate(np.where(self._cell >= 0, self._cell // n_groups, -1), self._strata)

    def group_min(self) -> Any:
        """The smallest group value of each metric (by stratum)."""
        return self._by_stratum(lambda table: table.min())

    def group_max(self) -> Any:
        """The largest group value of each metric (by stratum)."""
        return self._by_stratum(lambda table: table.max())

    def difference(self, method: Compare = "between_groups") -> Any:
        """Largest difference, >= 0; 0 = parity. A plug-in value, biased upwards: see `spread` for one with a test."""
        if method == "between_groups":
            return self.group_max() - self.group_min()
        return self._against_overall(method, lambda value, overall: (value - overall).abs().max())

    def ratio(self, method: Compare = "between_groups") -> Any:
        """Smallest ratio, in [0, 1]; 1 = parity. A plug-in value, biased downwards."""
        if method == "between_groups":
            return self.group_min() / self.group_max()

        def smallest(value: pd.DataFrame, overall: pd.Series) -> pd.Series:
            ratio = value / overall
            return ratio.where(ratio <= 1, 1 / ratio).min()

        return self._against_overall(method, smallest)

    def _aggregate(self, cell: Codes, index: pd.Index) -> pd.DataFrame:
        weight = np.ones(len(cell)) if self.weights is None else self.weights
        columns = {}
        for name, x in self.values.items():
            use = (cell >= 0) & np.isfinite(x)
            total = np.bincount(cell[use], weight[use], len(index))
            top = np.bincount(cell[use], (weight * x)[use], len(index))
            columns[name] = np.divide(top, total, out=np.full(len(index), np.nan), where=total > 0)
        return pd.DataFrame(columns, index=index)

    def _by_stratum(self, summary: Callable[[pd.DataFrame], pd.Series]) -> Any:
        if self.control.empty:
            return summary(self.by_group)
        starts = range(0, len(self._index), self._n_groups)
        return pd.DataFrame(
            [summary(self.by_group.iloc[start : start + self._n_groups]) for start in starts], index=self._strata
        )

    def _against_overall(self, method: str, summary: Callable[[pd.DataFrame, Any], pd.Series]) -> Any:
        if method != "to_overall":
            raise SettingsError(f"method {method!r}; allowed: between_groups, to_overall")
        if self.control.empty:
            return summary(self.by_group, self.overall)
        rows = [
            summary(self.by_group.iloc[start : start + self._n_groups], self.overall.iloc[stratum])
            for stratum, start in enumerate(range(0, len(self._index), self._n_groups))
        ]
        return pd.DataFrame(rows, index=self._strata)

    @cached_property
    def _levels(self) -> list[tuple[Codes, tuple[Hashable, ...]]]:
        table = pd.concat([self.control, self.sensitive], axis=1)
        return [encode(table.iloc[:, column]) for column in range(table.shape[1])]

    @cached_property
    def _cell(self) -> Codes:
        """(n,) position of each row in the table of all combinations; -1 where a level is unknown."""
        cell, known = np.zeros(len(self.sensitive), dtype=np.intp), np.ones(len(self.sensitive), dtype=bool)
        for codes, labels in self._levels:
            cell, known = cell * len(labels) + codes, known & (codes >= 0)
        return np.where(known, cell, -1)

    @cached_property
    def _index(self) -> pd.Index:
        names = [*self.control.columns, *self.sensitive.columns]
        labels = [labels for _, labels in self._levels]
        return (
            pd.MultiIndex.from_product(labels, names=names) if len(labels) > 1 else pd.Index(labels[0], name=names[0])
        )

    @property
    def _strata(self) -> pd.Index:
        names, labels = list(self.control.columns), [labels for _, labels in self._levels[: self.control.shape[1]]]
        return (
            pd.MultiIndex.from_product(labels, names=names) if len(labels) > 1 else pd.Index(labels[0], name=names[0])
        )

    @property
    def _groups(self) -> tuple[Hashable, ...]:
        return encode(self.sensitive)[1]

    @property
    def _n_groups(self) -> int:
        return int(np.prod([len(labels) for _, labels in self._levels[self.control.shape[1] :]]))
