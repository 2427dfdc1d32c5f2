"""One error rate for alarms that are judged round after round.

With probability at most alpha any alarm ever rings whose truth is within its limit: the changes of comparison j (the
first one follows the second round) are tested at alpha_j, corrected among themselves, and the alpha_j sum to alpha at
most. That is Bonferroni's inequality over rounds, whatever their dependence, with unequal parts (the idea of spending:
Lan & DeMets 1983; of unequal parts over an endless stream: Tian & Ramdas 2021).
"""

from __future__ import annotations

from typing import Literal

from rlhf_fair.errors import SettingsError

Spending = Literal["open", "even"]


def open_ended(alpha: float, comparison: int) -> float:
    """alpha / (j (j + 1)) for the 1-based comparison j; all of them sum to alpha.

    How many rounds there will be plays no part, so verdicts stand when more are run than were planned.

    >>> [round(open_ended(0.06, j), 4) for j in (1, 2, 3)]
    [0.03, 0.01, 0.005]
    """
    return alpha / (comparison * (comparison + 1))


def even(alpha: float, planned: int) -> float:
    """alpha / ``planned`` for each of so many comparisons; more of them than planned would break the promise."""
    return alpha / planned


def spent(spending: Spending, alpha: float, comparison: int, planned: int) -> float:
    """The level of the 1-based ``comparison`` out of ``planned``.

    Raises
    ------
    SettingsError
        There are more comparisons than an even share was planned for.
    """
    if not 0 < alpha < 1 or comparison < 1:
        raise SettingsError(f"alpha {alpha:g}, comparison {comparison}; allowed: between 0 and 1, and from 1 on")
    if spending == "open":
        return open_ended(alpha, comparison)
    if comparison > planned:
        raise SettingsError(f"comparison {comparison} of {planned} planned: an even share of alpha leaves none for it")
    return even(alpha, planned)
