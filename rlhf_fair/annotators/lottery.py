"""A lottery over panel plans, so that dearer people keep a chance too, and everybody's chance is known.

One plan takes the cheapest people who meet the targets, which leaves others a probability of 0: no weighting can stand
for them. A lottery draws one of several plans, each of which meets every demand and is as near its targets as the best;
a person's inclusion probability is then the plans' chances times the share of the stratum that each of them takes. The
lottery is the one of least expected cost under which every stratum that some plan can hold is drawn often enough. It is
a linear program over all plans, solved by column generation, as for citizens' assemblies (Flanigan et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.annotators.quotas import Quotas

COVERING, PRICING = 200, 60
"""Most plans made so that every stratum is in one, and most made to lower the cost."""

NEGLIGIBLE = 1e-9

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Lottery:
    """Plans and their chances.

    Attributes
    ----------
    plans
        (plans, strata) persons to take.
    chance
        (plans,) probability of each; sums to 1.
    shortfall
        Part of the promised chance that the worst-off stratum lacks, among those that some plan can hold; 0 = none.
    settled
        Whether the expected cost is proved least (to the solver's tolerance), rather than the least when time was up.
    """

    plans: IntArray
    chance: FloatArray
    shortfall: float = 0.0
    settled: bool = True

    @property
    def expected(self) -> FloatArray:
        """(strata,) expected persons."""
        return np.asarray(self.chance @ self.plans)

    def draw(self, rng: np.random.Generator) -> int:
        """The plan to carry out."""
        return int(rng.choice(len(self.chance), p=self.chance)) if len(self.chance) > 1 else 0


def spread(quotas: Quotas, cheapest: IntArray) -> Lottery:
    """The lottery for ``quotas.demand.least_chance``; with 0, the plan ``cheapest`` alone.

    ``quotas`` must have been solved, with ``cheapest`` as its answer.
    """
    least = quotas.demand.least_chance
    if not least:
        return Lottery(cheapest[None, :], np.ones(1))
    available = quotas.strata.available
    promised = least * available * cheapest.sum() / available.sum()
    program = _equals(quotas)
    plans = _covering(quotas, cheapest)
    reach = np.max(plans, axis=0) > 0
    promised = np.where(reach, promised, 0.0)
    settled = False
    for _ in range(PRICING):
        chance, worth, break_even = _master(np.array(plans), quotas.price, promised)
        solution = program.improved(quotas.price - worth)
        plan = None if solution is None else np.rint(solution[: len(cheapest)]).astype(np.int64)
        if plan is None or (quotas.price - worth) @ plan > break_even - 1e-6 * max(1.0, abs(break_even)):
            settled = plan is not None
            break
        plans.append(plan)
    else:
        chance, _, _ = _master(np.array(plans), quotas.price, promised)
    used = chance > NEGLIGIBLE
    kept, share = np.array(plans)[used], chance[used] / chance[used].sum()
    lacking = np.divide(promised - share @ kept, promised, out=np.zeros(len(promised)), where=promised > 0)
    return Lottery(kept, share, max(float(lacking.max()), 0.0) if lacking.max() > 1e-6 else 0.0, settled)


def _equals(quotas: Quotas, spare: int = 0) -> IntegerProgram:
    """The plans as good as the one found: every demand holds, the least total slack, the joint distribution as near."""
    program = quotas.program(spare=spare)
    best = float(quotas.shortfall @ quotas.solution[: len(quotas.shortfall)])
    program.at_most(np.r_[quotas.shortfall, np.zeros(program.width - len(quotas.shortfall))], best)
    # Each joint cell holds what is wanted, rounded down or up, or what the plan found has: no corner of the margins.
    cells = quotas.joint @ sparse.diags_array(quotas.strata.retention)
    found = cells @ quotas.cheapest
    low = np.minimum(np.floor(quotas.joint_targets), found)
    high = np.maximum(np.ceil(quotas.joint_targets), found)
    program.row([cells], low - 1e-9, high + 1e-9)
    return program


def _covering(quotas: Quotas, first: IntArray) -> list[IntArray]:
    """Plans that together hold every stratum that any plan can hold; ``first`` among them."""
    strata = len(first)
    program = _equals(quotas, spare=strata)
    held = program.width - strata
    taken = sparse.eye_array(strata, format="csr")
    blank = sparse.csr_array((strata, held - strata))
    program.row([-taken, blank, taken], -np.inf, np.zeros(strata))  # held at most as often as taken
    program.row([sparse.csr_array((strata, held)), taken], -np.inf, np.ones(strata))  # and counted once
    plans = [first]
    missing = first == 0
    while missing.any() and len(plans) < COVERING:
        gain = np.zeros(program.width)
        gain[held:] = -missing.astype(float)
        # Cost breaks ties only: all of it together weighs less than one stratum.
        gain[:strata] = 0.5 * quotas.price / max(1.0, float(quotas.price.max()) * (quotas.demand.size + 1) * 2)
        solution = program.improved(gain, gap=1e-3)
        if solution is None:
            break
        plan = np.rint(solution[:strata]).astype(np.int64)
        if not np.any(missing & (plan > 0)):
            break
        plans.append(plan)
        missing &= plan == 0
    return plans


def _master(plans: IntArray, price: FloatArray, promised: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Chances of least expected cost; what one expected person of each stratum is worth; the value to beat.

    Where not everybody can have what is promised, all get the same share of it, as large as can be (maximin).
    """
    cost = plans @ price
    rows = np.flatnonzero(promised)
    fine = 1_000 * (float(np.ptp(cost)) + float(price.max()) + 1)  # a lack weighs more than any money
    result = optimize.linprog(
        np.r_[cost, fine],
        A_ub=np.c_[-plans[:, rows].T, -promised[rows]],
        b_ub=-promised[rows],
        A_eq=np.r_[np.ones(len(plans)), 0.0][None, :],
        b_eq=[1.0],
        method="highs",
    )
    assert result.x is not None  # a lack of everything is always allowed
    worth = np.zeros(len(price))
    worth[rows] = -result.ineqlin.marginals
    return np.maximum(result.x[: len(plans)], 0), worth, float(result.eqlin.marginals[0])
