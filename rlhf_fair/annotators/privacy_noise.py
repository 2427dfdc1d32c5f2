"""Differentially private counts: Laplace noise by OpenDP, paid for from the panel's budget.

One person more or less changes one count by 1, so a table of counts in which everybody is in one cell has the
L1 sensitivity 1, and noise of scale 1 / epsilon makes it epsilon-differentially private (Dwork and others 2006).
The cells come from the caller, never from the people: which combinations occur is itself an answer about them.
The noise is drawn by OpenDP from the operating system's randomness. No seed can be given, on purpose: noise that can
be drawn again can be taken away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path

import pandas as pd

from rlhf_fair.annotators.privacy_budget import Balance, spend
from rlhf_fair.annotators.privacy_cells import UNKNOWN, cell_labels
from rlhf_fair.errors import SettingsError

OTHER = "(other)"
"""The level of answers that the caller did not list."""
SENSITIVITY = 1.0


def laplace_half_width(epsilon: float, *, sensitivity: float = SENSITIVITY, alpha: float = 0.05) -> float:
    """Half-width of the interval that holds Laplace noise with probability 1 - ``alpha``.

    P(|noise| > t) = exp(-t · epsilon / sensitivity), so t = ln(1 / alpha) · sensitivity / epsilon; at 95 % that is
    ln 20 times the scale.

    >>> round(laplace_half_width(1.0), 4)
    2.9957
    """
    return math.log(1 / alpha) * sensitivity / epsilon


def private_counts(
    people: pd.DataFrame, levels: Mapping[str, Sequence[str]], *, epsilon: float, ledger: Path
) -> tuple[pd.DataFrame, Balance]:
    """Noisy count of every combination of ``levels`` (column -> its levels), and what is left of the budget.

    Each column also has the levels `OTHER` and ``(unknown)``, so that everybody is in exactly one cell. The table has
    ``count`` (may be negative or broken: rounding is the reader's), ``ci_low`` and ``ci_high``: 95 % of the noise.

    Raises
    ------
    SettingsError
        OpenDP is not installed, the budget does not allow ``epsilon`` (nothing is spent), or a level is listed twice.
    """
    laplace, labels = check_request(people, levels, epsilon)
    names = list(levels)
    for name in names:
        labels[name] = labels[name].where(labels[name].isin([*levels[name], UNKNOWN]), OTHER)
    cells = pd.MultiIndex.from_tuples(product(*([*levels[name], OTHER, UNKNOWN] for name in names)), names=names)
    counts = labels.value_counts().reindex(cells, fill_value=0)
    left = spend(ledger, epsilon, f"counts of {' x '.join(names)}")
    noisy = pd.Series(laplace([float(n) for n in counts]), index=cells, name="count")
    half = laplace_half_width(epsilon)
    table = noisy.reset_index().assign(ci_low=lambda t: t["count"] - half, ci_high=lambda t: t["count"] + half)
    return table, left


def check_request(
    people: pd.DataFrame, levels: Mapping[str, Sequence[str]], epsilon: float
) -> tuple[Callable[[list[float]], list[float]], pd.DataFrame]:
    """What `private_counts` needs besides its budget: the noise and everybody's answers; raises what it raises."""
    laplace = _laplace(epsilon)
    for name, given in levels.items():
        if len({*given, OTHER, UNKNOWN}) < len(given) + 2:
            raise SettingsError(f"levels of {name!r} repeat one, or list {OTHER} or {UNKNOWN}: {list(given)}")
    return laplace, cell_labels(people, list(levels))


def _laplace(epsilon: float) -> Callable[[list[float]], list[float]]:
    """OpenDP's measurement of a vector of counts, its scale rounded up until it costs ``epsilon`` at most."""
    if not 0 < epsilon < math.inf:
        raise SettingsError(f"epsilon is {epsilon}; allowed: a number above 0")
    try:
        dp = import_module("opendp.prelude")
    except ImportError as error:
        raise SettingsError("private counts need OpenDP: pip install 'rlhf-fair[privacy]'") from error
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.l1_distance(T=float)
    scale = SENSITIVITY / epsilon
    while (measurement := dp.m.make_laplace(*space, scale=scale)).map(SENSITIVITY) > epsilon:
        scale = math.nextafter(scale, math.inf)
    found: Callable[[list[float]], list[float]] = measurement
    return found
