"""Groups compared within strata: a gap that the mix of prompts makes is not penalised, one that it hides is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, Shaped

# Simpson: easy prompts score 1, hard ones 0, whoever is asked; a is mostly asked easy ones
SIMPSON = [("easy", "a", 1.0)] * 8 + [("easy", "b", 1.0)] * 2 + [("hard", "a", 0.0)] * 2 + [("hard", "b", 0.0)] * 8
# hidden: a does better by 1 on easy prompts and worse by 1 on hard ones
HIDDEN = [("easy", "a", 1.0), ("easy", "b", 0.0), ("hard", "a", 0.0), ("hard", "b", 1.0)] * 5
CONTRAST = {"objective": "contrast", "contrasts": {"gap": {"a": 1.0, "b": -1.0}}}


def shaped(rows: list[tuple[str, str, float]], *, stratified: bool, jitter: float = 0.25, **settings: object) -> Shaped:
    plain = {
        "strength": 1.0,
        "floor_strength": 0.0,
        "minimum_count": 0.0,
        "memory": 0.0,
        "strata_by": ("t",),
    } | settings
    strata, groups, scores = zip(*rows, strict=True)
    spread = jitter * (-1.0) ** np.arange(2 * len(rows))  # every row twice, a bit above and a bit below
    return FairnessShaper(FairnessSettings.model_validate(plain)).shape(
        np.zeros(2 * len(rows)),
        np.repeat(scores, 2) + spread,
        np.repeat(groups, 2).tolist(),
        strata=np.repeat(strata, 2).tolist() if stratified else None,
    )


@pytest.mark.parametrize("settings", [{}, {"across_strata": "standardized"}, CONTRAST])
def test_a_gap_that_the_mix_of_prompts_makes_is_not_penalised_within_strata(settings: dict[str, object]) -> None:
    without = shaped(SIMPSON, stratified=False, **settings)
    assert np.abs(without.penalties).max() > 0.05  # a is pushed down for being asked easy questions
    within = shaped(SIMPSON, stratified=True, **settings)
    assert within.penalties == pytest.approx(np.zeros(40))
    # by hand: a .8, b .2, shares 1/2: sd between groups .3
    assert within.metrics["gap"] == pytest.approx(0, abs=1e-12)
    assert within.metrics["gap_pooled"] == without.metrics["gap"] == pytest.approx(0.3)


@pytest.mark.parametrize("settings", [{}, CONTRAST])
def test_opposite_gaps_are_not_hidden_when_each_stratum_counts(settings: dict[str, object]) -> None:
    assert shaped(HIDDEN, stratified=False, **settings).penalties == pytest.approx(np.zeros(40))
    within = shaped(HIDDEN, stratified=True, **settings)
    assert np.abs(within.penalties).min() > 0.05
    assert within.metrics["gap"] == pytest.approx(0.5)
    assert within.metrics["gap_pooled"] == pytest.approx(0, abs=1e-12)
    # means standardized over strata let them cancel, and the curve still shows them
    standardized = shaped(HIDDEN, stratified=True, across_strata="standardized", **settings)
    assert standardized.penalties == pytest.approx(np.zeros(40))
    assert standardized.metrics["gap"] == pytest.approx(0.5)


def test_signed_contrasts_by_stratum_and_standardized_by_hand() -> None:
    # easy: a 1 - b 0 = 1, weight 2/3; hard: a 0 - b 1 = -1, weight 1/3: standardized 1/3
    rows = [("easy", "a", 1.0), ("easy", "b", 0.0)] * 2 + [("hard", "a", 0.0), ("hard", "b", 1.0)]
    each = shaped(rows, stratified=True, **CONTRAST).metrics
    assert each["contrast:gap | easy"] == pytest.approx(1.0)
    assert each["contrast:gap | hard"] == pytest.approx(-1.0)
    both = shaped(rows, stratified=True, across_strata="standardized", **CONTRAST).metrics
    assert both["contrast:gap"] == pytest.approx(1 / 3)


def test_a_stratum_that_lacks_a_group_tells_nothing_of_the_gap() -> None:
    rows = [("easy", "a", 1.0), ("easy", "b", 0.0)] * 3 + [("hard", "b", 9.0)] * 2
    for settings in ({}, CONTRAST, {"across_strata": "standardized"}, CONTRAST | {"across_strata": "standardized"}):
        result = shaped(rows, stratified=True, **settings)
        assert not result.penalties[-4:].any()
        assert np.abs(result.penalties[:-4]).min() > 0.01
    assert np.isnan(shaped(rows, stratified=True, **CONTRAST).metrics["contrast:gap | hard"])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["each", "standardized"]), st.sampled_from(["variance", "contrast"]))
def test_one_stratum_is_no_stratum(seed: int, across: str, objective: str) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        ("only", group, score) for group, score in zip(rng.choice(["a", "b"], 20), rng.normal(size=20), strict=True)
    ]
    rows += [("only", "a", 0.0), ("only", "b", 1.0)]
    settings = (CONTRAST if objective == "contrast" else {}) | {"across_strata": across}
    one, none = shaped(rows, stratified=True, **settings), shaped(rows, stratified=False, **settings)
    assert one.penalties == pytest.approx(none.penalties)
    assert one.metrics["gap"] == pytest.approx(none.metrics["gap"])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["each", "standardized"]), st.booleans())
def test_names_of_strata_and_groups_and_order_of_rows_change_nothing(seed: int, across: str, contrast: bool) -> None:
    rng = np.random.default_rng(seed)
    order, rename = rng.permutation(30), {"a": "z", "b": "y", "c": "x", "s": "2", "t": "1"}
    rows = list(zip(rng.choice(["s", "t"], 30), rng.choice(["a", "b", "c"], 30), rng.normal(size=30), strict=True))

    def penalties(rows: list[tuple[str, str, float]], names: dict[str, str]) -> np.ndarray:
        contrasts = {"gap": {names["a"]: 1.0, names["b"]: 0.5, names["c"]: -1.5}}
        objective = {"objective": "contrast", "contrasts": contrasts} if contrast else {}
        return np.asarray(shaped(rows, stratified=True, jitter=0.0, across_strata=across, **objective).penalties[::2])

    one = penalties(rows, {name: name for name in rename})
    renamed = [(rename[rows[i][0]], rename[rows[i][1]], rows[i][2]) for i in order]
    assert penalties(renamed, rename) == pytest.approx(one[order], abs=1e-9)


def test_the_gap_shown_is_over_strata_that_can_show_one() -> None:
    # easy: a 1, b 0, sd 1/2; hard: b alone
    rows = [("easy", "a", 1.0), ("easy", "b", 0.0)] * 3 + [("hard", "b", 9.0)] * 2
    assert shaped(rows, stratified=True, jitter=0.0).metrics["gap"] == pytest.approx(0.5)
    alone = shaped([("easy", "a", 1.0), ("hard", "b", 0.0)] * 3, stratified=True).metrics
    assert np.isnan(alone["gap"])
    assert np.isnan(alone["noise_floor"])
    assert alone["gap_pooled"] == pytest.approx(0.5)
    assert alone["kappa"] == 0
