"""The penalty's claim is a theorem: its policy gradient is that of a disparity. Here policies are enumerable."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, GroupSnapshot

GROUPS = ("a", "b", "c")
SHARES = np.array([0.5, 0.3, 0.2])
N_ANSWERS = 4


def shaper(reference_means: dict[str, float] | None = None, **changes: float | None) -> FairnessShaper:
    settings = {"strength": 2.0, "memory": 0.0, "minimum_count": 0.0, "floor_strength": 0.0}
    return FairnessShaper(FairnessSettings.model_validate(settings | changes), reference_means)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


class World:
    """One softmax policy over four answers per group, and parameters shared by all groups; exact expectations."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rewards = rng.normal(size=(3, N_ANSWERS))
        self.scores = rng.normal(size=(3, N_ANSWERS))
        self.features = rng.normal(size=(3, N_ANSWERS, 5))
        self.theta = rng.normal(size=5)

    def policy(self, theta: np.ndarray) -> np.ndarray:
        return softmax(self.features @ theta)

    def group_means(self, theta: np.ndarray) -> np.ndarray:
        return np.asarray((self.policy(theta) * self.scores).sum(axis=1))

    def snapshot(self) -> GroupSnapshot:
        return GroupSnapshot(GROUPS, SHARES, self.group_means(self.theta), np.full(3, 1e6), 1.0)

    def objective(self, theta: np.ndarray, strength: float, floor_strength: float, floors: np.ndarray) -> float:
        """E[r] - strength/2 sum p (mu_g - mu)^2 - floor_strength/2 sum p max(floor_g - mu_g, 0)^2."""
        means = self.group_means(theta)
        reward = SHARES @ (self.policy(theta) * self.rewards).sum(axis=1)
        between = SHARES @ (means - SHARES @ means) ** 2
        fallen = SHARES @ np.maximum(floors - means, 0) ** 2
        return float(reward - strength / 2 * between - floor_strength / 2 * fallen)

    def policy_gradient(self, shaped: np.ndarray) -> np.ndarray:
        """Exact E[shaped reward * grad log pi]."""
        policy = self.policy(self.theta)
        grad_log = self.features - np.einsum("ga,gad->gd", policy, self.features)[:, None]
        return np.einsum("g,ga,ga,gad->d", SHARES, policy, shaped, grad_log)


def finite_difference(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    return np.array([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("floor_strength", [0.0, 4.0])
def test_the_gradient_of_the_shaped_reward_is_the_gradient_of_reward_minus_disparity(
    seed: int, floor_strength: float
) -> None:
    world, strength = World(seed), 3.0
    floors = np.array([0.3, -0.5, 0.8])
    given = {"strength": strength, "floor_strength": floor_strength, "floor_tolerance": 0.0}
    penalty = shaper(dict(zip(GROUPS, floors, strict=True)), **given)
    state = world.snapshot()
    penalties = np.array([penalty.penalties([g] * N_ANSWERS, world.scores[i], state) for i, g in enumerate(GROUPS)])
    expected = finite_difference(lambda t: world.objective(t, strength, floor_strength, floors), world.theta)
    assert world.policy_gradient(world.rewards - penalties) == pytest.approx(expected, abs=1e-7)
    assert world.policy_gradient(world.rewards) != pytest.approx(expected, abs=1e-3)


def test_gradient_steps_close_the_gap_and_subtracting_the_gap_itself_does_nothing() -> None:
    def free_world() -> World:
        """Every group can answer as it likes, so that parity can be reached."""
        world = World(11)
        world.features, world.theta = np.eye(12).reshape(3, N_ANSWERS, 12), np.zeros(12)
        return world

    def trained(broadcast: bool) -> float:
        world = free_world()
        for _ in range(500):
            state = world.snapshot()
            if broadcast:
                penalties = np.full((3, N_ANSWERS), 3.0 * state.between_group_sd)
            else:
                rows = zip(GROUPS, world.scores, strict=True)
                penalties = np.array([shaper().penalties([g] * N_ANSWERS, s, state) for g, s in rows])
            world.theta += 0.5 * world.policy_gradient(-penalties)
        return world.snapshot().between_group_sd

    start = free_world().snapshot().between_group_sd
    assert trained(broadcast=False) < 0.1 * start
    assert trained(broadcast=True) == pytest.approx(start)


def test_a_broadcast_penalty_vanishes_in_whitened_advantages() -> None:
    rewards = np.random.default_rng(0).normal(size=50)
    whiten = lambda x: (x - x.mean()) / x.std()  # noqa: E731
    assert whiten(rewards - 3.0 * 0.388) == pytest.approx(whiten(rewards))


def test_penalties_by_hand() -> None:
    # a: scores 1 3, mean 2; b: scores 0 0, mean 0; shares 1/2; overall 1; strength 2
    # a: 2 * (2 - 1) * (s - 2) = -2, 2; b: 2 * (0 - 1) * (s - 0) = 0, 0
    penalty = shaper()
    groups, scores = ["a", "b", "a", "b"], np.array([1.0, 0.0, 3.0, 0.0])
    state = penalty.update(groups, scores)
    assert state.means.tolist() == [2.0, 0.0]
    assert state.overall == 1.0
    assert state.between_group_sd == 1.0
    assert penalty.penalties(groups, scores, state).tolist() == [-2.0, 0.0, 2.0, 0.0]
    assert penalty.kappa(state) == 2.0  # coefficients +2 and -2


@given(st.integers(0, 2**32 - 1))
def test_names_of_groups_and_order_of_rows_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, scores = rng.choice(["a", "b", "c"], 40), rng.normal(size=40)
    order, rename = rng.permutation(40), {"a": "z", "b": "y", "c": "x"}
    one, other = shaper(), shaper()
    state = one.update(groups.tolist(), scores)
    renamed = [rename[group] for group in groups[order]]
    state_renamed = other.update(renamed, scores[order])
    assert other.penalties(renamed, scores[order], state_renamed) == pytest.approx(
        one.penalties(groups.tolist(), scores, state)[order]
    )
    assert state_renamed.between_group_sd == pytest.approx(state.between_group_sd)
    assert other.kappa(state_renamed) == pytest.approx(one.kappa(state))


@given(st.integers(0, 2**32 - 1))
def test_penalties_of_one_batch_average_to_zero_in_every_group(seed: int) -> None:
    """So the penalty moves no group's mean reward: it only says which of its answers to prefer."""
    rng = np.random.default_rng(seed)
    groups, scores = rng.choice(["a", "b", "c"], 60), rng.normal(size=60)
    penalty = shaper()
    penalties = penalty.penalties(groups.tolist(), scores, penalty.update(groups.tolist(), scores))
    for group in np.unique(groups):
        assert penalties[groups == group].mean() == pytest.approx(0, abs=1e-9)


def test_equal_groups_are_not_touched() -> None:
    groups, scores = ["a", "a", "b", "b"], np.array([0.0, 1.0, 1.0, 0.0])
    penalty = shaper()
    state = penalty.update(groups, scores)
    assert state.between_group_sd == 0
    assert penalty.kappa(state) == 0
    assert not penalty.penalties(groups, scores, state).any()


def null_batches(memory: float, batches: int, seed: int = 5) -> tuple[float, float, float]:
    """Mean squared disparity without any, its standard error, and the mean squared noise floor."""
    rng = np.random.default_rng(seed)
    groups = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    squares, floors = [], []
    for _ in range(600):
        penalty = shaper(memory=memory)
        for _ in range(batches):
            state = penalty.update(groups, rng.normal(2, 0.7, size=100))
        squares.append(state.between_group_sd**2)
        floors.append(state.noise_floor**2)
    return float(np.mean(squares)), float(np.std(squares) / np.sqrt(len(squares))), float(np.mean(floors))


def test_without_disparity_the_noise_floor_is_what_shows() -> None:
    found, error, floor = null_batches(memory=0.0, batches=1)
    assert found == pytest.approx(floor, abs=4 * error)
    # by hand: sigma^2 (G - 1) / n = .49 * 2 / 100
    assert floor == pytest.approx(0.0098, rel=0.05)


def test_with_memory_the_noise_floor_counts_effective_samples() -> None:
    found, error, floor = null_batches(memory=0.8, batches=25)
    assert found == pytest.approx(floor, abs=4 * error)
    # by hand: the effective sample is (1 + .8) / (1 - .8) = 9 batches, sigma^2 (G - 1) / n = .49 * 2 / 900
    assert floor == pytest.approx(0.00109, rel=0.05)


def test_without_disparity_kappa_is_noise_alone() -> None:
    # kappa^2 = strength^2 * between-group variance when no group is left out
    penalty, rng = shaper(strength=3.0), np.random.default_rng(6)
    groups = ["a", "b"] * 200
    state = penalty.update(groups, rng.normal(size=400))
    assert penalty.kappa(state) == pytest.approx(3.0 * state.between_group_sd)
    assert penalty.kappa(state) < 3.0 * 4 * state.noise_floor


def test_the_floor_lifts_a_group_that_fell_below_its_reference() -> None:
    groups, scores = ["a", "a", "b", "b"], np.array([0.0, 0.2, 0.0, 0.2])
    guard = shaper({"a": 0.5, "b": 0.05}, floor_strength=4.0, floor_tolerance=0.1)
    state = guard.update(groups, scores)
    # no gap, so only the floor speaks. a: -4 * (.5 - .1 - .1) = -1.2; b lies above its floor
    assert guard.coefficients(state) == pytest.approx([-1.2, 0.0])
    penalties = guard.penalties(groups, scores, state)
    assert penalties == pytest.approx([0.12, -0.12, 0.0, 0.0])  # the better answer of a is rewarded


def test_a_group_without_a_reference_has_no_floor() -> None:
    guard = shaper({"b": 0.5}, floor_strength=4.0, floor_tolerance=0.0)
    state = guard.update(["a", "b"], np.array([0.1, 0.1]))
    assert guard.coefficients(state) == pytest.approx([0.0, -1.6])


def test_without_a_tolerance_a_floor_hardly_prices_chance() -> None:
    # a group that never fell: its mean wanders about its floor. By hand, E[Z]+ = 1 / sqrt(2 pi) = .3989 and
    # E[Z - 1]+ = phi(1) - (1 - Phi(1)) = .2420 - .1587 = .0833, so the price is .209 of that at tolerance 0
    groups, paid = ["a", "b"] * 200, {None: 0.0, 0.0: 0.0}
    for run in range(400):
        scores = np.random.default_rng([8, run]).normal(size=400)
        for tolerance in paid:
            guard = shaper({"a": 0.0, "b": 0.0}, floor_strength=1.0, floor_tolerance=tolerance, strength=0.0)
            paid[tolerance] -= float(guard.coefficients(guard.update(groups, scores)).mean()) / 400
    assert paid[0.0] == pytest.approx(0.3989 / 200**0.5, rel=0.12)
    assert paid[None] / paid[0.0] == pytest.approx(0.209, rel=0.2)


def test_without_a_tolerance_a_true_fall_is_priced_beyond_one_standard_error() -> None:
    groups, scores = ["a"] * 5 + ["b"] * 5, np.tile([-2.0, -1.0, 0.0, 1.0, 2.0], 2)
    guard = shaper({"a": 1.0}, floor_strength=4.0, strength=0.0)
    # by hand: the standard error of a is sqrt(2 / 4) = .7071, what lies beyond it is 1 - .7071
    assert guard.coefficients(guard.update(groups, scores)) == pytest.approx([-4 * (1 - 0.5**0.5), 0.0])


def test_small_groups_are_left_alone_until_they_have_enough_samples() -> None:
    groups, scores = ["a"] * 9 + ["b"] * 3, np.r_[np.ones(9), np.arange(3.0) - 1]
    penalty = shaper(minimum_count=4.0, memory=0.9)
    state = penalty.update(groups, scores)
    assert not penalty.penalties(groups, scores, state)[9:].any()
    state = penalty.update(groups, scores)
    # effective samples (sum w)^2 / sum w^2 of b: (.9 * 3 + 3)^2 / (.81 * 3 + 3) = 5.983; three times that for a
    assert state.counts == pytest.approx([17.950, 5.983], abs=1e-3)
    assert penalty.penalties(groups, scores, state)[9:].any()


def test_missing_scores_get_no_penalty_and_enter_no_mean() -> None:
    groups, scores = ["a", "a", "a", "b"], np.array([1.0, np.nan, 3.0, 0.0])
    penalty = shaper()
    state = penalty.update(groups, scores)
    assert state.means.tolist() == [2.0, 0.0]
    assert state.counts.tolist() == [2.0, 1.0]
    penalties = penalty.penalties(groups, scores, state)
    assert penalties[1] == 0
    assert np.isfinite(penalties).all()


@pytest.mark.parametrize("scores", [[1.0, 3.0, np.nan, np.nan], [np.nan] * 4])
def test_a_group_that_was_never_measured_is_left_alone(scores: list[float]) -> None:
    groups = ["a", "a", "b", "b"]
    penalty = shaper()
    state = penalty.update(groups, np.array(scores))
    assert "b" not in state.groups
    assert penalty.penalties(groups, np.array(scores), state).tolist() == [0.0] * 4  # one group alone has no gap
    assert penalty.kappa(state) == 0


def test_memory_by_hand() -> None:
    # memory 1/2: a: mass 2 -> 1 + 1 = 2, sum 4 -> 2 + 5 = 7, mean 3.5; b: mass 1 -> .5, mean stays 1
    penalty = shaper(memory=0.5)
    penalty.update(["a", "a", "b"], np.array([1.0, 3.0, 1.0]))
    state = penalty.update(["a"], np.array([5.0]))
    assert state.means == pytest.approx([3.5, 1.0])
    assert state.counts == pytest.approx([4 / 1.5, 1.0])  # (1 + 1)^2 / (2 * .25 + 1); a single sample stays one
    assert state.shares == pytest.approx([0.8, 0.2])


def test_a_restored_state_continues_as_if_nothing_had_happened() -> None:
    rng = np.random.default_rng(7)
    batches = [(rng.choice(["a", "b", "c"], 20).tolist(), rng.normal(size=20)) for _ in range(6)]
    whole, first, second = shaper(memory=0.8), shaper(memory=0.8), shaper(memory=0.8)
    for groups, scores in batches[:3]:
        whole.update(groups, scores)
        first.update(groups, scores)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for groups, scores in batches[3:]:
        one, other = whole.update(groups, scores), second.update(groups, scores)
        assert one.groups == other.groups
        assert (whole.penalties(groups, scores, one) == second.penalties(groups, scores, other)).all()
        assert one.noise_floor == other.noise_floor


def test_a_restored_state_is_a_copy() -> None:
    first, second = shaper(), shaper()
    first.update(["a"], np.array([1.0]))
    second.load_state_dict(first.state_dict())
    second.update(["a", "b"], np.array([5.0, 5.0]))
    assert first.snapshot().means.tolist() == [1.0]


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_a_group_that_stays_away_is_let_alone_and_its_multiplier_rests(memory: float) -> None:
    """Its mean says how it fared long ago; a dual that went on with it would climb without end."""
    contrast = {"objective": "contrast", "contrasts": {"gap": {"a": 1.0, "b": -1.0}}}
    settings = contrast | {"multiplier": {"kind": "dual", "tolerance": 0.1}, "memory": memory, "minimum_count": 0.0}
    penalty = FairnessShaper(FairnessSettings.model_validate(settings))
    values = []
    for step in range(40):
        groups = ["a", "b"] * 5 if step < 3 else ["a"] * 10
        row = penalty.shape(np.zeros(10), np.arange(10.0) % 2, groups).metrics
        values.append(row["multiplier:gap-"])
    assert values[2] > values[1] > values[0] > 0
    # average weight 1 / (1 + m) m^k < .05: at once, after 4 steps, after 11
    resting = {0.0: 1, 0.5: 4, 0.8: 12}[memory]
    assert len(set(values[2 + resting :])) == 1
    assert np.isnan(row["contrast:gap"])
    row = penalty.shape(np.zeros(10), np.arange(10.0) % 2, ["a", "b"] * 5).metrics
    assert row["multiplier:gap-"] > values[-1]  # and it takes up where it left off
