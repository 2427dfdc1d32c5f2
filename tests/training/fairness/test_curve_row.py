"""What a training shows of its penalty, and that nothing of it is lost in a checkpoint or moved by an evaluation."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, Shaped

EVERYTHING = {
    "objective": "contrast",
    "reference": "a",
    "strata_by": ("template",),
    "multiplier": {"kind": "pid", "tolerance": 0.05, "derivative": 0.5},
    "shrinkage": True,
    "refusal_strength": 1.0,
    "length_strength": 0.01,
    "minimum_count": 0.0,
}


def everything() -> FairnessShaper:
    return FairnessShaper(FairnessSettings.model_validate(EVERYTHING), {"a": 0.1, "b": 0.2, "c": 0.3})


def step(shaper: FairnessShaper, rng: np.random.Generator) -> Shaped:
    groups, strata = rng.choice(["a", "b", "c"], 60).tolist(), rng.choice(["x", "y"], 60).tolist()
    refused, lengths = (rng.random(60) < 0.2).astype(float), rng.integers(1, 50, 60).astype(float)
    scores = np.where(refused == 1, np.nan, rng.normal(size=60))
    return shaper.shape(rng.normal(size=60), scores, groups, strata=strata, refused=refused, lengths=lengths)


def test_means_changes_and_their_errors_by_hand() -> None:
    # a: 1 3, mean 2, spread 1, se 1 / sqrt(2 - 1) = 1; b: 0 0 0, se 0
    shaper = FairnessShaper(FairnessSettings(minimum_count=0.0, floor_strength=0.0), {"a": 1.5, "c": 0.0})
    rewards = np.array([4.0, 6.0, 1.0, 1.0, 1.0])
    row = shaper.shape(rewards, np.array([1.0, 3.0, 0.0, 0.0, 0.0]), ["a", "a", "b", "b", "b"]).metrics
    assert (row["mean:a"], row["mean:b"], row["share:a"], row["count:b"]) == pytest.approx((2.0, 0.0, 0.4, 3.0))
    assert (row["moved:a"], row["moved_se:a"], row["se:b"]) == pytest.approx((0.5, 1.0, 0.0))
    assert (row["reward:a"], row["reward:b"]) == pytest.approx((5.0, 1.0))
    assert "moved:b" not in row  # without a reference there is no change to show
    # a group that is known of but was never seen stays in the row
    assert (row["share:c"], row["count:c"]) == (0.0, 0.0)
    assert np.isnan(row["mean:c"])
    assert np.isnan(row["moved:c"])


def test_refusals_and_lengths_are_shown_by_group() -> None:
    row = FairnessShaper(FairnessSettings()).shape(
        np.zeros(4),
        np.zeros(4),
        ["a", "a", "b", "b"],
        refused=np.array([1.0, 0.0, 0.0, 0.0]),
        lengths=np.array([10.0, 20.0, 30.0, 50.0]),
    )
    shown = {name: row.metrics[name] for name in ("refused:a", "refused:b", "length:a", "length:b")}
    assert shown == pytest.approx({"refused:a": 0.5, "refused:b": 0.0, "length:a": 15.0, "length:b": 40.0})
    assert row.metrics["gap:refused"] == pytest.approx(0.25)
    assert row.metrics["gap:length"] == pytest.approx(12.5)
    assert not row.penalties.any()  # shown, not priced


def test_a_refused_answer_has_no_score_and_still_a_price_for_its_refusal() -> None:
    # refusals a 1/2, b 0, shares 1/2, strength 4: price of a 4 * (1/2 - 1/4) = 1, so +-1/2 in a; b: -1 * 0
    shaper = FairnessShaper(FairnessSettings(refusal_strength=4.0, minimum_count=0.0, strength=0.0))
    refused = np.array([1.0, 0.0, 0.0, 0.0])
    shaped = shaper.shape(np.zeros(4), np.array([np.nan, 0.2, 0.2, 0.2]), ["a", "a", "b", "b"], refused=refused)
    assert shaped.penalties == pytest.approx([0.5, -0.5, 0.0, 0.0])
    assert shaped.metrics["unscored"] == 0.25


def test_every_number_is_plain_and_the_row_keeps_its_names() -> None:
    rng, shaper = np.random.default_rng(0), everything()
    rows = [step(shaper, rng).metrics for _ in range(3)]
    assert all(type(value) is float for row in rows for value in row.values())
    assert rows[1].keys() == rows[2].keys()
    assert {"multiplier:b - a | x+", "multiplier:c - a | y-"} <= rows[2].keys()


def test_a_checkpoint_of_everything_goes_on_bit_for_bit() -> None:
    whole, first, second = everything(), everything(), everything()
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    for _ in range(8):
        step(whole, one)
        step(first, other)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(8):
        a, b = step(whole, one), step(second, other)
        assert (a.rewards == b.rewards).all()
        assert json.dumps(a.metrics) == json.dumps(b.metrics)


def test_an_evaluation_moves_nothing() -> None:
    rng, shaper = np.random.default_rng(2), everything()
    for _ in range(3):
        step(shaper, rng)
    before = copy.deepcopy(shaper.state_dict())
    with shaper.frozen():
        first, second = (step(shaper, np.random.default_rng(9)) for _ in range(2))
        with shaper.frozen():
            pass
        step(shaper, rng)  # the inner block has not thawed the outer
    assert shaper.state_dict() == before
    assert (first.penalties == second.penalties).all()
    assert first.penalties.any()
    step(shaper, rng)
    assert shaper.state_dict() != before


def test_freezing_ends_with_an_error_too() -> None:
    shaper = everything()
    with pytest.raises(ZeroDivisionError), shaper.frozen():
        _ = 1 / 0
    step(shaper, np.random.default_rng(0))
    assert shaper.store.read().version == 1


def test_shapes_that_do_not_fit_are_named() -> None:
    shaper = FairnessShaper(FairnessSettings())
    with pytest.raises(RlhfFairError, match=r"score has shape \(2,\); one for each of the 3 groups is \(3,\)"):
        shaper.shape(np.zeros(3), np.zeros(2), ["a", "b", "a"])
    with pytest.raises(RlhfFairError, match=r"reward has shape \(3, 1\)"):
        shaper.shape(np.zeros((3, 1)), np.zeros(3), ["a", "b", "a"])
    with pytest.raises(RlhfFairError, match="there are 1 strata"):
        shaper.shape(np.zeros(2), np.zeros(2), ["a", "b"], strata=["x"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "contrast"}, "needs either contrasts or a reference"),
        ({"objective": "contrast", "reference": "a", "contrasts": {"x": {"a": 1, "b": -1}}}, "either contrasts or"),
        ({"reference": "a"}, "belong to objective 'contrast'"),
        ({"objective": "contrast", "contrasts": {"x": {"a": 1, "b": 1}}}, "must sum to 0"),
        ({"objective": "contrast", "contrasts": {"x": {}}}, "must sum to 0 and not all be 0"),
        ({"strength": 3.0, "multiplier": {"kind": "dual", "tolerance": 0.1}}, "strength belongs to the fixed"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FairnessSettings.model_validate(settings)


def test_a_contrast_of_a_group_that_never_comes_is_shown_as_not_estimable() -> None:
    settings = FairnessSettings(objective="contrast", contrasts={"gap": {"a": 1.0, "ghost": -1.0}})
    with pytest.warns(UserWarning, match="'ghost' is none of the groups seen so far"):
        shaped = FairnessShaper(settings).shape(np.zeros(40), np.arange(40.0), ["a", "b"] * 20)
    assert np.isnan(shaped.metrics["contrast:gap"])
    assert not shaped.penalties.any()
