"""What chance alone shows, what means can resolve, and how far noisy ones are drawn to the overall mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness import (
    BatchSums,
    FairnessSettings,
    FairnessShaper,
    GroupSnapshot,
    LocalStore,
    MultiplierSettings,
    StratifiedSnapshot,
)
from rlhf_fair.training.fairness.disparities import disparities
from rlhf_fair.training.fairness.noise import check_tolerance, effective_samples, expected_noise
from rlhf_fair.training.fairness.shrinkage import between_group_signal, shrunk_means
from rlhf_fair.training.fairness.sums import SCORE

CONTRAST = {"objective": "contrast", "contrasts": {"gap": {"a": 1.0, "b": -1.0}}, "minimum_count": 0.0}


def snapshot(means: list[float], counts: list[float], sd: float = 1.0) -> GroupSnapshot:
    n = np.array(counts, dtype=float)
    return GroupSnapshot(("a", "b", "c")[: len(n)], n / n.sum(), np.array(means), n, sd)


def test_effective_samples_by_hand() -> None:
    assert effective_samples(10, 0.0) == 10
    assert effective_samples(10, 0.8) == pytest.approx(90)  # weights 1 .8 .64 ...: 5^2 / (1 / .36) = 9


def test_the_noise_of_a_contrast_is_the_mean_size_it_has_without_a_gap() -> None:
    rng = np.random.default_rng(3)
    values, noise = [], []
    for _ in range(800):
        shaper = FairnessShaper(FairnessSettings.model_validate(CONTRAST))
        row = shaper.shape(np.zeros(60), rng.normal(size=60), ["a"] * 20 + ["b"] * 40).metrics
        values.append(abs(row["contrast:gap"]))
        noise.append(row["noise:gap"])
    # .798 sqrt(1 / 20 + 1 / 40) = .2185
    assert np.mean(values) == pytest.approx(0.2185, abs=4 * np.std(values) / np.sqrt(800))
    assert np.mean(noise) == pytest.approx(0.2185, rel=0.03)


def test_the_noise_of_standardized_means_is_what_shows_without_a_gap() -> None:
    rng = np.random.default_rng(4)
    strata, groups = ["x"] * 60 + ["y"] * 40, ["a"] * 40 + ["b"] * 20 + ["a"] * 10 + ["b"] * 30
    plain = {"strata_by": ("t",), "across_strata": "standardized", "minimum_count": 0.0}
    variance, contrast = (FairnessSettings.model_validate(s) for s in (plain, plain | CONTRAST))
    squares, differences, noise = [], [], []
    for _ in range(600):
        state = LocalStore(0.0).add(BatchSums.of(groups, {SCORE: rng.normal(size=100)}, strata))
        snapshot = StratifiedSnapshot.of(state, SCORE)
        (between,), (difference,) = disparities(snapshot, variance), disparities(snapshot, contrast)
        squares.append(between.value)
        differences.append(difference.value)
        noise.append((between.noise**2, difference.noise))
    # var = sum_s w_s^2 (1 / n_sa + 1 / n_sb) = .36 (1/40 + 1/20) + .16 (1/10 + 1/30) = .04833
    assert np.var(differences) == pytest.approx(0.04833, rel=0.2)
    # for two groups the variance is p_a p_b times the squared difference: .25 * .04833
    assert np.mean(squares) == pytest.approx(0.25 * 0.04833, rel=0.2)
    assert np.mean(noise, axis=0) == pytest.approx([0.25 * 0.04833, np.sqrt(2 / np.pi * 0.04833)], rel=0.03)


def test_expected_noise_by_hand() -> None:
    # batches of 50 halves, memory .8: 225 effective each, sd 2: .798 * 2 * sqrt(2 / 225) = .1505
    settings = FairnessSettings.model_validate(CONTRAST | {"memory": 0.8})
    assert expected_noise(settings, snapshot([0, 0], [10, 10], sd=2.0), 50) == pytest.approx({"gap": 0.1505}, abs=1e-4)


def test_expected_noise_is_that_of_the_scored_within_strata() -> None:
    # two strata, of 3/4 and 1/4 of the scored rows, which are half of all: of 80 rows 30 and 10 are in them
    groups, strata = ["a", "b"] * 40, ["x"] * 60 + ["y"] * 20
    scores = np.tile([1.0, 1.0, -1.0, -1.0, np.nan, np.nan, np.nan, np.nan], 10)  # sd 1 in both strata
    before = StratifiedSnapshot.of_sample(groups, scores, strata)
    settings = FairnessSettings.model_validate(CONTRAST | {"memory": 0.0, "strata_by": ("t",)})
    # x: 16 and 16 of the 32 scored of x's 60 rows, y: 4 and 4 of 8; batch 80: .798 sqrt(2 / 16) and .798 sqrt(2 / 4)
    assert expected_noise(settings, before, 80) == pytest.approx({"gap | x": 0.2821, "gap | y": 0.5642}, abs=1e-4)
    standardized = settings.model_copy(update={"strata_by": ("t",), "across_strata": "standardized"})
    # .798 sqrt(.8^2 2 / 16 + .2^2 2 / 4) = .798 sqrt(.1)
    assert expected_noise(standardized, before, 80) == pytest.approx({"gap": 0.2523}, abs=1e-4)


def test_within_strata_the_checked_noise_is_what_training_shows_without_a_gap() -> None:
    """Ten strata and a score with sd 1: .798 sqrt(2 / (9 * 128 / 20)) = .149 in each, .047 over all of them."""
    rng = np.random.default_rng(8)
    settings = FairnessSettings.model_validate(CONTRAST | {"strata_by": ("t",)})

    def batch(n: int) -> tuple[list[str], np.ndarray, list[str]]:
        return rng.choice(["a", "b"], n).tolist(), rng.normal(size=n), rng.integers(0, 10, n).astype(str).tolist()

    shaper, sizes = FairnessShaper(settings), []
    for step in range(150):
        groups, scores, strata = batch(128)
        row = shaper.shape(np.zeros(128), scores, groups, strata=strata).metrics
        if step >= 20:
            sizes += [abs(value) for name, value in row.items() if name.startswith("contrast:")]
    before = StratifiedSnapshot.of_sample(*batch(20_000))
    noise = expected_noise(settings, before, 128)
    assert np.mean(list(noise.values())) == pytest.approx(np.mean(sizes), rel=0.15)
    dual = settings.model_copy(update={"multiplier": MultiplierSettings(kind="dual", tolerance=0.12)})
    with pytest.raises(SettingsError, match=r"0.12 lies below the noise floor 0.1\d* of 'gap \| \d'"):
        check_tolerance(dual, before, 128)
    over_all = dual.model_copy(update={"strata_by": ()})
    check_tolerance(over_all, before.pooled, 128)


def test_a_tolerance_that_the_means_cannot_resolve_is_refused() -> None:
    # halves of 50: the floor is .1505, half of .301
    half = snapshot([0, 0], [10, 10], sd=2.0)
    close, enough = (
        FairnessSettings.model_validate(CONTRAST | {"multiplier": {"kind": "dual", "tolerance": tolerance}})
        for tolerance in (0.3, 0.302)
    )
    with pytest.raises(SettingsError, match=r"0.3 lies too close to the noise floor 0.15 of 'gap'.* floor, 0.301"):
        check_tolerance(close, half, 50)
    check_tolerance(enough, half, 50)
    low = close.model_copy(update={"multiplier": MultiplierSettings(kind="dual", tolerance=0.15)})
    with pytest.raises(SettingsError, match=r"tolerance = 0.15 lies below the noise floor 0.15\d* of 'gap'"):
        check_tolerance(low, half, 50)
    measured = GroupSnapshot.of(["a", "a", "b", "b", "b", None], np.array([-2.0, 2.0, -2.0, 2.0, np.nan, 9.0]))
    assert (measured.groups, measured.counts.tolist(), measured.score_sd) == (("a", "b"), [2.0, 2.0], 2.0)
    with pytest.raises(SettingsError, match="below the noise floor"):
        check_tolerance(low, measured, 50)
    check_tolerance(FairnessSettings.model_validate(CONTRAST), measured, 50)  # a fixed strength has no tolerance


def test_a_tolerance_just_above_the_floor_is_pulled_by_noise_and_one_at_twice_it_is_not() -> None:
    pulls = {}
    for floors in (1.05, 2.0):
        # halves of 128, memory .8: 576 effective each, .798 sqrt(2 / 576) = .047
        dual = {"multiplier": {"kind": "dual", "tolerance": 0.047 * floors, "rate": 1.0}, "floor_strength": 0.0}
        rng, found = np.random.default_rng(9), []
        for _ in range(6):
            shaper = FairnessShaper(FairnessSettings.model_validate(CONTRAST | dual))
            for step in range(150):
                row = shaper.shape(np.zeros(128), rng.normal(size=128), ["a", "b"] * 64).metrics
                if step >= 20:
                    found.append(abs(row["kappa:gap"]))
        pulls[floors] = np.mean(found)
    assert pulls[1.05] > 0.05
    assert pulls[2.0] < pulls[1.05] / 4


def test_shrinkage_by_hand() -> None:
    # shares .5 .5, means 0 2, sd 1, n 10: V = 1, chance .5 * .1 * .5 * 2 = .05, tau^2 = .95 / (1 - .5) = 1.9
    # B = 1.9 / (1.9 + .1) = .95
    state = snapshot([0, 2], [10, 10])
    assert between_group_signal(state) == pytest.approx(1.9)
    assert shrunk_means(state) == pytest.approx([0.05, 1.95])


def test_means_are_drawn_by_the_spread_within_groups_alone() -> None:
    # a: -1 1, b: 3 5, each five times: within sd 1, in all sd sqrt 5; V = 4, chance .05, tau^2 = 3.95 / .5 = 7.9
    # B = 7.9 / (7.9 + .1) = .9875, so that 0 and 4 go to .025 and 3.975
    state = GroupSnapshot.of(["a", "a", "b", "b"] * 5, np.tile([-1.0, 1.0, 3.0, 5.0], 5))
    assert state.score_sd == pytest.approx(np.sqrt(5))
    assert between_group_signal(state) == pytest.approx(7.9)
    assert shrunk_means(state) == pytest.approx([0.025, 3.975])


def test_small_groups_are_drawn_further_and_pure_noise_wholly() -> None:
    state = snapshot([0.0, 3.0, 3.0], [100, 50, 2])
    factors = (shrunk_means(state) - state.overall) / (state.means - state.overall)
    assert factors[0] > factors[1] > factors[2]
    assert shrunk_means(snapshot([0.0, 0.1], [5, 5])) == pytest.approx([0.05, 0.05])  # V = .0025, chance .1


@given(st.integers(0, 2**32 - 1))
def test_shrunk_means_lie_between_their_own_and_the_overall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = snapshot(rng.normal(size=3).tolist(), rng.integers(1, 50, size=3).tolist())
    shrunk = shrunk_means(state)
    low, high = np.minimum(state.means, state.overall), np.maximum(state.means, state.overall)
    assert ((low - 1e-12 <= shrunk) & (shrunk <= high + 1e-12)).all()


def test_shrinkage_recovers_true_means_better_than_raw_ones() -> None:
    """Twelve small groups with tau = .5 and sigma = 1: the law that Stein's estimate rests on."""
    rng = np.random.default_rng(5)
    raw, shrunk = [], []
    for _ in range(200):
        truth, n = rng.normal(scale=0.5, size=12), np.full(12, 4.0)
        found = truth + rng.normal(size=12) / 2
        state = GroupSnapshot(tuple(map(str, range(12))), n / n.sum(), found, n, 1.0)
        raw.append(((found - truth) ** 2).mean())
        shrunk.append(((shrunk_means(state) - truth) ** 2).mean())
    assert np.mean(raw) == pytest.approx(0.25, rel=0.1)
    # the oracle's risk is sigma^2/n * B = .25 * .25 / (.25 + .25) = .125; estimating tau costs some
    assert np.mean(shrunk) == pytest.approx(0.14, abs=0.025)


def test_a_shaper_that_shrinks_prices_noise_less() -> None:
    rng = np.random.default_rng(6)
    groups, scores = ["a", "b"] * 30, rng.normal(size=60)
    kappas = []
    for shrinkage in (False, True):
        settings = FairnessSettings(shrinkage=shrinkage, strength=1.0, minimum_count=0.0)
        kappas.append(FairnessShaper(settings).shape(np.zeros(60), scores, groups).metrics["kappa"])
    assert kappas[1] < kappas[0]


REFERENCE = {"objective": "contrast", "reference": "a"}


@pytest.mark.parametrize("objective", [{}, REFERENCE])
def test_a_minimum_count_beyond_every_group_is_refused(objective: dict[str, object]) -> None:
    before = GroupSnapshot.of(["a", "b"] * 3, np.arange(6.0))
    # halves of 40, memory .8: 20 * 9 effective samples each
    check_tolerance(FairnessSettings.model_validate(objective | {"minimum_count": 180.0 - 1e-9}), before, 40)
    with pytest.raises(SettingsError, match=r"minimum_count = 181 leaves no disparity.* more than 180 effective"):
        check_tolerance(FairnessSettings.model_validate(objective | {"minimum_count": 181.0}), before, 40)
    unseen = GroupSnapshot.of(["a", "b"], np.array([1.0, np.nan]))  # one sample does not prove that b never scores
    check_tolerance(FairnessSettings.model_validate(objective), unseen, 40)


def test_a_penalty_that_leaves_only_its_small_groups_alone_is_not() -> None:
    groups = ["a"] * 45 + ["b"] * 45 + ["c"] * 10
    before = GroupSnapshot.of(groups, np.arange(100.0))
    for objective in ({}, REFERENCE):
        check_tolerance(FairnessSettings.model_validate(objective | {"minimum_count": 50.0}), before, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_by": ("sex",), "strata_by": ("topic", "sex")}, "strata_by: 'sex' is compared itself"),
        ({"across_strata": "standardized"}, "needs strata_by"),
        ({"floor_strength": 0.0, "floor_tolerance": 0.1}, "needs a floor_strength above 0"),
    ],
)
def test_settings_that_nothing_follows_from_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FairnessSettings.model_validate(settings)
    FairnessSettings(group_by=("sex", "age"), strata_by=("sex",))  # ages within a sex can be compared
