"""Resampled group metrics and their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.stats.sample import Floats


@dataclass(frozen=True, eq=False)
class Replicates:
    """``draws``: (n_boot, cells, metrics); quantiles with the meaning of fairlearn's ``*_ci``."""

    draws: Floats
    index: pd.Index
    metrics: tuple[str, ...]
    n_groups: int

    def by_group(self, quantiles: Sequence[float]) -> list[pd.DataFrame]:
        """One table for each quantile."""
        found = np.nanquantile(self.draws, quantiles, axis=0)
        return [pd.DataFrame(table, index=self.index, columns=list(self.metrics)) for table in found]

    def difference(self, quantiles: Sequence[float]) -> Floats:
        """(quantiles, strata, metrics) of the largest less the smallest group. Never covers 0: see `spread`."""
        cells = self._strata()
        return np.asarray(np.nanquantile(np.nanmax(cells, axis=2) - np.nanmin(cells, axis=2), quantiles, axis=0))

    def ratio(self, quantiles: Sequence[float]) -> Floats:
        """(quantiles, strata, metrics) of the smallest over the largest group."""
        cells = self._strata()
        return np.asarray(np.nanquantile(np.nanmin(cells, axis=2) / np.nanmax(cells, axis=2), quantiles, axis=0))

    def _strata(self) -> Floats:
        n_boot, _, n_metrics = self.draws.shape
        return self.draws.reshape(n_boot, -1, self.n_groups, n_metrics)
