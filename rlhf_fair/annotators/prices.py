"""What one more person would cost: shadow prices of a plan's limits.

The question for each cell: by how much does the least cost rise if its lower limit (target less tolerance, or minimum)
rises by one person, the size and all other limits staying? Each cell's accepted shortfall stays as it is. Two answers:
the dual of the relaxation (fractions of persons; 0 where the limit does not bind) and, for the limits that bind, the
exact difference of two integer programs, which is missing where no panel could do it. Where limits imply each other
(a level's least and the others' most) the dual may lie with either of them, so believe the exact one. Plans of many
strata, where each program takes a second or two, have exact prices of the dearest limits alone; `basis_note` says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.annotators.quotas import Quotas

RESOLVES, WIDE_RESOLVES = 30, 2
"""Most limits whose program is solved again: those with the largest duals; beyond `RESOLVE_STRATA` strata the second
number, and none where every dual is 0."""

RESOLVE_STRATA = 1_000

NEGLIGIBLE = 1e-9

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def marginal_prices(quotas: Quotas, counts: IntArray) -> pd.DataFrame:
    """One row for each margin cell and each limit: limit, bound (lower), dual, exact, basis.

    ``basis``: ``re-solved`` (believe ``exact``), ``not proved`` (``exact`` is of the best panels found when the search
    was cut short), ``dual`` (not solved again), ``not binding`` (price 0), ``impossible`` (no panel of this size has
    one more). ``exact`` is NaN where it was not computed or there is none.
    """
    limits = [limit for limit in quotas.limits() if limit.kind != "budget"]  # the budget would hide the price
    planned = quotas.finishers @ counts
    low = np.minimum(quotas.targets - quotas.demand.tolerance, planned)
    high = np.maximum(quotas.targets + quotas.demand.tolerance, planned)
    rows = np.vstack([quotas.finishers.toarray(), *(limit.row[None, :] for limit in limits)])
    low = np.r_[low, [limit.low for limit in limits]]
    high = np.r_[high, [limit.high for limit in limits]]
    names = ["=".join(cell) for cell in quotas.cells] + [limit.name for limit in limits]
    solved = _program(quotas, rows, low, high).relaxed(quotas.price)
    dual = np.zeros(len(rows)) if solved is None else np.maximum(solved[1], 0.0)
    size = len(quotas.cells) + next(i for i, limit in enumerate(limits) if limit.kind == "size")
    if solved is not None:
        dual[size] = solved[1][size]  # one more person in all may also save money
    table = pd.DataFrame({"limit": names, "bound": low, "dual": dual})
    exact, basis = (
        np.full(len(rows), np.nan),
        np.where(np.rint(rows @ counts - low) < 1, "dual", "not binding").astype(object),
    )
    binding = [i for i in np.argsort(-np.abs(dual), kind="stable") if basis[i] == "dual"]
    if len(quotas.strata.table) > RESOLVE_STRATA:
        binding = [i for i in binding[:WIDE_RESOLVES] if abs(dual[i]) > NEGLIGIBLE]
    base = _program(quotas, rows, low, high).least(quotas.price) if binding else (np.nan, True)
    for i in binding[:RESOLVES]:
        raised, roof = low.copy(), high.copy()
        # from what whole persons reach now: the limit may be a fraction below it
        raised[i] = (np.ceil(low[i] - 1e-9) if not quotas.leaving else low[i]) + 1
        roof[i] = max(roof[i], raised[i] + (1.0 if quotas.leaving else 0.0))
        cost, proved = _program(quotas, rows, raised, roof).least(quotas.price)
        if np.isfinite(cost - base[0]):
            exact[i], basis[i] = cost - base[0], "re-solved" if proved and base[1] else "not proved"
        elif proved and np.isfinite(base[0]):
            basis[i] = "impossible"
    return table.assign(exact=exact, basis=basis.astype(str))


def basis_note(prices: pd.DataFrame, strata: int) -> str:
    """What the prices rest on, where some are duals alone; empty where all that bind are exact."""
    alone = int((prices["basis"] == "dual").sum())
    if not alone:
        return ""
    why = (
        f"with {strata} strata, more than {RESOLVE_STRATA}, only the {WIDE_RESOLVES} dearest limits are solved again"
        if strata > RESOLVE_STRATA
        else f"only the {RESOLVES} dearest limits are solved again"
    )
    return (
        f"prices of {alone} limits are duals of the relaxation (fractions of persons), above or below those of whole "
        f"persons: {why}"
    )


def _program(quotas: Quotas, rows: FloatArray, low: FloatArray, high: FloatArray) -> IntegerProgram:
    program = IntegerProgram(quotas.strata.available, continuous=0)
    program.row([rows], low, high)
    return program
