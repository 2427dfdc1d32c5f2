"""Student's t at any degrees of freedom, infinity included: scipy's special functions without the distribution wrapper.

The wrapper checks and broadcasts for a tenth of a millisecond a call, which is most of the time of an estimate.
"""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri, stdtr, stdtrit


def t_quantile(probability: float, df: float) -> float:
    """The value that a t variable stays below with this probability.

    >>> round(t_quantile(0.975, 10), 4), round(t_quantile(0.975, math.inf), 4)
    (2.2281, 1.96)
    """
    return float(stdtrit(df, probability) if math.isfinite(df) else ndtri(probability))


def t_p_value(statistic: float, df: float) -> float:
    """Two-sided: the chance of a value at least this far from 0.

    >>> round(t_p_value(-2.2281, 10), 4), t_p_value(0.0, 5)
    (0.05, 1.0)
    """
    below = stdtr(df, -abs(statistic)) if math.isfinite(df) else ndtr(-abs(statistic))
    return float(2 * below)
