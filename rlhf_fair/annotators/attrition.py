"""Expected drop-out: how many to invite so that enough finish, and the chance that too few do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as distributions

from rlhf_fair.annotators.minimums import Cell
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import as_numbers

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DropOut:
    """Rates of leaving before the work is done, in [0, 1).

    A person's own rate (column ``dropout`` of the pool, where not empty) goes first; else the highest rate among the
    cells that hold the person; else ``everybody``.
    """

    everybody: float = 0.0
    cells: tuple[tuple[Cell, float], ...] = ()

    def __post_init__(self) -> None:
        for rate in (self.everybody, *(rate for _, rate in self.cells)):
            if not 0 <= rate < 1:
                raise SettingsError(f"dropout = {rate}; allowed: 0 or more and below 1")

    @classmethod
    def parse(cls, texts: list[str]) -> DropOut:
        """Read ``0.1`` (everybody) and ``gender=man:0.2`` (a cell).

        >>> DropOut.parse(["0.1", "age=old:0.25"]).everybody
        0.1
        """
        everybody, cells = 0.0, []
        for text in texts:
            cell, mark, rate = text.rpartition(":")
            try:
                number = float(rate)
            except ValueError:
                raise SettingsError(f"dropout {text!r}; allowed: a rate, or attribute=level:rate") from None
            if mark:
                cells.append((Cell.parse(cell), number))
            else:
                everybody = number
        return cls(everybody, tuple(cells))

    def retention(self, pool: pd.DataFrame) -> FloatArray:
        """(n,) each person's probability of finishing, in (0, 1]; see `multi_select.canonical_table` for attributes."""
        rate = np.full(len(pool), np.nan)
        for cell, value in self.cells:
            rate[cell.holds(pool)] = np.fmax(rate[cell.holds(pool)], value)
        rate = np.where(np.isnan(rate), self.everybody, rate)
        if "dropout" in pool:
            own = as_numbers(pool["dropout"]).to_numpy(float)
            wrong = pool["dropout"].notna().to_numpy() & ~((own >= 0) & (own < 1))
            if wrong.any():
                found = str(pool["dropout"][wrong].iloc[0])
                raise SettingsError(f"pool: 'dropout' = {found!r}; allowed: 0 or more and below 1, or empty")
            rate = np.where(np.isnan(own), rate, own)
        return 1 - rate


def chance_below(retention: ArrayLike, needed: float) -> float:
    """Probability that fewer than ``needed`` of these people finish, each independently; range [0, 1].

    ``retention``: (n,) probabilities of finishing. The number who finish is Poisson-binomial (Poisson 1837), binomial
    where all are equal. People who leave for a common reason make both tails heavier.

    >>> round(chance_below([0.5, 0.5], 2), 2)
    0.75
    """
    probabilities = np.asarray(retention, dtype=float)
    fewer = int(np.ceil(round(needed, 9))) - 1
    if fewer < 0:
        return 0.0
    if fewer >= len(probabilities):
        return 1.0
    if np.ptp(probabilities) == 0:
        return float(distributions.binom.cdf(fewer, len(probabilities), probabilities[0]))
    return float(np.clip(distributions.poisson_binom.cdf(fewer, probabilities), 0, 1))
