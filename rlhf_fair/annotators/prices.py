"""What one more person would cost: shadow prices of a plan's limits.

The question for each cell: by how much does the least cost rise if its lower limit (target less tolerance, or minimum)
rises by one person, the size and all other limits staying? Each cell's accepted shortfall stays as it is. Two answers:
the dual of the relaxation (fractions of persons; 0 where the limit does not bind) and, for the limits that bind, the
exact difference of two integer programs, which is missing where no panel could do it. Where limits imply each other
(a level's least and the others' most) the dual may lie with either of them, so believe the exact one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.annotators.quotas import Quotas

RESOLVES = 30
"""Most integer programs solved again; wide plans get duals alone beyond `RESOLVE_STRATA` strata."""

RESOLVE_STRATA = 1_000

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def marginal_prices(quotas: Quotas, counts: IntArray) -> pd.DataFrame:
    """One row for each margin cell and each limit: limit, bound (lower), dual, exact, basis.

    ``basis``: ``re-solved`` (believe ``exact``), ``dual`` (not solved again), ``not binding`` (price 0), ``impossible``
    (no panel of this size has one more). ``exact`` is NaN where it was not computed or there is none.
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
    if len(quotas.strata.table) <= RESOLVE_STRATA:
        base = _least(quotas, rows, low, high)
        for i in binding[:RESOLVES]:
            raised, roof = low.copy(), high.copy()
            # from what whole persons reach now: the limit may be a fraction below it
            raised[i] = (np.ceil(low[i] - 1e-9) if not quotas.leaving else low[i]) + 1
            roof[i] = max(roof[i], raised[i] + (1.0 if quotas.leaving else 0.0))
            cost = _least(quotas, rows, raised, roof)
            exact[i] = np.nan if cost is None or base is None else cost - base
            basis[i] = "impossible" if cost is None else "re-solved"
    return table.assign(exact=exact, basis=basis.astype(str))


def _program(quotas: Quotas, rows: FloatArray, low: FloatArray, high: FloatArray) -> IntegerProgram:
    program = IntegerProgram(quotas.strata.available, continuous=0)
    program.row([rows], low, high)
    return program


def _least(quotas: Quotas, rows: FloatArray, low: FloatArray, high: FloatArray) -> float | None:
    best = _program(quotas, rows, low, high).minimise(quotas.price)
    return None if best is None else float(quotas.price @ best)
