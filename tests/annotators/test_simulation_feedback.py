"""Simulated feedback follows the distributions that the model names, and the truth beside it is the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from rlhf_fair.annotators.assignment_repair import repair
from rlhf_fair.annotators.quality import check_quality
from rlhf_fair.annotators.simulation_behaviour import leaving_hazard, within_rater_slope
from rlhf_fair.annotators.simulation_feedback import simulate_feedback
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.stats.agreement import krippendorff_alpha
from rlhf_fair.stats.group_agreement import group_agreement
from rlhf_fair.tables import FEEDBACK, validate
from tests.annotators.simulated_worlds import ALIKE, BY, design, simulated

LARGE = (300, 400, 100)


def near(count: float, n: int, share: float) -> bool:
    """Within four standard errors of a binomial share."""
    return abs(count / n - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_pairs_with_ties_follow_rao_and_kupper() -> None:
    # theta = 3, strengths 2 and 1: a wins 2 / (2 + 3·1) = 0.4, b 1 / (1 + 3·2) = 1/7, the rest 16/35 are ties
    answers = {"kind": "pair", "tie": np.log(3)}
    found = simulated(LARGE, ALIKE | {"answers": answers, "groups": {n: {"shift": np.log(2)} for n in "xy"}}).feedback
    for choice, share in (("a", 0.4), ("b", 1 / 7), ("tie", 16 / 35)):
        assert near((found["choice"] == choice).sum(), len(found), share)


def test_strengths_are_further_cuts_of_the_same_lead() -> None:
    # even pair, logistic lead: |lead| > t has probability 2 / (1 + e^t): tie (t = ln 3) 1/2, beyond ln 7 a quarter
    answers = {"kind": "pair", "tie": np.log(3), "strengths": [np.log(7)]}
    found = simulated(LARGE, ALIKE | {"answers": answers}).feedback
    for strength, share in ((0, 0.5), (1, 0.25), (2, 0.25)):
        assert near((found["strength"] == strength).sum(), len(found), share)
    assert (found["choice"].eq("tie") == found["strength"].eq(0)).all()


def test_what_is_shown_first_gains() -> None:
    content = {"answers": {"kind": "pair"}, "preferences": {"item_sd": 0.0}, "raters": {"first_shown": np.log(4)}}
    found = simulated(LARGE, content).feedback
    first = found["choice"].eq("a") == found["order"].eq("ab")
    assert near(first.sum(), len(first), 0.8)  # 4 / (4 + 1)


@pytest.mark.parametrize(("link", "share"), [("logit", 0.75), ("probit", 0.8640)])  # Φ(ln 3) = 0.8640
def test_ratings_follow_the_cumulative_link(link: str, share: float) -> None:
    answers = {"link": link, "thresholds": [0.0], "values": [10, 20]}
    found = simulated(LARGE, ALIKE | {"answers": answers, "groups": {n: {"shift": np.log(3)} for n in "xy"}}).feedback
    assert near((found["value"] == 20).sum(), len(found), share)


def test_groups_features_and_scalars() -> None:
    assignments, annotators = design(*LARGE)
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(400)], "feature.length": np.arange(400) % 2})
    model = AnnotatorModel.model_validate(
        ALIKE
        | {
            "preferences": {"item_sd": 0.0, "features": {"length": {"mean": 1.0, "groups": {"x": -1.0}}}},
            "answers": {"kind": "scalar", "link": "probit", "location": 5.0, "unit": 2.0},
            "groups": {"x": {"shift": 0.5}},
        }
    )
    drawn = simulate_feedback(model, assignments, annotators, by=BY, items=items, rng=np.random.default_rng(0))
    long = drawn.feedback["item_id"].map(items.set_index("item_id")["feature.length"])
    means = drawn.feedback["value"].groupby([drawn.truth["group"], long]).mean()
    # location + unit · (shift + coefficient): x 5 + 2·0.5 = 6 and 6 - 2 = 4; y 5 and 7
    for (group, is_long), mean in {("x", 0): 6.0, ("x", 1): 4.0, ("y", 0): 5.0, ("y", 1): 7.0}.items():
        assert means[group, is_long] == pytest.approx(mean, abs=4 * 2 / np.sqrt(4_500))
    assert drawn.utilities.groupby("group")["utility"].mean().to_dict() == {"x": 0.5, "y": 0.0}


def test_careless_time_and_stretches() -> None:
    content = {"careless": {"share": 1.0, "time": 0.3, "stretch": 10}}
    truth = simulated((200, 1000, 500), content).truth
    now, following = truth["careless"].to_numpy()[:-1], truth["careless"].to_numpy()[1:]
    same_rater = truth["annotator_id"].to_numpy()[:-1] == truth["annotator_id"].to_numpy()[1:]
    ends = (now & ~following & same_rater).sum()
    assert near(ends, (now & same_rater).sum(), 1 / 10)
    # a chain that remembers r = 1 - 1/10 - 0.3/0.7/10: its mean varies (1 + r)/(1 - r) times as much as coin flips
    r = 1 - 0.1 - 0.1 * 0.3 / 0.7
    error = np.sqrt(0.21 / len(truth) * (1 + r) / (1 - r))
    assert abs(truth["careless"].mean() - 0.3) < 4 * error
    first = truth.loc[truth["position"] == 1, "careless"]
    assert near(first.sum(), len(first), 0.3)


def habit(kind: str, **weights: float) -> dict[str, Any]:
    none = {"first_shown": 0.0, "straight_line": 0.0, "random": 0.0, "copy": 0.0}
    return {"answers": {"kind": kind}, "careless": {"share": 1.0} | none | weights}


def test_careless_habits() -> None:
    size = (60, 100, 50)
    pairs = simulated(size, habit("pair", first_shown=1.0)).feedback
    assert (pairs["choice"].eq("a") == pairs["order"].eq("ab")).all()
    pairs = simulated(size, habit("pair", straight_line=1.0)).feedback
    first = pairs["choice"].eq("a") == pairs["order"].eq("ab")
    assert set(first.groupby(pairs["annotator_id"]).mean()) == {0.0, 1.0}
    assert (simulated(size, habit("rating", first_shown=1.0)).feedback["value"] == 1).all()
    lines = simulated(size, habit("rating", straight_line=1.0)).feedback.groupby("annotator_id")["value"]
    assert (lines.nunique() == 1).all()
    assert lines.first().nunique() == 5
    shares = simulated(size, habit("rating", random=1.0)).feedback["value"].value_counts()
    assert distributions.chisquare(shares).pvalue > 1e-4
    seconds = simulated(size, habit("rating", random=1.0)).feedback["seconds"]
    assert np.log(seconds.clip(lower=0.05)).median() == pytest.approx(np.log(1.5), abs=0.25)


def test_copies_are_found_by_the_quality_control_and_without_them_nobody_is() -> None:
    content = {"careless": {"share": 0.2, "first_shown": 0, "straight_line": 0, "random": 0, "copy": 1}}
    drawn = simulated((60, 80, 60), content)
    copiers = set(drawn.truth.loc[drawn.truth["copied"], "annotator_id"])
    assert len(copiers) > 3
    # of two equal records the later one counts as the copy, so a source may be marked in its copier's place
    assert len(_duplicates(drawn.feedback)) >= len(copiers) / 2
    assert not _duplicates(simulated((60, 80, 60), {}).feedback)
    rows = drawn.feedback.merge(drawn.truth[["item_id", "annotator_id", "copied"]], on=["item_id", "annotator_id"])
    same = rows.duplicated(["item_id", "value", "seconds"], keep=False)
    assert same[rows["copied"]].all()


def _duplicates(feedback: pd.DataFrame) -> set[str]:
    checks = check_quality(feedback).checks
    return set(checks.loc[(checks["check"] == "duplicates") & checks["flagged"].astype(bool), "annotator_id"])


def test_carelessness_shows_in_agreement() -> None:
    # A choice between a and b has mean 0 and variance 1, read or not; two raters agree beyond chance only where both
    # read, a share (1 - 0.3)² = 0.49 of the pairs of answers. So alpha falls to 0.49 of itself.
    read = simulated((300, 300, 100), {"answers": {"kind": "pair"}, "preferences": {"item_sd": 3.0}}).feedback
    careless = {"careless": {"share": 1.0, "time": 0.3, "stretch": 2, "first_shown": 0, "straight_line": 0}}
    content = {"answers": {"kind": "pair"}, "preferences": {"item_sd": 3.0}} | careless
    not_read = simulated((300, 300, 100), content).feedback
    whole, less = (krippendorff_alpha(t["item_id"], t["choice"], level="nominal").alpha for t in (read, not_read))
    assert less / whole == pytest.approx(0.49, abs=0.02)


def test_leaving_follows_the_hazard_by_group() -> None:
    content = {"leaving": {"hazard": 0.01}, "groups": {"x": {"hazard": 0.03}}}
    drawn = simulated((900, 200, 60), content)
    assignments, annotators = design(900, 200, 60)
    assert len(drawn.feedback) + len(drawn.unanswered) == len(assignments)
    group = annotators.set_index("annotator_id")["attr.group"]
    for name, hazard in (("x", 0.03), ("y", 0.01)):
        asked = assignments[assignments["annotator_id"].map(group) == name]
        done = drawn.feedback[drawn.feedback["annotator_id"].map(group) == name]
        at_risk = len(done) + sum(group[who] == name for who in drawn.left)
        assert near(leaving_hazard(done, asked) * at_risk, at_risk, hazard)
    answered = drawn.truth.groupby("annotator_id")["answered"].agg(list)
    assert all(sorted(flags, reverse=True) == flags for flags in answered)  # who has left does not come back


def test_load_drives_people_away() -> None:
    content = {"leaving": {"hazard": 0.002, "per_100_assigned": np.log(5)}}
    few, many = (simulated((500, 300, load), content) for load in (100, 200))
    for drawn, hazard in ((few, 0.01), (many, 0.05)):  # 0.002 · 5 and 0.002 · 25
        at_risk = len(drawn.feedback) + len(drawn.left)
        assert near(len(drawn.left), at_risk, hazard)


def test_open_assignments_give_repair_something_to_do() -> None:
    drawn = simulated((30, 100, 20), {"leaving": {"hazard": 0.02}})
    assignments, annotators = design(30, 100, 20)
    assert drawn.left
    done = repair(assignments, annotators, drawn.left, rng=np.random.default_rng(0))
    assert len(done.replaced) + len(done.unreplaced) == assignments["annotator_id"].isin(drawn.left).sum()
    assert not set(done.assignments["annotator_id"]) & set(drawn.left)


def test_drift_is_recovered_by_regression_and_fatigue_by_variance() -> None:
    content = {
        "answers": {"kind": "scalar", "link": "probit"},
        "preferences": {"item_sd": 0.0},
        "drift": {"leniency": 0.5, "log_temperature": np.log(2), "log_seconds": -0.7},
    }
    drawn = simulated((400, 400, 200), content)
    rater = pd.factorize(drawn.feedback["annotator_id"])[0]
    position = drawn.feedback["position"].to_numpy(float)
    slope = within_rater_slope(drawn.feedback["value"].to_numpy(float), position, rater)
    # residual SD at most 4 (1 · 2^2 at task 200) on 400 · 200 positions of variance 200²/12
    assert abs(slope * 100 - 0.5) < 4 * 100 * 4 / np.sqrt(400 * 200 * 200**2 / 12)
    residual = drawn.feedback["value"] - drawn.truth["leniency"] - 0.005 * (position - 1)
    late, early = residual[position > 190].std(), residual[position <= 10].std()
    assert np.log(late / early) == pytest.approx(np.log(2) * 1.9, abs=0.1)
    pace = np.polyfit(position / 100, np.log(drawn.feedback["seconds"]), 1)[0]
    assert pace == pytest.approx(-0.7, abs=0.02)


def test_attributes_are_withheld_as_the_model_says() -> None:
    content = {"disclosure": {"prefer_not_to_say": 0.1, "missing": 0.05}, "groups": {"x": {"prefer_not_to_say": 0.4}}}
    drawn = simulated((3000, 10, 2), content)
    _, annotators = design(3000, 10, 2)
    known = drawn.annotators["attr.group"]
    for name, refused in (("x", 0.4), ("y", 0.1)):
        own = known[annotators["attr.group"] == name]
        assert near((own == "prefer_not_to_say").sum(), len(own), refused)
        assert near(own.isna().sum(), len(own), 0.05)
    assert set(drawn.truth["group"]) == {"x", "y"}  # the truth knows them all


def test_feedback_keeps_its_contract_and_its_mark() -> None:
    for kind in ("rating", "pair", "scalar"):
        drawn = simulated((20, 30, 10), {"answers": {"kind": kind}, "leaving": {"hazard": 0.02}})
        assert len(validate(drawn.feedback, FEEDBACK).rejects) == 0
        assert drawn.feedback["simulated"].all()
        assert not set(drawn.feedback) & {"utility", "careless", "leniency", "group"}
        assert drawn.truth["answered"].sum() == len(drawn.feedback)


def test_one_seed_one_world() -> None:
    content = {"careless": {"share": 0.3, "copy": 1.0}, "leaving": {"hazard": 0.01}}
    one, same, other = (simulated((30, 40, 20), content, seed=seed).feedback for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_without_group_effects_no_group_agrees_more_with_itself() -> None:
    assignments, annotators = design(30, 40, 20)
    group = assignments["annotator_id"].map(annotators.set_index("annotator_id")["attr.group"])
    model, rng = AnnotatorModel(), np.random.default_rng(7)
    p = []
    for _ in range(100):
        value = simulate_feedback(model, assignments, annotators, by=BY, rng=rng).feedback["value"]
        columns = (assignments["item_id"], assignments["annotator_id"], value, group)
        p.append(group_agreement(*columns, level="interval", permutations=39, rng=rng)[0].p_difference)
    low, high = distributions.binom.ppf([0.0005, 0.9995], 100, 0.05)  # p <= 0.05: the two least of 40 ranks
    assert low <= (np.array(p) <= 0.05).sum() <= high
    assert distributions.kstest(p, "uniform").pvalue > 1e-4


def test_faults_are_named() -> None:
    assignments, annotators = design(5, 5, 2)
    rng = np.random.default_rng(0)
    shift = AnnotatorModel.model_validate({"groups": {"z": {"shift": 1.0}}})
    with pytest.raises(SettingsError, match=r"groups.z: no such group; allowed: x, y"):
        simulate_feedback(shift, assignments, annotators, by=BY, rng=rng)
    with pytest.raises(SettingsError, match="no attribute makes groups here"):
        simulate_feedback(shift, assignments, annotators, rng=rng)
    with pytest.raises(RowError, match="'r0', who is not among the 4"):
        simulate_feedback(AnnotatorModel(), assignments, annotators.iloc[1:], rng=rng)
    with pytest.raises(RowError, match="'r0' twice"):
        simulate_feedback(AnnotatorModel(), assignments, pd.concat([annotators, annotators.iloc[:1]]), rng=rng)
    with pytest.raises(ColumnError, match=r"attr\.age"):
        simulate_feedback(AnnotatorModel(), assignments, annotators, by=["attr.age"], rng=rng)
    feature = AnnotatorModel.model_validate({"preferences": {"features": {"length": {"mean": 1.0}}}})
    with pytest.raises(SettingsError, match=r"needs the items' column 'feature\.length'"):
        simulate_feedback(feature, assignments, annotators, rng=rng)
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(5)], "feature.length": ["1", "2", "x", "1", "2"]})
    with pytest.raises(RowError, match="of item 'i2' is no finite number"):
        simulate_feedback(feature, assignments, annotators, items=items, rng=rng)
