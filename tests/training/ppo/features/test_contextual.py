from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lending import FEATURES, applicants, profit, selection_gap

from rlhf_fair.errors import ColumnError, MissingFileError, ModelLoadError, RlhfFairError, RowError, SettingsError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.fairness.settings import MultiplierSettings
from rlhf_fair.training.ppo.features.contextual import (
    DeciderSettings,
    DecisionFairness,
    DecisionPPOSettings,
    TrainedDecider,
    favourable,
    train_decider,
)
from rlhf_fair.training.ppo.features.decider import CONFIG_NAME, WEIGHTS_NAME, Decider
from rlhf_fair.training.ppo.features.disparity import selection_by_group
from rlhf_fair.training.ppo.features.encoding import learn_encoding

PEOPLE = applicants(3000, np.random.default_rng(0))
NEW_PEOPLE = applicants(3000, np.random.default_rng(1))
MANY_PEOPLE = applicants(20_000, np.random.default_rng(2))


def settings(*, steps: int = 5, **changes: Any) -> DeciderSettings:
    ppo = DecisionPPOSettings(
        steps=steps, minibatch_size=256, learning_rate=5e-3, entropy_coef=0.01, checkpoint_steps=2
    )
    return DeciderSettings.model_validate({"features": FEATURES, "batch_size": 512, "ppo": ppo} | changes)


def parity(*, among: str | None = None, **changes: Any) -> DecisionFairness:
    asked = {"group_by": ("group",), "floor_strength": 0.0} | changes
    return DecisionFairness(FairnessShaper(FairnessSettings.model_validate(asked)), favourable("grant", among=among))


def weights(trained: TrainedDecider) -> list[float]:
    return [float(x) for tensor in trained.decider.policy.state_dict().values() for x in tensor.flatten()]


@pytest.fixture(scope="module")
def plain() -> TrainedDecider:
    return train_decider(MANY_PEOPLE, profit, settings(steps=60), seed=0)


@pytest.fixture(scope="module")
def fair() -> TrainedDecider:
    multiplier = MultiplierSettings(kind="pid", tolerance=0.02, proportional=2, integral=0.1, proportional_memory=0.5)
    asked = parity(objective="contrast", reference="a", memory=0.5, multiplier=multiplier)
    ppo = DecisionPPOSettings(steps=120)
    return train_decider(MANY_PEOPLE, profit, settings(batch_size=1024, ppo=ppo), seed=0, fairness=asked)


def test_what_is_worth_it_is_granted(plain: TrainedDecider) -> None:
    """Whoever knew each chance to repay would earn a little more than one who sees two clues to it."""
    granted = plain.decider.decide(NEW_PEOPLE) == "grant"
    earned, attainable = NEW_PEOPLE["utility"][granted].sum(), NEW_PEOPLE["utility"].clip(lower=0).sum()
    assert earned > 0.8 * attainable
    assert plain.run.curve[-1]["reward_mean"] > plain.run.curve[0]["reward_mean"]


def test_the_price_closes_the_gap_on_new_people(plain: TrainedDecider, fair: TrainedDecider) -> None:
    gaps = [
        selection_by_group(found.decider, NEW_PEOPLE, "grant", group_by=["group"], reference="a")
        for found in (plain, fair)
    ]
    for kind in ("most_likely", "drawn"):
        before, after = (getattr(gap, kind).gaps["b"] for gap in gaps)
        assert before.ci_high < -0.2  # the groups differ, and a plain decider follows
        assert abs(after.estimate) < 0.2 * abs(before.estimate)  # a short run; the benchmark has longer ones
    # group b is chosen less often, so that side's price had to rise; it may fall again, once the gap is closed
    assert max(row["multiplier:b - a-"] for row in fair.run.curve) > 0.5
    assert max(fair.run.kappa) > 0.5


def test_rates_and_gaps_are_those_of_the_decisions(plain: TrainedDecider) -> None:
    found = selection_by_group(plain.decider, NEW_PEOPLE, "grant", group_by=["group"], reference="a")
    decided = (plain.decider.decide(NEW_PEOPLE) == "grant").astype(float)
    assert found.most_likely.gaps["b"].estimate == pytest.approx(-selection_gap(NEW_PEOPLE, decided))
    probabilities = plain.decider.probabilities(NEW_PEOPLE)["grant"].to_numpy()
    assert found.drawn.gaps["b"].estimate == pytest.approx(-selection_gap(NEW_PEOPLE, probabilities))
    repays = NEW_PEOPLE["repays"].to_numpy()
    among = selection_by_group(plain.decider, NEW_PEOPLE, "grant", group_by=["group"], among="repays")
    in_b = (NEW_PEOPLE["group"] == "b").to_numpy()
    assert among.most_likely.estimates["b"].estimate == pytest.approx(decided[repays & in_b].mean())
    assert among.most_likely.n_missing == (~repays).sum()


def test_a_score_that_is_the_same_for_all_changes_nothing() -> None:
    alone = train_decider(PEOPLE, profit, settings(), seed=3)
    constant = parity()
    constant.score = lambda rows, actions: np.ones(len(rows))
    assert weights(train_decider(PEOPLE, profit, settings(), seed=3, fairness=constant)) == weights(alone)


def test_relabelling_groups_changes_nothing() -> None:
    one = train_decider(PEOPLE, profit, settings(), seed=3, fairness=parity(strength=20.0))
    named = PEOPLE.assign(group=PEOPLE["group"].map({"a": "first", "b": "second"}))
    other = train_decider(named, profit, settings(), seed=3, fairness=parity(strength=20.0))
    assert weights(one) == weights(other)


def test_equal_opportunity_looks_at_those_who_repay_alone() -> None:
    rows = pd.DataFrame({"repays": [True, False, True]})
    score = favourable("grant", among="repays")(rows, np.array(["grant", "grant", "deny"]))
    assert score.tolist() == pytest.approx([1, math.nan, 0], nan_ok=True)
    run = train_decider(PEOPLE, profit, settings(steps=2), seed=0, fairness=parity(among="repays")).run
    assert run.curve[0]["unscored"] == pytest.approx(1 - PEOPLE["repays"].mean(), abs=0.1)


def test_strata_and_people_without_a_group() -> None:
    group = PEOPLE["group"].where(np.arange(len(PEOPLE)) % 4 != 0)  # a quarter says nothing
    table = PEOPLE.assign(group=group)
    asked = parity(strata_by=("residence",))
    run = train_decider(table, profit, settings(steps=2, batch_size=3000), seed=0, fairness=asked).run
    assert run.curve[0]["unknown"] == 0.25
    assert run.curve[0]["gap"] != run.curve[0]["gap_pooled"]


def test_every_step_decides_on_rows_of_its_own() -> None:
    seen: list[list[int]] = []

    def reward(rows: pd.DataFrame, actions: np.ndarray) -> np.ndarray:
        seen.append(rows.index.tolist())
        return profit(rows, actions)

    train_decider(PEOPLE, reward, settings(steps=2), seed=0)
    assert all(len(set(rows)) == 512 for rows in seen)
    assert seen[0] != seen[1]


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def plug(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise Stopped

    def run(**options: Any) -> TrainedDecider:
        multiplier = MultiplierSettings(kind="pid", tolerance=0.02)
        asked = parity(objective="contrast", reference="a", multiplier=multiplier)
        return train_decider(PEOPLE, profit, settings(), seed=0, fairness=asked, **options)

    with pytest.raises(Stopped):
        run(on_step=plug, checkpoint=tmp_path / "state.pt")
    resumed, whole = run(checkpoint=tmp_path / "state.pt"), run()
    assert weights(resumed) == weights(whole)
    assert resumed.run.curve == whole.run.curve
    with pytest.raises(SettingsError, match="belongs to other data or settings"):
        train_decider(PEOPLE.iloc[::-1], profit, settings(), seed=0, checkpoint=tmp_path / "state.pt")


def test_drawn_decisions_come_as_often_as_their_probability(plain: TrainedDecider) -> None:
    one = pd.concat([NEW_PEOPLE.iloc[:1]] * 4000)
    untrained = Decider.new(plain.decider.config, generator=torch.Generator().manual_seed(0))
    chance = untrained.probabilities(one)["grant"].iloc[0]
    drawn = untrained.decide(one, rng=np.random.default_rng(0)) == "grant"
    assert drawn.mean() == pytest.approx(chance, abs=4 * math.sqrt(0.25 / 4000))


def test_saved_and_loaded_it_decides_the_same(plain: TrainedDecider, tmp_path: Path) -> None:
    plain.decider.save(tmp_path / "decider")
    loaded = Decider.load(tmp_path / "decider")
    pd.testing.assert_frame_equal(loaded.probabilities(NEW_PEOPLE), plain.decider.probabilities(NEW_PEOPLE))
    assert set(loaded.decide(NEW_PEOPLE)) == {"deny", "grant"}


def test_a_damaged_decider_is_not_loaded(plain: TrainedDecider, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="decider not found"):
        Decider.load(tmp_path)
    plain.decider.save(tmp_path)
    content = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps(content | {"network": content["network"] | {"hidden": [7]}}))
    with pytest.raises(ModelLoadError, match="do not fit"):
        Decider.load(tmp_path)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(content | {"actions": ["grant"]}))
    with pytest.raises(ModelLoadError, match="two or more are needed"):
        Decider.load(tmp_path)
    plain.decider.save(tmp_path)
    (tmp_path / WEIGHTS_NAME).unlink()
    with pytest.raises(MissingFileError, match="decider weights not found"):
        Decider.load(tmp_path)


def test_encoding_by_hand() -> None:
    table = pd.DataFrame({"age": [20, 40], "owns": [True, False], "job": ["cook", "nurse"], "same": [3.0, 3.0]})
    encoding = learn_encoding(table, ["age", "owns", "job", "same"])
    # age: mean 30, sd 10; owns: mean .5, sd .5; cook, nurse; a constant says nothing
    assert encoding.encode(table).tolist() == [[-1, 1, 1, 0, 0], [1, -1, 0, 1, 0]]
    new = pd.DataFrame({"same": [9.0], "job": ["cook"], "owns": [True], "age": [35], "more": ["x"]})
    assert encoding.encode(new).tolist() == [[0.5, 1, 1, 0, 0]]
    assert encoding.size == 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"job": ["pilot", "cook"]}, RowError, "'job' is 'pilot' in row 0 .1 such rows.; known: cook, nurse"),
        ({"job": [None, "cook"]}, RowError, "'job' is missing or not finite in 1 of 2 rows, first in row 0"),
        ({"age": [20, math.inf]}, RowError, "'age' is missing or not finite in 1 of 2 rows, first in row 1"),
        ({"age": ["x", "y"]}, RowError, "'age' is of type .*; it was learned as a number"),
    ],
)
def test_rows_that_cannot_be_read(change: dict[str, Any], error: type[Exception], message: str) -> None:
    table = pd.DataFrame({"age": [20, 40], "job": ["cook", "nurse"]})
    with pytest.raises(error, match=message):
        learn_encoding(table, ["age", "job"]).encode(table.assign(**change))


def test_faults_say_what_is_wrong(plain: TrainedDecider) -> None:
    def train(**options: Any) -> TrainedDecider:
        asked = {"table": PEOPLE, "reward": profit, "settings": settings(steps=1), "seed": 0} | options
        return train_decider(**asked)

    with pytest.raises(ColumnError, match="lacks column 'wealth'"):
        train(settings=settings(features=("wealth",)))
    with pytest.raises(ColumnError, match="lacks column 'sex'"):
        train(fairness=parity(group_by=("sex",)))
    with pytest.raises(RlhfFairError, match=r"reward gave values of shape \(3,\); one per row is \(512,\)"):
        train(reward=lambda rows, actions: np.zeros(3))
    with pytest.raises(RlhfFairError, match=r"step 0 of 1: reward gave nan for row \d+"):
        train(reward=lambda rows, actions: np.full(len(rows), math.nan))
    with pytest.raises(RlhfFairError, match="reward gave list; one number per row is needed"):
        train(reward=lambda rows, actions: ["much"] * len(rows))
    with pytest.raises(SettingsError, match="action 'refuse' is none of deny, grant"):
        selection_by_group(plain.decider, PEOPLE, "refuse", group_by=["group"])
    with pytest.raises(RowError, match="2 or more"):
        train(table=PEOPLE.iloc[:1])
    with pytest.raises(SettingsError, match="seed = -1"):
        train(seed=-1)


def test_numbers_that_a_network_takes_for_infinite_are_refused_with_row_and_column() -> None:
    """Single precision ends at 3.4e38; squares of double precision at 1.3e154."""
    table = pd.DataFrame({"income": [0.0, 2.0, 1.0]}, index=["x", "y", "z"])
    encoding = learn_encoding(table, ["income"])
    for value, said in ((np.inf, "'income' is missing or not finite .* first in row y"),
                        (1e300, r"'income' is 1e\+300 in row y, 1.22e\+300 SDs")):  # fmt: skip
        with pytest.raises(RowError, match=said):
            encoding.encode(table.assign(income=[0.0, value, 1.0]))
    with pytest.raises(RowError, match=r"'income' reaches 1e\+200, so that it has no finite mean or spread"):
        learn_encoding(table.assign(income=[0.0, 1e200, 1.0]), ["income"])


@pytest.mark.parametrize(("what", "value"), [("reward", np.inf), ("reward", 1e300), ("score", np.inf)])
def test_rewards_and_scores_that_are_infinite_name_the_row(what: str, value: float) -> None:
    table = pd.DataFrame({"income": [0.0, 1.0, 2.0, 3.0], "group": ["a", "b", "a", "b"]}, index=list("wxyz"))

    def given(name: str) -> Any:
        return lambda rows, actions: np.where((rows.index == "y") & (name == what), value, 0.0)

    fairness = DecisionFairness(FairnessShaper(FairnessSettings(group_by=("group",))), given("score"))
    with pytest.raises(RlhfFairError, match=rf"{what} gave (inf|1e\+300) for row y; PPO needs a finite number"):
        train_decider(table, given("reward"), DeciderSettings(features=("income",)), seed=0, fairness=fairness)
