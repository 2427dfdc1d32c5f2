from __future__ import annotations

import math

import pytest

from rlhf_fair.stats.intervals import wilson
from rlhf_fair.stats.power import minimum_detectable_effect


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score, without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombe(successes: int, n: int, low: float, high: float) -> None:
    e = wilson(successes, n)
    assert (e.ci_low, e.ci_high) == pytest.approx((low, high), abs=5e-5)
    assert e.estimate == successes / n
    assert (e.n, e.n_clusters) == (n, n)


def test_wilson_of_successes_mirrors_wilson_of_failures() -> None:
    e, mirrored = wilson(3, 17), wilson(14, 17)
    assert (e.ci_low, e.ci_high) == pytest.approx((1 - mirrored.ci_high, 1 - mirrored.ci_low))


def test_no_trials_is_no_rate() -> None:
    e = wilson(0, 0)
    assert math.isnan(e.estimate)
    assert e.reason == "no trials"


def test_detectable_effect_at_large_df() -> None:
    # 1.95996 + 0.84162: the normal quantiles of any table
    assert minimum_detectable_effect(2.0, 1e9) == pytest.approx(2 * (1.959964 + 0.841621), abs=1e-5)
    # Bloom 1995: t of 20 df, 2.086 + 0.860
    assert minimum_detectable_effect(1.0, 20) == pytest.approx(2.086 + 0.860, abs=1e-3)
