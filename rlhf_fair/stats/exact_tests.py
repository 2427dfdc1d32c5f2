"""Tests on counts: paired before and after, two rates, and the courts' rule of two standard deviations.

All take rows as independent (McNemar: pairs as independent). Where rows share a name, a template or a rater, the
p-values here are too small; use `rlhf_fair.stats.contrasts.contrast_estimate` with clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions
from scipy.stats import contingency

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import Floats, check_among, check_lengths, numbers
from rlhf_fair.stats.intervals import check_counts, newcombe, t_interval

TWO_STANDARD_DEVIATIONS = 2.0
"""A difference of more than "two or three" standard deviations is suspect (Castaneda v. Partida 1977, note 17)."""

TIE = 1 + 1e-7
"""Tables as likely as the observed one up to this factor count as ties, so that rounding splits none (as in R)."""


@dataclass(frozen=True)
class PairedCounts:
    """Binary outcomes of the same items twice: how many were true both times, before only, after only, never."""

    both: int
    only_before: int
    only_after: int
    neither: int
    n_missing: int = 0

    def __post_init__(self) -> None:
        for name, count in vars(self).items():
            if count < 0:
                raise SettingsError(f"{name} = {count}; allowed: counts from 0")

    @classmethod
    def of(cls, before: ArrayLike, after: ArrayLike) -> PairedCounts:
        """Count (n,) paired outcomes, 0 or 1; a pair with a NaN is missing."""
        x, y = numbers("before", before), numbers("after", after)
        check_lengths({"after": y}, len(x), "before")
        check_among("before", x, (0, 1))
        check_among("after", y, (0, 1))
        known = ~(np.isnan(x) | np.isnan(y))
        cells = np.bincount((2 * x[known] + y[known]).astype(np.intp), minlength=4)
        return cls(int(cells[3]), int(cells[2]), int(cells[1]), int(cells[0]), int((~known).sum()))

    @property
    def n(self) -> int:
        """Complete pairs."""
        return self.both + self.only_before + self.only_after + self.neither


@dataclass(frozen=True)
class McNemar:
    """Did the rate change. ``difference``: rate after less rate before, null value 0, t interval over pairs.

    ``odds_ratio``: pairs that changed to true over pairs that changed to false, null value 1; its interval and p-value
    are the exact ones. ``p_exact`` keeps its level for certain; ``p_mid`` is less cautious, rarely above its level.
    """

    counts: PairedCounts
    difference: Estimate
    odds_ratio: Estimate
    p_exact: float
    p_mid: float


def mcnemar(counts: PairedCounts, *, alpha: float = 0.05) -> McNemar:
    """Compare two rates measured on the same items (McNemar 1947; mid-p: Fagerland, Lydersen & Laake 2013).

    Only pairs that changed say anything about a change: under no change they split like a fair coin.

    >>> test = mcnemar(PairedCounts(both=1, only_before=1, only_after=7, neither=12))
    >>> round(test.p_exact, 3), round(test.p_mid, 3)
    (0.07, 0.039)
    """
    rose, changed = counts.only_after, counts.only_after + counts.only_before
    difference = _paired_difference(counts, alpha)
    if changed == 0:
        reason = "no item changed" if counts.n else "no complete pairs"
        # With no discordant pair the coin was never tossed: the only outcome has probability 1.
        missing = Estimate.not_estimable(reason, n=counts.n, n_clusters=counts.n)
        return McNemar(counts, difference, missing, 1.0, 1.0)
    test = distributions.binomtest(rose, changed)
    p_exact = float(test.pvalue)
    share = test.proportion_ci(1 - alpha, method="exact")
    odds_ratio = Estimate(
        estimate=_odds(rose / changed),
        ci_low=_odds(share.low),
        ci_high=_odds(share.high),
        p_value=p_exact,
        n=counts.n,
        n_clusters=counts.n,
    )
    seen = float(distributions.binom.pmf(rose, changed, 0.5))
    p_mid = p_exact - (seen / 2 if 2 * rose == changed else seen)  # an even split lies in both tails
    return McNemar(counts, difference, odds_ratio, p_exact, p_mid)


def _paired_difference(counts: PairedCounts, alpha: float) -> Estimate:
    n, size = counts.n, {"n": counts.n, "n_clusters": counts.n, "n_left_out": counts.n_missing}
    if n == 0:
        return Estimate.not_estimable("no complete pairs", **size)
    mean = (counts.only_after - counts.only_before) / n
    spread = (counts.only_after + counts.only_before) / n - mean**2  # of changes, each +1, 0 or -1
    if n < 2 or spread <= 0:
        return Estimate(estimate=mean, reason="no variation between pairs: an interval cannot be estimated", **size)
    error, df = float(np.sqrt(spread / (n - 1))), n - 1.0
    return t_interval(mean, error, df, alpha=alpha).model_copy(update=size)


@dataclass(frozen=True)
class FisherExact:
    """Two independent rates. ``odds_ratio``: null value 1; ``risk_difference``: group - reference, null value 0."""

    odds_ratio: Estimate
    risk_difference: Estimate
    p_value: float


def fisher_exact(
    successes: int, n: int, reference_successes: int, reference_n: int, *, alpha: float = 0.05
) -> FisherExact:
    """Fisher's exact test (1935) with the conditional odds ratio and its exact interval, and Newcombe's difference.

    The p-value adds the tables no likelier than the observed one, while the odds ratio's interval takes alpha/2 on
    each side; near ``alpha`` the two can disagree (Fay 2010).
    """
    risk_difference = newcombe(successes, n, reference_successes, reference_n, alpha=alpha)
    if not n or not reference_n:
        missing = Estimate.not_estimable("no trials in one of the groups", n=n + reference_n)
        return FisherExact(missing, risk_difference, float("nan"))
    p_value = float(fisher_p_values(successes, n, reference_successes, reference_n))
    counts = {"n": n + reference_n, "n_clusters": n + reference_n}
    chosen = successes + reference_successes
    if chosen in (0, n + reference_n):
        odds_ratio = Estimate.not_estimable("the outcome does not vary", **counts)
    else:
        table = [[successes, n - successes], [reference_successes, reference_n - reference_successes]]
        conditional = contingency.odds_ratio(table, kind="conditional")
        limits = conditional.confidence_interval(1 - alpha)
        odds_ratio = Estimate(
            estimate=float(conditional.statistic),
            ci_low=float(limits.low),
            ci_high=float(limits.high),
            p_value=p_value,
            **counts,
        )
    return FisherExact(odds_ratio, risk_difference.model_copy(update={"p_value": p_value}), p_value)


def fisher_p_values(
    successes: ArrayLike, n: ArrayLike, reference_successes: ArrayLike, reference_n: ArrayLike
) -> Floats:
    """Two-sided p-values of Fisher's exact test, one for each element of the (broadcast) integer arrays; range (0, 1].

    The rate of ``successes`` in ``n`` against the reference's; the p-value is the probability, given both margins, of
    the tables that are no likelier than the observed one.

    >>> fisher_p_values([1, 3], 4, 3, 4).round(4).tolist()
    [0.4857, 1.0]
    """
    a, m, c, k = (
        np.asarray(v, dtype=np.int64) for v in np.broadcast_arrays(successes, n, reference_successes, reference_n)
    )
    if ((a < 0) | (a > m) | (c < 0) | (c > k)).any():
        raise SettingsError("successes lie outside 0 .. n")
    chosen = a + c
    low = np.maximum(0, chosen - k)
    width = int((np.minimum(chosen, m) - low).max(initial=0)) + 1
    tables = low[..., None] + np.arange(width)
    law = distributions.hypergeom((m + k)[..., None], chosen[..., None], m[..., None])
    likelihood = law.pmf(tables)  # 0 beyond a row's own support
    observed = np.take_along_axis(likelihood, (a - low)[..., None], axis=-1)
    p = np.where(likelihood <= observed * TIE, likelihood, 0).sum(axis=-1)
    p = np.where((m == 0) | (k == 0), 1.0, p)  # an empty group leaves one possible table
    return np.asarray(np.minimum(p, 1.0), dtype=float)


def two_sd(successes: ArrayLike, n: ArrayLike, reference_successes: ArrayLike, reference_n: ArrayLike) -> Floats:
    """Difference of two rates in standard deviations of no difference: the pooled z; null value 0, sign of the gap.

    ``(p - p_ref) / sqrt(p̄ (1 - p̄) (1/n + 1/n_ref))``, p̄ over both groups; NaN where a group is empty or the outcome
    does not vary. Courts call |z| > `TWO_STANDARD_DEVIATIONS` suspect.
    """
    a, m, c, k = (np.asarray(v, dtype=float) for v in (successes, n, reference_successes, reference_n))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (a + c) / (m + k)
        z = (a / m - c / k) / np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / k))
    return np.asarray(np.where(np.isfinite(z), z, np.nan), dtype=float)


def shortfall_sd(selected: int, n: int, expected_share: float) -> float:
    """Selected less expected, in binomial standard deviations; null value 0, negative = fewer than expected.

    ``(selected - n·π) / sqrt(n·π (1 - π))`` for the group's share π of those who could have been selected: the
    calculation of Castaneda v. Partida (1977) and Hazelwood School District v. United States (1977).

    >>> round(shortfall_sd(15, 405, 0.154), 1)
    -6.5
    """
    check_counts(selected, n)
    if n < 1 or not 0 < expected_share < 1:
        raise SettingsError(f"n {n!r}, expected_share {expected_share!r}; allowed: n >= 1 and a share between 0 and 1")
    return float((selected - n * expected_share) / np.sqrt(n * expected_share * (1 - expected_share)))


def _odds(share: float) -> float:
    return float("inf") if share >= 1 else float(share / (1 - share))
