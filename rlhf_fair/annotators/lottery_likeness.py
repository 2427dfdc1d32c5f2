"""What the plans of a lottery have in common: each resembles what is expected of all.

Chances of single people are right under any lottery. Chances of two people together are not: where one plan has nobody
of a price and another has many, a drawn panel says nothing of them, or of nobody else, and no weighting mends that. So
every total of an expected allocation, of each stratum, each price and each level at each price, is held at the whole
number below or above: controlled rounding (Cox 1987). With more than two kinds of totals it is not always possible, so
a plan may miss, and what it misses by is counted in persons. Where strata are many (`WIDE`) most hold less than one
expected person, the margins' tolerance and the joint cells hold the rest, and only the prices' totals are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.annotators.quotas import Quotas

WIDE = 250
"""With more strata plans need resemble each other in their prices alone: programs with all totals take minutes."""

ROUNDING = 1e-6
"""A total this near to a whole number is that number."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Likeness:
    """``low <= totals @ plan <= high``, wherever possible.

    ``totals``: (totals, strata) of 0 and 1, the strata that each counts. ``low``, ``high``: (totals,) persons.
    """

    totals: Any
    low: FloatArray
    high: FloatArray

    @classmethod
    def to(cls, expected: FloatArray, quotas: Quotas) -> Likeness:
        """To the allocation ``expected``, (strata,) persons, fractions allowed."""
        totals = all_totals(quotas) if len(expected) <= WIDE else price_totals(quotas)
        sums = totals @ expected
        return cls(totals, np.floor(sums + ROUNDING), np.ceil(sums - ROUNDING))

    def distance(self, plans: IntArray) -> FloatArray:
        """(plans,) persons by which totals lie outside their bounds, over all totals; 0 = as like as can be."""
        sums = self.totals @ plans.T
        return np.asarray((np.maximum(self.low[:, None] - sums, 0) + np.maximum(sums - self.high[:, None], 0)).sum(0))

    def bind(self, program: IntegerProgram, first: int) -> None:
        """Make the variables of ``program`` from column ``first`` on, one for each total, what it lies outside by."""
        strata, missed = self.totals.shape[1], sparse.eye_array(len(self.low), format="csr")
        blank = sparse.csr_array((len(self.low), first - strata))
        # Bounds that nobody can cross would be rows for nothing.
        short, over = self.low > 0, self.high < self.totals @ program.upper[:strata]
        program.row([self.totals[short], blank[short], missed[short]], self.low[short], np.inf)
        program.row([self.totals[over], blank[over], -missed[over]], -np.inf, self.high[over])


def all_totals(quotas: Quotas) -> Any:
    """(totals, strata): each stratum, each price, and each level of a margin at each price."""
    at_price = price_totals(quotas)
    levels = [quotas.membership.multiply(at_price[[tier]]) for tier in range(at_price.shape[0])]
    kinds: list[Any] = [sparse.eye_array(at_price.shape[1], format="csr"), at_price, *levels]
    stacked: Any = sparse.vstack(kinds, format="csr")
    return stacked[np.diff(stacked.indptr) > 0]


def price_totals(quotas: Quotas) -> Any:
    """(prices, strata)."""
    code, prices = pd.factorize(quotas.strata.price)
    return sparse.csr_array((np.ones(len(code)), (code, np.arange(len(code)))), shape=(len(prices), len(code)))
