"""Gaps of several feedback audits judged as one family: is each 0, beyond the margin, or within it?

Three questions are asked of every gap, and each is corrected over the whole family (Holm over the claims,
Benjamini-Hochberg over the others). The rule stands in ``reports/case-study/feedback/family.toml``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.records import Estimate
from rlhf_fair.settings import Settings
from rlhf_fair.stats.corrections import benjamini_hochberg, holm
from rlhf_fair.stats.equivalence import threshold_p_value, tost
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.student_t import t_quantile

BEYOND = "differs, beyond the margin"
SMALL = "differs, within the margin"
OPEN = "differs, size open"
WITHIN = "within the margin"
UNKNOWN = "cannot be known at this size"
UNMEASURED = "not measured"
VERDICTS = (BEYOND, OPEN, SMALL, WITHIN, UNKNOWN, UNMEASURED)
CORRECTED = ("p_naive", "p_clustered", "p_beyond", "p_within")


class Family(Settings):
    """The declaration, see the file."""

    sets: tuple[str, ...]
    alpha: float
    power: float
    margin: float
    claims: str
    exploratory: str


def tests_of(gap: Estimate, *, margin: float, alpha: float) -> dict[str, float]:
    """p-values of the three questions, each two-sided or one-sided and doubled; range [0, 1], NaN where untested."""
    return {
        "p_clustered": gap.p_value,
        "p_beyond": threshold_p_value(gap, threshold=margin, alpha=alpha),
        "p_within": float(np.minimum(1.0, 2 * within_p_value(gap, margin=margin, alpha=alpha))),
    }


def within_p_value(gap: Estimate, *, margin: float, alpha: float) -> float:
    """Of "the gap lies at or beyond the margin": the two one-sided t tests with half the interval as its error.

    Score intervals of rates are not even about the estimate; each side's own half stands for that side's error, so that
    the p-value is below alpha/2 exactly where the interval lies inside the margin.
    """
    below, above = gap.estimate - gap.ci_low, gap.ci_high - gap.estimate
    if not (below > 0 and above > 0):
        return np.nan
    quantile = t_quantile(1 - alpha / 2, gap.df)
    lower, upper = (
        tost(gap.model_copy(update={"standard_error": h / quantile}), margin=margin) for h in (below, above)
    )
    return max(lower.p_low, upper.p_high)


def family_mde(gap: Estimate, *, tests: int, alpha: float, power: float) -> float:
    """The smallest true gap that is found with ``power`` at the family's strictest step, alpha / ``tests``."""
    error = (gap.ci_high - gap.ci_low) / (2 * t_quantile(1 - alpha / 2, gap.df))
    return minimum_detectable_effect(error, gap.df, alpha=alpha / tests, power=power)


def judged(gaps: pd.DataFrame, *, alpha: float) -> pd.DataFrame:
    """``gaps`` with ``*_adjusted`` beside every p-value and two verdicts, ``alone`` without correction and with it."""
    out = gaps.copy()
    claims = (out["role"] == "claim").to_numpy()
    for name in CORRECTED:
        adjusted = np.full(len(out), np.nan)
        adjusted[claims] = holm(out.loc[claims, name])
        adjusted[~claims] = benjamini_hochberg(out.loc[~claims, name])
        out[f"{name}_adjusted"] = adjusted
    return out.assign(alone=verdicts(out, "", alpha), verdict=verdicts(out, "_adjusted", alpha))


def verdicts(gaps: pd.DataFrame, which: str, alpha: float) -> NDArray[np.str_]:
    """(n,) of `VERDICTS`, by the p-values whose names end in ``which``; a gap without a test is not measured."""
    differs, beyond, inside = (gaps[f"{name}{which}"] <= alpha for name in ("p_clustered", "p_beyond", "p_within"))
    cases = [gaps["p_clustered"].isna(), differs & beyond, differs & inside, differs, inside]
    return np.select(cases, [UNMEASURED, BEYOND, SMALL, OPEN, WITHIN], default=UNKNOWN)
