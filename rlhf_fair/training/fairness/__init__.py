"""The fairness penalty: a per-sample reward shaping whose policy gradient is the gradient of a group disparity.

Cells c are groups within strata (template, topic; without strata: groups), p_c their shares of the prompts, s_i the
score of sample i and m_c = E[s | c]. For any disparity Phi of the cell means, the objective is J = E[r] - Phi(m). Then

    grad m_c = E[ 1{c_i = c} / p_c * (s_i - b_c) * grad log pi ]         score function; any baseline b_c of the prompt
    grad Phi = sum_c dPhi/dm_c * grad m_c                                chain rule; p_c does not depend on the policy
             = E[ (dPhi/dm_c(i)) / p_c(i) * (s_i - m_c(i)) * grad log pi ]       exchange sum and mean, b_c = m_c
    grad J   = E[ (r_i - price_c(i) * (s_i - m_c(i))) * grad log pi ],   price_c = (dPhi/dm_c) / p_c

so plain policy gradients on the shaped reward in the last line climb J. Half the between-group variance has the price
strength * (m_g - m), and within strata strength * (m_sg - m_s): the share of the stratum cancels. A difference
D = sum_g a_g m_g has kappa * a_g / p_g, or kappa * a_g / p_g|s within strata. Floors, refusals and lengths are further
terms of Phi, each with scores and prices of its own.

Where only a share q of the rows has a group and a score, the means and shares are those of these rows, m_c and p_c|q,
and p_c = q p_c|q is what the price divides by: ``strength`` prices the disparity of whom is scored, however many are.

Subtracting the disparity itself from every reward does nothing: a constant vanishes in any baseline or whitening.
Group means and shares are running estimates, since one batch holds too few samples of each group; the guards are part
of the objective: no group may fall below its reference level, and a group with too few samples is left alone.

Who moves: the reward holds groups in place in proportion to their shares, so closing a gap is cheapest in small
groups. Where nothing else holds, two groups move in the ratio of 1 / p_g, a 10 % minority nine times as far as the
majority, and under either objective: for two groups the variance is p_1 p_2 D^2. At one ``strength`` a contrast is the
harsher by 1 / (p_1 p_2), with single penalties that grow as 1 / p_g. Floors keep a better-off minority where it is and
let the majority rise to it; ``moved:<group>`` shows either.
"""

from rlhf_fair.training.fairness.settings import FairnessSettings, MultiplierSettings
from rlhf_fair.training.fairness.shaper import FairnessShaper, Shaped
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot
from rlhf_fair.training.fairness.store import GroupState, GroupStore, LocalStore
from rlhf_fair.training.fairness.sums import BatchSums

__all__ = [
    "BatchSums",
    "FairnessSettings",
    "FairnessShaper",
    "GroupSnapshot",
    "GroupState",
    "GroupStore",
    "LocalStore",
    "MultiplierSettings",
    "Shaped",
    "StratifiedSnapshot",
]
