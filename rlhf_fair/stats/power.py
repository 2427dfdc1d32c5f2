"""What a design can see: the minimum detectable effect."""

from __future__ import annotations

from scipy import stats as distributions


def minimum_detectable_effect(standard_error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true effect a two-sided test at ``alpha`` finds with probability ``power``.

    ``(t[1 - alpha/2] + t[power]) * standard_error``, same unit as the effect; 2.80 standard errors for large ``df``
    (Bloom 1995).

    >>> round(minimum_detectable_effect(1.0, 1e9), 2)
    2.8
    """
    t = distributions.t
    return float((t.ppf(1 - alpha / 2, df) + t.ppf(power, df)) * standard_error)
