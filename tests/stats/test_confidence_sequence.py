from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.confidence_sequence import (
    TRUNCATION,
    ConfidenceSequence,
    betting_interval,
    log_wealth,
    predictable_bets,
    units_for_equivalence,
)
from rlhf_fair.stats.gap_sequence import GapSequence

ALPHA = 0.05


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "sequences.py"
    spec = importlib.util.spec_from_file_location("sequences", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slow_capital(x: list[float], m: float, alpha: float, targets: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Both bettors' capital after each observation, one step at a time, written down from the definitions."""
    ways: tuple[int | None, ...] = (None, *targets)
    total, squares, variance = 0.0, 0.0, 0.25
    above, below = [], []
    k_above, k_below = [1.0] * len(ways), [1.0] * len(ways)
    for t, value in enumerate(x, start=1):
        for way, target in enumerate(ways):
            schedule = t * math.log(t + 1) if target is None else target
            bet = math.sqrt(2 * math.log(2 * len(ways) / alpha) / (variance * schedule))
            k_above[way] *= 1 + (min(bet, TRUNCATION / m) if m > 0 else bet) * (value - m)
            k_below[way] *= 1 - (min(bet, TRUNCATION / (1 - m)) if m < 1 else bet) * (value - m)
        total += value
        squares += (value - (0.5 + total) / (t + 1)) ** 2
        variance = (0.25 + squares) / (t + 1)
        above.append(sum(k_above) / len(ways))
        below.append(sum(k_below) / len(ways))
    return above, below


def slow_interval(x: list[float], *, running: bool, targets: tuple[int, ...], step: float) -> tuple[float, float]:
    """The candidates of a grid that are left, by trying all of them."""
    last: Callable[[list[float]], float] = max if running else (lambda path: path[-1])
    left = []
    for m in np.arange(0, 1 + step / 2, step):
        above, below = slow_capital(x, float(m), ALPHA, targets)
        if max(last(above), last(below)) < 2 / ALPHA:
            left.append(float(m))
    return min(left), max(left)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("targets", [(), (10, 50)])
@pytest.mark.parametrize(("a", "b", "n"), [(1.0, 1.0, 80), (0.2, 1.8, 60), (20.0, 20.0, 60), (9.0, 0.5, 40)])
def test_equals_a_slow_search_over_all_candidates(
    a: float, b: float, n: int, running: bool, targets: tuple[int, ...]
) -> None:
    x = np.random.default_rng(3).beta(a, b, n)
    step = 1 / 400
    low, high = slow_interval(x.tolist(), running=running, targets=targets, step=step)
    found = betting_interval(x, alpha=ALPHA, running=running, targets=targets)
    # the grid's outermost survivors lie inside the exact bounds, by less than a step
    assert low - step <= found.low <= low
    assert high <= found.high <= high + step


def test_first_bets_by_hand() -> None:
    # before any data the variance is 1/4: sqrt(2 log(40) / (.25 * 1 * log 2)) = sqrt(7.3778 / .17329) = 6.525
    # after a 1: mean (.5 + 1) / 2 = .75, variance (.25 + .0625) / 2 = .15625
    # sqrt(7.3778 / (.15625 * 2 * log 3)) = 4.636
    assert predictable_bets(np.ones(2), alpha=ALPHA)[0] == pytest.approx([6.525, 4.636], abs=1e-3)
    # with one target there are two ways to bet: sqrt(2 log(80) / (.25 * 100)) = sqrt(8.7641 / 25) = .5921
    assert predictable_bets(np.ones(1), alpha=ALPHA, targets=(100,))[1] == pytest.approx([0.5921], abs=1e-4)


def test_evidence_by_hand() -> None:
    sequence = ConfidenceSequence(-1, 1, alpha=ALPHA)
    assert (sequence.e_value(0.0), sequence.p_value(0.0)) == (1.0, 1.0)
    # on [0, 1] the value 1 against the mean 1/2: both bets are cut to .75 / .5 = 1.5; capitals 1.75 and .25
    sequence.update(1.0)
    assert sequence.e_value(0.0) == pytest.approx((1.75 + 0.25) / 2)
    sequence.update(1.0)  # 1.75**2 = 3.0625, .25**2 = .0625
    assert sequence.e_value(0.0) == pytest.approx(1.5625)
    assert sequence.p_value(0.0) == pytest.approx(1 / 1.5625)
    sequence.update(-1.0)  # bets still cut: 3.0625 * .25 and .0625 * 1.75
    assert sequence.e_value(0.0) == pytest.approx((0.765625 + 0.109375) / 2)
    assert sequence.p_value(0.0) == pytest.approx(1 / 1.5625)  # evidence once reached is kept


def test_the_truth_is_hardly_ever_ruled_out_by_who_stops_at_will(simulations: ModuleType) -> None:
    rows = simulations.error_under_optional_stopping(np.random.default_rng(7), 2000, horizon=600)
    assert {row["scenario"] for row in rows} == set(simulations.SCENARIOS)
    for row in rows:
        assert row["ever excluded"] <= ALPHA, row
        assert row["ever excluded, t interval"] > 3 * ALPHA, row  # what the sequence is for


def test_e_values_are_1_on_average_at_a_stopping_time() -> None:
    """Stop where the evidence first doubles, or at the end: the mean at that time is still at most 1."""
    rng = np.random.default_rng(11)
    y = (rng.random((4000, 300)) < 0.3).astype(float)
    bets = predictable_bets(y, alpha=ALPHA)
    capital = (np.exp(log_wealth(y, bets, 0.3)) + np.exp(log_wealth(1 - y, bets, 0.7))) / 2
    reached = capital >= 2
    stop = np.where(reached.any(axis=1), reached.argmax(axis=1), y.shape[1] - 1)
    at_stop = capital[np.arange(len(y)), stop]
    assert at_stop.mean() <= 1 + 3 * stats.sem(at_stop)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_capital_of_a_bettor_above_falls_in_the_candidate(values: list[float], m: float) -> None:
    y = np.array(values)
    bets = predictable_bets(y, alpha=ALPHA)
    higher, lower = log_wealth(y, bets, m + 0.05), log_wealth(y, bets, m)
    assert (higher <= lower + 1e-9).all()


@given(st.lists(st.floats(-3, 5), min_size=1, max_size=50))
def test_laws(values: list[float]) -> None:
    x = np.array(values)
    at_once, one_by_one, mirrored = (ConfidenceSequence(*b) for b in ((-3, 5), (-3, 5), (-5, 3)))
    at_once.update(x)
    mirrored.update(-x)
    previous = one_by_one.running_intersection
    for value in values:
        now = one_by_one.update(value)
        running = one_by_one.running_intersection
        assert running.low >= max(previous.low, now.low) - 1e-9  # never grows, never wider than this moment's
        assert running.high <= min(previous.high, now.high) + 1e-9
        previous = running
    assert one_by_one.interval == pytest.approx(at_once.interval)
    assert mirrored.interval == pytest.approx((-at_once.interval.high, -at_once.interval.low), abs=1e-9)
    low, high = at_once.running_intersection
    assert (at_once.p_value(0.0) <= ALPHA) or (low <= 0.0 <= high)
    if low > -2 and high < 2:
        assert at_once.equivalence_p_value(2.0) <= ALPHA / 2 + 1e-12


def test_a_later_observation_changes_no_earlier_bet() -> None:
    y = np.random.default_rng(0).random(30)
    longer = np.concatenate([y, [0.0, 1.0]])
    of_longer, of_y = (predictable_bets(x, alpha=ALPHA, targets=(5, 80)) for x in (longer, y))
    assert of_longer.shape == (3, 32)
    assert np.array_equal(of_longer[:, :30], of_y)
    changed = predictable_bets(np.r_[y, 1.0, 0.0], alpha=ALPHA, targets=(5, 80))
    assert np.array_equal(of_longer[:, :31], changed[:, :31])  # the 31st bet does not know the 31st observation
    assert (of_longer[:, 31] != changed[:, 31]).all()


def test_shrinks_around_the_truth_and_follows_the_variance() -> None:
    rng = np.random.default_rng(5)
    widths = {}
    for name, x in {"wide": rng.choice([0.0, 1.0], 4000), "narrow": rng.uniform(0.45, 0.55, 4000)}.items():
        sequence = ConfidenceSequence(0, 1)
        for part, n in zip(np.split(x, [100, 1000]), (100, 1000, 4000), strict=True):
            low, high = sequence.update(part)
            assert low < 0.5 < high
            widths[name, n] = high - low
    assert widths["wide", 100] > 2 * widths["wide", 1000] > 3 * widths["wide", 4000]
    assert widths["narrow", 4000] < widths["wide", 4000] / 4


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_width_is_the_papers_approximation(spread: float) -> None:
    """Half-width of about (L + variance / 2 * sum bets²) / sum bets with L = log(2 / alpha), at the true variance."""
    y = np.random.default_rng(6).choice([0.5 - spread, 0.5 + spread], 4000)
    needed, i = math.log(2 / ALPHA), np.arange(1, 4001)
    cut = TRUNCATION / 0.5  # at the true mean; small bets, so that log(1 + x) is x - x² / 2
    bets = np.minimum(np.sqrt(2 * needed / (spread**2 * i * np.log(i + 1))), cut)
    half = (needed + spread**2 / 2 * (bets**2).sum()) / bets.sum()
    low, high = betting_interval(y, alpha=ALPHA, running=False)
    assert high - low == pytest.approx(2 * half, rel=0.03)


def test_targets_narrow_the_interval_there() -> None:
    narrower = []
    for seed in range(20):
        y = np.random.default_rng(seed).choice([0.3, 0.7], 1000)
        low, high = betting_interval(y, alpha=ALPHA, running=True)
        aimed = betting_interval(y, alpha=ALPHA, running=True, targets=(250, 1000))
        narrower.append((aimed.high - aimed.low) / (high - low))
    assert np.mean(narrower) < 0.9


def test_no_equivalence_without_enough_units() -> None:
    for alpha, margin in ((0.05, 0.1), (0.0125, 0.2)):
        needed = units_for_equivalence(margin, 2.0, alpha=alpha)
        sequence = ConfidenceSequence(-2, 2, alpha=alpha)
        sequence.update(np.zeros(int(needed) - 1))
        assert sequence.interval.high >= margin
        low, high = sequence.update(0.0)
        assert -margin < low < high < margin
    assert units_for_equivalence(1e-6, 2.0, alpha=0.05) == math.inf


def test_equivalence_is_a_claim_that_can_fail() -> None:
    rng = np.random.default_rng(2)
    equal, apart = ConfidenceSequence(-1, 1), ConfidenceSequence(-1, 1)
    equal.update(rng.choice([-0.5, 0.5], 3000))
    apart.update(rng.choice([-0.5, 0.5], 3000) + 0.2)
    assert equal.equivalence_p_value(0.1) < 0.01
    assert equal.equivalence_e_value(0.1) > 100
    assert equal.p_value(0.0) > ALPHA
    assert apart.equivalence_p_value(0.1) > 0.5
    assert apart.equivalence_e_value(0.1) < 1
    assert apart.p_value(0.0) < 1e-6


def test_nothing_one_and_a_contradiction() -> None:
    sequence = ConfidenceSequence(0, 1)
    assert sequence.interval == (0, 1)
    assert sequence.estimate().reason == "no measured units"
    sequence.update([math.nan, 0.5])
    assert math.isnan(sequence.estimate(null=0.5).ci_low)
    assert sequence.n == 1
    sequence.update(np.r_[np.zeros(2000), np.ones(20_000)])  # no constant mean
    e = sequence.estimate(null=0.5)
    assert "ruled out" in e.reason
    assert math.isnan(e.ci_low)


def test_users_faults_name_value_and_bounds() -> None:
    with pytest.raises(RowError, match=r"observation 1\.5 lies outside the bounds \[0, 1\]"):
        ConfidenceSequence(0, 1).update([0.5, 1.5])
    with pytest.raises(SettingsError, match="two finite bounds"):
        ConfidenceSequence(0, math.inf)
    with pytest.raises(SettingsError, match=r"alpha = 0"):
        ConfidenceSequence(0, 1, alpha=0)
    begun = ConfidenceSequence(0, 1)
    begun.add(0.5)
    with pytest.raises(SettingsError, match="null value 2"):
        begun.p_value(2)
    with pytest.raises(SettingsError, match="margin = -1"):
        begun.equivalence_p_value(-1)
    with pytest.raises(SettingsError, match=r"targets = \(0,\)"):
        ConfidenceSequence(0, 1, targets=(0,))
    with pytest.raises(SettingsError, match="allowed: 'crossed', 'nested'"):
        GapSequence("a", "b", bounds=(0, 1), design="both")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="per_contrast"):
        GapSequence("a", "b", bounds=(0, 1), design="nested", per_contrast=(0, 1))


def test_a_crossed_unit_is_its_own_contrast() -> None:
    gap = GapSequence("w", "m", bounds=(0, 1), design="crossed")
    # unit s: w (1 + 0) / 2 less m 1 = -.5; unit t: w 1 less m 0 = 1; unit u has no measured m; "x" is passed over
    values = [1, 0, 1, 1, 0, 1, math.nan, 0.3]
    groups, units = ["w", "w", "m", "w", "m", "w", "m", "x"], ["s", "s", "s", "t", "t", "u", "u", "t"]
    gap.update(values, groups, units)
    e = gap.estimate()
    assert e.estimate == pytest.approx(0.25)
    assert (e.n, e.n_clusters) == (6, 2)
    with pytest.raises(RowError, match="unit 's' came in an earlier call"):
        gap.update([1.0], ["w"], ["s"])


def test_nested_units_wait_for_a_partner() -> None:
    gap = GapSequence("w", "m", bounds=(0, 1), design="nested")
    gap.update([1, 0, 1, 1], ["w", "w", "w", "m"], ["a", "a", "b", "c"])  # a: .5 against c: 1; b waits
    assert gap.contrasts.mean == pytest.approx(-0.5)
    assert gap.unpaired == 1
    gap.update([0, math.nan], ["m", "w"], ["d", "e"])  # b: 1 against d: 0; e was not measured
    assert gap.contrasts.mean == pytest.approx((-0.5 + 1) / 2)
    assert (gap.unpaired, gap.estimate().n_clusters) == (0, 2)
    with pytest.raises(RowError, match="not nested"):
        gap.update([1, 0], ["w", "m"], ["f", "f"])


def test_two_units_against_one() -> None:
    gap = GapSequence("w", "m", bounds=(0, 1), design="nested", per_contrast=(2, 1))
    gap.update([1, 0, 1, 1, 1], ["w", "w", "m", "w", "w"], list("abcde"))
    assert gap.contrasts.n == 1  # (1 + 0) / 2 - 1
    assert gap.contrasts.mean == pytest.approx(-0.5)
    gap.update([0], ["m"], ["f"])
    assert gap.contrasts.mean == pytest.approx((-0.5 + 1) / 2)


def test_pairs_are_narrower_than_two_sequences_whose_bounds_are_subtracted() -> None:
    rng = np.random.default_rng(9)
    w, m = rng.beta(2, 2, 800), rng.beta(2, 2, 800)
    gap = GapSequence("w", "m", bounds=(0, 1), design="nested")
    low, high = gap.update(np.r_[w, m], np.repeat(["w", "m"], 800), np.arange(1600))
    of_w, of_m = (ConfidenceSequence(0, 1, alpha=ALPHA / 2).update(x) for x in (w, m))
    assert high - low < (of_w.high - of_m.low) - (of_w.low - of_m.high)


def test_a_planted_gap_is_found_sooner_the_larger_it_is() -> None:
    def stopped(gap: float) -> int:
        rng = np.random.default_rng(4)
        contrasts = rng.choice([-0.5, 0.5], 4000) + gap
        y, needed = (contrasts + 1) / 2, math.log(2 / ALPHA)
        ruled_out = log_wealth(y, predictable_bets(y, alpha=ALPHA), 0.5) >= needed
        return int(ruled_out.argmax()) if ruled_out.any() else len(y)

    assert stopped(0.4) < stopped(0.2) < stopped(0.1) < stopped(0.0) == 4000
