"""A lottery over panel plans, so that dearer people keep a chance too, and everybody's chance is known.

One plan takes the cheapest people who meet the targets, which leaves others a probability of 0: no weighting can stand
for them. A lottery draws one of several plans, each of which meets every demand and is as near its targets as the best;
a person's inclusion probability is then the plans' chances times the share of the stratum that each of them takes.

First the cheapest allocation in fractions of persons that gives every stratum what was promised; then plans of whole
persons that resemble it (`lottery_likeness`), and of these the lottery of least expected cost under which every stratum
is drawn often enough. It is a linear program over all plans, solved by column generation, as for citizens' assemblies
(Flanigan et al. 2021), whose lotteries need not resemble each other: they select, and infer nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from rlhf_fair.annotators.integer_program import EXACT, NODE_LIMIT, IntegerProgram
from rlhf_fair.annotators.lottery_likeness import WIDE, Likeness
from rlhf_fair.annotators.quotas import Quotas

COVERING, PRICING = 200, 400
"""Most plans made so that every stratum is in one, and most made to lower the cost."""

OUT_OF_PLACE = 1.0
"""What a person out of place costs, in persons of the highest price."""

NEARLY, FEW_NODES, WIDE_PRICING = 0.1, 20, 60
"""With more than `WIDE` strata: how near to the best a plan is sought, in how many branches, and how often."""

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
    unlike
        Expected persons by which a drawn plan's totals miss those of the allocation aimed at (`lottery_likeness`),
        rounded down or up; 0 = every plan resembles every other.
    """

    plans: IntArray
    chance: FloatArray
    shortfall: float = 0.0
    settled: bool = True
    unlike: float = 0.0

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
    anyhow = _covering(quotas, [cheapest], cheapest == 0)
    promised = np.where(np.max(anyhow, axis=0) > 0, promised, 0.0)
    likeness = Likeness.to(_allocation(quotas, promised, cheapest), quotas)
    plans = _covering(quotas, anyhow, promised > 0, likeness)
    chance, settled = _least_cost(quotas, plans, promised, likeness)
    used = chance > NEGLIGIBLE
    kept, share = np.array(plans)[used], chance[used] / chance[used].sum()
    lacking = np.divide(promised - share @ kept, promised, out=np.zeros(len(promised)), where=promised > 0)
    short = max(float(lacking.max()), 0.0) if lacking.max() > 1e-6 else 0.0
    return Lottery(kept, share, short, settled, float(share @ likeness.distance(kept)))


def _allocation(quotas: Quotas, promised: FloatArray, otherwise: IntArray) -> FloatArray:
    """(strata,) the cheapest fractions of persons that meet every demand and promise.

    Where they contradict each other, all promises are kept to the same share, as large as can be. ``otherwise``: what
    to aim at where the solver finds none.
    """
    program = _equals(quotas, spare=1)
    strata = len(promised)
    blank = sparse.csr_array((strata, program.width - 1 - strata))
    program.row([sparse.eye_array(strata, format="csr"), blank, promised[:, None]], promised, np.inf)
    everything = float(quotas.price @ quotas.strata.available) + 1
    found = program.relaxed(np.r_[quotas.price, np.zeros(program.width - 1 - strata), 1_000 * everything])
    return otherwise.astype(float) if found is None else found[0][:strata]


def _least_cost(
    quotas: Quotas, plans: list[IntArray], promised: FloatArray, likeness: Likeness
) -> tuple[FloatArray, bool]:
    """Chances of ``plans``, to which better ones are added, and whether no further plan would lower the cost.

    A person out of place counts as one of the dearest: where it can be had at all, likeness costs less than that.
    """
    strata, program = len(promised), _equals(quotas, spare=len(likeness.low))
    fare = max(float(quotas.price.max()), NEGLIGIBLE) * OUT_OF_PLACE
    held = program.width - len(likeness.low)
    likeness.bind(program, held)
    wide = strata > WIDE
    gap, nodes = (NEARLY, FEW_NODES) if wide else (EXACT, NODE_LIMIT)
    for _ in range(WIDE_PRICING if wide else PRICING):
        table = np.array(plans)
        cost = table @ quotas.price + fare * likeness.distance(table)
        chance, worth, break_even = _master(table, cost, promised)
        value = np.zeros(program.width)
        value[:strata], value[held:] = quotas.price - worth, fare
        solution = program.improved(value, gap=gap, nodes=nodes)
        if solution is None:
            return chance, False
        plan = np.rint(solution[:strata]).astype(np.int64)
        gain = (quotas.price - worth) @ plan + fare * float(likeness.distance(plan[None, :])[0])
        if gain > break_even - 1e-6 * max(1.0, abs(break_even)):
            return chance, not wide
        plans.append(plan)
    table = np.array(plans)
    return _master(table, table @ quotas.price + fare * likeness.distance(table), promised)[0], False


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


def _covering(
    quotas: Quotas, first: list[IntArray], missing: NDArray[np.bool_], likeness: Likeness | None = None
) -> list[IntArray]:
    """``first``, and plans that hold the strata that are ``missing``, as many at once as can be.

    With ``likeness``, only as many as fit into plans that resemble each other.
    """
    strata, totals = len(missing), 0 if likeness is None else len(likeness.low)
    program = _equals(quotas, spare=strata + totals)
    held = program.width - strata - totals
    taken = sparse.eye_array(strata, format="csr")
    blank = sparse.csr_array((strata, held - strata))
    program.row([-taken, blank, taken], -np.inf, np.zeros(strata))  # held at most as often as taken
    program.row([sparse.csr_array((strata, held)), taken], -np.inf, np.ones(strata))  # and counted once
    gain = np.zeros(program.width)
    # Cost breaks ties only: all of it together weighs less than one stratum.
    gain[:strata] = 0.5 * quotas.price / max(1.0, float(quotas.price.max()) * (quotas.demand.size + 1) * 2)
    if likeness is not None:
        likeness.bind(program, held + strata)
        gain[held + strata :] = 2.0  # nobody is out of place for a stratum's sake
    gap, nodes = (NEARLY, FEW_NODES) if likeness is not None and strata > WIDE else (1e-3, NODE_LIMIT)
    plans, missing = list(first), missing.copy()
    while missing.any() and len(plans) - len(first) < COVERING:
        gain[held : held + strata] = -missing.astype(float)
        solution = program.improved(gain, gap=gap, nodes=nodes)
        if solution is None:
            break
        plan = np.rint(solution[:strata]).astype(np.int64)
        if not np.any(missing & (plan > 0)):
            break
        plans.append(plan)
        missing &= plan == 0
    return plans


def _master(plans: IntArray, cost: FloatArray, promised: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Chances of least expected cost; what one expected person of each stratum is worth; the value to beat.

    ``cost``: (plans,). Where not everybody can have what is promised, all get the same share of it, as large as can be
    (maximin).
    """
    rows = np.flatnonzero(promised)
    fine = 1_000 * (float(np.ptp(cost)) + float(cost.max()) + 1)  # a lack weighs more than any money
    result = optimize.linprog(
        np.r_[cost, fine],
        A_ub=np.c_[-plans[:, rows].T, -promised[rows]],
        b_ub=-promised[rows],
        A_eq=np.r_[np.ones(len(plans)), 0.0][None, :],
        b_eq=[1.0],
        method="highs",
    )
    assert result.x is not None  # a lack of everything is always allowed
    worth = np.zeros(plans.shape[1])
    worth[rows] = -result.ineqlin.marginals
    return np.maximum(result.x[: len(plans)], 0), worth, float(result.eqlin.marginals[0])
