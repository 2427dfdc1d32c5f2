"""What has to be known of a kind of audit to compare two: what an item is, how items cluster, how they are measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.audit.findings import Measurement, finding_id
from rlhf_fair.audit.plan import Judging

SAMPLE = "sample"

Again = Callable[[NDArray[np.bool_]], Mapping[str, tuple[float, int]]]
"""From the rows that are kept, (n,) True where kept: finding id -> the number, NaN if none, and the rows it used."""


class Kind(ABC):
    """``key``: the columns that name an item; with several samples of it `SAMPLE` tells them apart.

    ``clusters``: columns by which items belong together, crossed where there are several. ``apart``: a column such that
    no number uses items of two of its values; "" where there is none.
    """

    key: tuple[str, ...]
    clusters: tuple[str, ...]
    apart: str = ""
    policy: Judging

    def prepared(self, records: pd.DataFrame) -> pd.DataFrame:
        """The records with the columns that ``key`` and ``clusters`` name."""
        return records

    @abstractmethod
    def problems(self, records: pd.DataFrame) -> pd.Series:
        """Why a record holds no measured answer; "" where it holds one."""

    @abstractmethod
    def measure(self, records: pd.DataFrame) -> list[Measurement]:
        """All numbers of some of the records."""

    def measure_again(self, records: pd.DataFrame) -> list[Measurement]:
        """The same estimates without what takes long, such as p-values from rearrangements."""
        return self.measure(records)

    def again(self, records: pd.DataFrame) -> Again:
        """How the numbers are computed over and over from some of the records."""

        def numbers(kept: NDArray[np.bool_]) -> Mapping[str, tuple[float, int]]:
            measured = self.measure_again(records[kept].reset_index(drop=True))
            return {finding_id(m): (m.estimate.estimate, m.estimate.n) for m in measured}

        return numbers

    def pair(self, a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The same items in the same order in both, so that each number uses the same of them."""
        return a, b
