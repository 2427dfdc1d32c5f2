"""Does stopping early keep its error rate? Confidence sequences, and t intervals, looked at after every observation.

python tests/benchmarks/sequences.py --sequences 2000
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

from rlhf_fair.stats.confidence_sequence import log_wealth, predictable_bets
from rlhf_fair.stats.intervals import wilson

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]

FIRST_LOOK = 10
"""The t interval is first looked at after this many observations; the confidence sequence after one."""

NAMES = 8
"""Rows of each group in a unit of the clustered scenario."""


def bernoulli(rate: float) -> Draw:
    """Independent zeros and ones."""
    return lambda rng, sequences, horizon: (rng.random((sequences, horizon)) < rate).astype(float)


def beta(a: float, b: float) -> Draw:
    """Independent values in (0, 1) with mean a / (a + b)."""
    return lambda rng, sequences, horizon: rng.beta(a, b, (sequences, horizon))


def crossed_units(rng: np.random.Generator, sequences: int, horizon: int) -> Floats:
    """Contrasts within units, on [0, 1]: rows in {0, 1}, rates differ between units, the unit's own gap is ±0.3."""
    base, gap = rng.uniform(0.3, 0.7, (sequences, horizon)), rng.choice([-0.3, 0.3], (sequences, horizon))
    group = rng.binomial(NAMES, base + gap / 2) / NAMES
    reference = rng.binomial(NAMES, base - gap / 2) / NAMES
    return np.asarray((group - reference + 1) / 2)


def nested_pairs(rng: np.random.Generator, sequences: int, horizon: int) -> Floats:
    """Pairs of units of two groups, on [0, 1]: equal means (1/3), unequal spread."""
    return np.asarray((rng.beta(1, 2, (sequences, horizon)) - rng.beta(5, 10, (sequences, horizon)) + 1) / 2)


SCENARIOS: dict[str, tuple[Draw, float]] = {
    "Bernoulli, mean 0.5": (bernoulli(0.5), 0.5),
    "Bernoulli, mean 0.1": (bernoulli(0.1), 0.1),
    "Bernoulli, mean 0.01": (bernoulli(0.01), 0.01),
    "beta(10, 30)": (beta(10, 30), 0.25),
    "beta(0.2, 0.8)": (beta(0.2, 0.8), 0.2),
    "gap, crossed units": (crossed_units, 0.5),
    "gap, nested units in pairs": (nested_pairs, 0.5),
}
"""Name -> (draws of shape (sequences, horizon) on [0, 1], their true mean)."""


def ever_excluded(y: Floats, mean: float, *, alpha: float) -> NDArray[np.bool_]:
    """(sequences,) True where the confidence sequence rules ``mean`` out at any time. y: (sequences, horizon)."""
    targets = [max(1, y.shape[1] // part) for part in (16, 4, 1)]  # as an audit of this length chooses them
    bets, needed = predictable_bets(y, alpha=alpha, targets=targets), math.log(2 / alpha)
    above, below = log_wealth(y, bets, mean), log_wealth(1 - y, bets, 1 - mean)
    return np.asarray((np.maximum(above, below) >= needed).any(axis=1))


def ever_outside_t(y: Floats, mean: float, *, alpha: float) -> NDArray[np.bool_]:
    """(sequences,) True where the t interval, computed anew after every observation, ever leaves ``mean`` out."""
    n = np.arange(1, y.shape[1] + 1)
    running = np.cumsum(y, axis=1) / n
    variance = (np.cumsum(y**2, axis=1) - n * running**2) / np.maximum(n - 1, 1)
    half = distributions.t.ppf(1 - alpha / 2, np.maximum(n - 1, 1)) * np.sqrt(np.maximum(variance, 0) / n)
    outside = (np.abs(running - mean) > half) & (variance > 1e-12)  # without variation there is no t interval
    return np.asarray(outside[:, FIRST_LOOK - 1 :].any(axis=1))


def error_under_optional_stopping(
    rng: np.random.Generator, n_sequences: int = 2000, *, horizon: int = 1000, alpha: float = 0.05
) -> list[dict[str, object]]:
    """One row per scenario: how often the truth is ever ruled out, by a reader who stops at the first chance."""
    rows: list[dict[str, object]] = []
    for name, (draw, mean) in SCENARIOS.items():
        y = draw(rng, n_sequences, horizon)
        wrong = int(ever_excluded(y, mean, alpha=alpha).sum())
        rows.append(
            {
                "scenario": name,
                "sequences": n_sequences,
                "horizon": horizon,
                "alpha": alpha,
                "ever excluded": wrong / n_sequences,
                "upper bound": wilson(wrong, n_sequences).ci_high,
                "ever excluded, t interval": float(ever_outside_t(y, mean, alpha=alpha).mean()),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--horizon", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = error_under_optional_stopping(np.random.default_rng(given.seed), given.sequences, horizon=given.horizon)
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
