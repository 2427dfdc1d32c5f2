"""Weights: Kish's numbers, margins met, trimming, people of whom something is unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.weights import Weighting, design_effect, raking_weights, weigh_panel
from rlhf_fair.annotators.weights_raking import margin_cells
from rlhf_fair.annotators.weights_replicates import replicate_estimate
from rlhf_fair.annotators.weights_response import design_weights, response_classes
from rlhf_fair.annotators.weights_trimming import error_bound
from rlhf_fair.errors import ColumnError, InfeasibleError, RowError, SettingsError
from rlhf_fair.stats.columns import kish_effective_n

PEOPLE = Population.from_shares({"gender": {"woman": 0.5, "man": 0.5}, "age": {"young": 0.4, "old": 0.6}})


def make_members(women_young: int, women_old: int, men_young: int, men_old: int) -> pd.DataFrame:
    cells = {
        ("woman", "young"): women_young,
        ("woman", "old"): women_old,
        ("man", "young"): men_young,
        ("man", "old"): men_old,
    }
    rows = [cell for cell, count in cells.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["attr.gender", "attr.age"])
    return table.assign(annotator_id=[f"p{i}" for i in range(len(rows))])


def test_kish_numbers() -> None:
    assert kish_effective_n([1, 1, 1, 1, 3, 3]) == pytest.approx(4.5455, abs=5e-5)  # 10^2 / 22
    assert design_effect([1, 1, 1, 1, 3, 3]) == pytest.approx(1.32)
    assert kish_effective_n([2, 2, 2]) == pytest.approx(3)
    assert np.isnan(kish_effective_n([0, 0]))


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=4, max_size=4))
def test_margins_are_met_and_odds_ratio_kept(counts: list[int]) -> None:
    members = make_members(*counts)
    found = raking_weights(members, PEOPLE, trim=1e9)
    assert found.weights.mean() == pytest.approx(1)
    assert found.max_gap < 1e-6
    joint = members.assign(w=found.weights.to_numpy()).groupby(["attr.gender", "attr.age"])["w"].sum()
    odds = joint["woman", "young"] * joint["man", "old"] / (joint["woman", "old"] * joint["man", "young"])
    assert odds == pytest.approx(counts[0] * counts[3] / (counts[1] * counts[2]), rel=1e-4)


def test_one_margin_is_post_stratification() -> None:
    # 1 woman of 4, wanted half: her weight is .5/.25 = 2, the men's .5/.75 = 2/3
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    found = raking_weights(make_members(1, 0, 3, 0), people)
    assert found.weights.tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert found.weights.index.tolist() == ["p0", "p1", "p2", "p3"]


def test_design_weights_are_the_start() -> None:
    # a level's two members were drawn with probability 1 and 1/3: inside the level their weights stay 1 to 3
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    members = make_members(2, 0, 2, 0).assign(inclusion_probability=[1, 1 / 3, 0.5, 0.5])
    assert raking_weights(members, people).weights.tolist() == pytest.approx([0.5, 1.5, 1, 1])
    with pytest.raises(RowError, match=r"row 1: inclusion_probability '0'; allowed: a number in \(0, 1\]"):
        raking_weights(members.assign(inclusion_probability=0), people)


def test_trimming_caps_weights_and_reports_the_gap_it_leaves() -> None:
    members = make_members(1, 0, 50, 49)
    free, capped = raking_weights(members, PEOPLE, trim=1e9), raking_weights(members, PEOPLE, trim=5)
    assert free.weights.max() > 5
    assert capped.weights.max() == pytest.approx(5)
    assert capped.weights.mean() == pytest.approx(1)
    assert capped.trimmed == 1
    assert capped.max_gap == pytest.approx(0.45)  # one woman of 100 at weight 5 stands for 5 %, not 50 %
    with pytest.raises(SettingsError, match="trim = 1; allowed"):
        raking_weights(members, PEOPLE, trim=1)


def test_unknown_attributes_are_counted_and_left_out_of_their_margin() -> None:
    members = make_members(10, 10, 10, 10)
    members.loc[0, "attr.gender"] = None
    members.loc[1:2, "attr.gender"] = "other"
    found = raking_weights(members, PEOPLE)
    assert found.unknown == {"gender": 3, "age": 0}
    assert (found.weights > 0).all()
    assert found.max_gap < 1e-6
    women = found.margins.set_index(["attribute", "level"]).loc[("gender", "woman")]
    assert women["panel"] == pytest.approx(17 / 37)


def test_cells_nobody_stands_for_are_visible() -> None:
    found = raking_weights(make_members(5, 0, 5, 0), PEOPLE)
    old = found.margins.set_index("level").loc["old"]
    assert (old["target"], old["panel"], old["weighted"]) == (0.6, 0, 0)
    assert found.max_gap == pytest.approx(0.6)
    assert found.weights.tolist() == pytest.approx([1] * 10)


def test_missing_column_is_named() -> None:
    with pytest.raises(ColumnError, match=r"panel lacks column 'attr\.age'"):
        raking_weights(make_members(1, 1, 1, 1).drop(columns="attr.age"), PEOPLE)


# Seed, row totals and column totals of a textbook example; the first fitted row is published with four decimals.
SEED = np.array([[40, 30, 20, 10], [35, 50, 100, 75], [30, 80, 70, 120], [20, 30, 40, 50]])
ROWS, COLUMNS = [150, 300, 400, 150], [200, 300, 400, 100]


def make_table(counts: np.ndarray, names: tuple[str, str] = ("row", "column")) -> pd.DataFrame:
    """One member for each count of a two-way table."""
    cells = [(f"r{i}", f"c{j}") for (i, j), n in np.ndenumerate(counts) for _ in range(n)]
    table = pd.DataFrame(cells, columns=[f"attr.{name}" for name in names])
    return table.assign(annotator_id=[f"p{i}" for i in range(len(cells))])


def two_way(rows: list[float], columns: list[float]) -> Population:
    return Population.from_shares(
        {
            "row": {f"r{i}": n for i, n in enumerate(rows)},
            "column": {f"c{j}": n for j, n in enumerate(columns)},
        }
    )


def test_raking_of_a_published_table() -> None:
    members = make_table(SEED)
    found = raking_weights(members, two_way(ROWS, COLUMNS), trim=np.inf)
    joint = members.assign(w=found.weights.to_numpy()).groupby(["attr.row", "attr.column"])["w"].sum().unstack()
    fitted = joint / joint.sum().sum() * 1000
    np.testing.assert_allclose(fitted.loc["r0"], [64.5585, 46.2325, 35.3843, 3.8247], atol=5e-5)
    np.testing.assert_allclose(fitted.sum(axis=1), ROWS)
    np.testing.assert_allclose(fitted.sum(axis=0), COLUMNS)


def test_raking_is_the_poisson_model_with_the_panel_as_offset() -> None:
    # The fitted table of raking maximises the likelihood of a log-linear model without interaction beyond the seed's.
    rows, columns = np.indices(SEED.shape).reshape(2, -1)
    design = np.column_stack([np.eye(4)[rows], np.eye(4)[columns][:, 1:]])
    wanted = np.outer(ROWS, COLUMNS) / 1000
    model = sm.GLM(wanted.ravel(), design, family=sm.families.Poisson(), offset=np.log(SEED.ravel()))
    fitted = model.fit(tol=1e-14).fittedvalues
    members = make_table(SEED)
    weights = raking_weights(members, two_way(ROWS, COLUMNS), trim=np.inf).weights.to_numpy()
    ours = members.assign(w=weights).groupby(["attr.row", "attr.column"])["w"].sum().to_numpy()
    np.testing.assert_allclose(ours / ours.sum() * 1000, fitted, rtol=1e-7)


RACES = Population.from_shares(
    {"race": {"White": 0.7, "Black": 0.25, "Asian": 0.15}, "gender": {"woman": 0.5, "man": 0.5}}, multi_select=["race"]
)


def make_races(rng: np.random.Generator, n: int = 200) -> pd.DataFrame:
    named = ["White", "Black", "Asian", "White|Black", "Asian|White"]
    return pd.DataFrame(
        {
            "annotator_id": [f"p{i}" for i in range(n)],
            "attr.race": rng.choice(named, n, p=[0.4, 0.2, 0.2, 0.1, 0.1]),
            "attr.gender": rng.choice(["woman", "man"], n, p=[0.35, 0.65]),
            "inclusion_probability": rng.choice([0.2, 0.5, 1.0], n),
        }
    )


def test_levels_of_which_people_name_several_are_calibrated() -> None:
    # Deville and Särndal's (1992) multiplicative case: w = d exp(x'λ), with λ from the dual, solved here by scipy.
    members = make_races(np.random.default_rng(0))
    found = raking_weights(members, RACES, trim=np.inf)
    assert found.max_gap < 1e-8
    x = np.column_stack(
        [members["attr.race"].str.contains(race) for race in ("White", "Black", "Asian")]
        + [members["attr.gender"] == "woman", np.ones(len(members))]
    ).astype(float)
    base = 1 / members["inclusion_probability"].to_numpy()
    base /= base.mean()
    totals = len(members) * np.array([0.7, 0.25, 0.15, 0.5, 1])

    def dual(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        w = base * np.exp(x @ coefficients)
        return float(w.sum() - totals @ coefficients), x.T @ w - totals

    solved = minimize(dual, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.weights, base * np.exp(x @ solved.x), rtol=1e-6)


def test_order_of_levels_and_of_everything_else_does_not_matter() -> None:
    members = make_races(np.random.default_rng(1))
    found = raking_weights(members, RACES, trim=3).weights
    other = members.sample(frac=1, random_state=0)
    other["attr.race"] = other["attr.race"].map(lambda cell: "|".join(reversed(cell.split("|"))))
    other["inclusion_probability"] /= 3  # scale of the chances
    turned = Population(tuple(reversed(RACES.margins)))
    pd.testing.assert_series_equal(found, raking_weights(other, turned, trim=3).weights[found.index], rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(3, 15), min_size=4, max_size=4), st.lists(st.integers(0, 3), min_size=2, max_size=2), st.data()
)
def test_order_does_not_matter_with_unknown_members(counts: list[int], unknown: list[int], data: st.DataObject) -> None:
    members = make_members(*counts)
    for column, number in zip(["attr.gender", "attr.age"], unknown, strict=True):
        rows = data.draw(st.permutations(range(len(members))))[: min(number, len(members) - 1)]
        members.loc[list(rows), column] = None
    one = raking_weights(members, PEOPLE, trim=np.inf)
    two = raking_weights(members, Population(tuple(reversed(PEOPLE.margins))), trim=np.inf)
    held = [members["attr.gender"].isna().to_numpy(), members["attr.age"].isna().to_numpy()]
    kept = all(
        w[rows].sum() == pytest.approx(rows.sum(), abs=1e-5) for w in (one.weights, two.weights) for rows in held
    )
    if kept and one.settled and two.settled:  # small panels may be unable to keep the weight of unknown members
        np.testing.assert_allclose(one.weights, two.weights, rtol=1e-3, atol=1e-5)


def test_full_cells_are_post_stratification_in_closed_form() -> None:
    people = Population.from_shares({"row*column": {"r0": {"c0": 0.1, "c1": 0.4}, "r1": {"c0": 0.3, "c1": 0.2}}})
    counts = np.array([[10, 30], [20, 40]])
    members = make_table(counts)
    found = raking_weights(members, people, trim=np.inf)
    cell = [
        np.array([[0.1, 0.4], [0.3, 0.2]])[int(r[1]), int(c[1])]
        for r, c in members[["attr.row", "attr.column"]].to_numpy()
    ]
    size = [counts[int(r[1]), int(c[1])] for r, c in members[["attr.row", "attr.column"]].to_numpy()]
    np.testing.assert_allclose(found.weights, 100 * np.array(cell) / np.array(size))  # N_h / n_h, of mean 1
    by_group = found.margins.set_index("level")
    np.testing.assert_allclose(by_group["effective_size"], [10, 30, 20, 40])  # equal weights inside each cell
    np.testing.assert_allclose(by_group["design_effect"], 1)


def test_an_empty_crossed_cell_keeps_the_first_attributes_shares() -> None:
    people = Population.from_shares({"row*column": {"r0": {"c0": 0.1, "c1": 0.4}, "r1": {"c0": 0.3, "c1": 0.2}}})
    found = raking_weights(make_table(np.array([[10, 0], [20, 40]])), people, trim=np.inf)
    by_cell = found.margins.set_index("level")
    assert by_cell["aim"].tolist() == pytest.approx([0.5, 0, 0.3, 0.2])  # r0 keeps its half
    assert by_cell["weighted"].tolist() == pytest.approx([0.5, 0, 0.3, 0.2])
    assert any(
        "r0*c1: nobody stands for it; its share of 0.400 goes to the other cells of row=r0" in n for n in found.notes
    )


def test_contradicting_margins_are_an_error_that_names_them() -> None:
    # every woman is young and every man old, so half women means half young; wanted are 40 %
    members = make_members(10, 0, 0, 10)
    with pytest.raises(InfeasibleError, match=r"no weights of these members meet all margins.*age=(young|old) wants"):
        weigh_panel(members, PEOPLE)
    found = weigh_panel(members, PEOPLE, Weighting(accept_gap=0.2))
    assert not found.settled
    assert "no weights of these members" in found.notes[0]
    assert weigh_panel(make_members(1, 1, 1, 1), PEOPLE).settled


def test_thin_and_unnameable_cells_are_said() -> None:
    people = Population.from_shares({"race": {"White": 0.7, "Black": 0.4, "Roma": 0.1}}, multi_select=["race"])
    members = pd.DataFrame(
        {"annotator_id": list("pqrstuvw"), "attr.race": ["White"] * 5 + ["White|Black", "Black", None]}
    )
    found = weigh_panel(members, people, Weighting(trim=np.inf))
    assert "race=Black: thin, 2 of at least 5 members wanted" in found.notes
    assert "race=Roma: nobody stands for it; its share of 0.100 cannot be met" in found.notes
    assert "1 members of unknown race keep their weight in that margin" in found.notes
    weighted = found.margins.set_index("level")["weighted"]
    assert (weighted["White"], weighted["Black"]) == pytest.approx((0.7, 0.4))


def test_response_is_adjusted_in_classes() -> None:
    # women: 4 asked, 2 responded, factor 2; men: 4 asked, 4 responded, factor 1. Drawn with chance 1/2, 1/2 and 1.
    members = make_members(4, 0, 4, 0).assign(inclusion_probability=[0.5] * 4 + [1.0] * 4)
    response = response_classes(members, np.array([True, True, False, False, True, True, True, True]), ["gender"])
    adjusted = response.adjust(design_weights(members))
    assert adjusted.tolist() == [4, 4, 0, 0, 1, 1, 1, 1]
    assert response.table(design_weights(members))["rate"].tolist() == [0.5, 1]
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    found = weigh_panel(members.assign(responded=["yes", "yes", "no", "no", 1, "1", "True", "y"]), people)
    assert found.weights.index.tolist() == ["p0", "p1", "p4", "p5", "p6", "p7"]
    assert found.weights.tolist() == pytest.approx([1.5, 1.5, 0.75, 0.75, 0.75, 0.75])


def test_a_class_without_responses_falls_to_all() -> None:
    members = make_members(2, 0, 2, 0)
    response = response_classes(members, np.array([True, True, False, False]), ["gender"])
    assert response.adjust(np.ones(4)).tolist() == [2, 2, 0, 0]
    with pytest.raises(RowError, match="none of the panel's 4 members responded"):
        response_classes(members, np.zeros(4, dtype=bool))
    with pytest.raises(RowError, match="row 2: responded 'maybe'; allowed"):
        weigh_panel(members.assign(responded=["yes", "maybe", "no", "no"]), PEOPLE)
    with pytest.raises(SettingsError, match="response_by needs to know who responded"):
        weigh_panel(members, PEOPLE, Weighting(response_by=("gender",)))


def test_response_classes_are_as_fine_as_five_responses_each_allow() -> None:
    members = make_members(5, 5, 20, 4)
    responded = np.ones(34, dtype=bool)
    assert response_classes(members, responded).attributes == ("gender",)  # four old men are too few
    responded[:6] = False
    assert response_classes(members, responded).attributes == ("age",)  # four women too, eight old people not


def test_auto_trims_only_where_it_lowers_the_bound() -> None:
    # One of 100, the only woman, must stand for half: weight 50.
    lone = make_members(0, 1, 50, 49)
    free = weigh_panel(lone, PEOPLE, Weighting(trim=np.inf))
    auto = weigh_panel(lone, PEOPLE, Weighting(trim="auto"))
    assert free.weights.max() == pytest.approx(50)
    cells = margin_cells(lone, PEOPLE)
    assert error_bound(free.weights.to_numpy(), cells) > error_bound(auto.weights.to_numpy(), cells) > 0
    even = weigh_panel(make_members(20, 30, 20, 30), PEOPLE, Weighting(trim="auto"))
    assert even.weights.tolist() == pytest.approx([1] * 100)
    assert (even.cap, even.trimmed) == (np.inf, 0)


def test_error_bound_bounds_the_error_of_every_outcome() -> None:
    # Worst case over outcomes of variance 1 that depend on gender alone: bias² is the chi-square distance.
    members = make_members(20, 10, 30, 40)
    weights = np.ones(100)
    y = np.where(members["attr.gender"] == "woman", 1.0, -1.0)  # mean 0 and variance 1 in the population
    bias = float(np.mean(y))  # .3 - .7 = -.4; chi-square (.2²/.5)·2 = .16
    young = np.where(members["attr.age"] == "young", np.sqrt(0.6 / 0.4), -np.sqrt(0.4 / 0.6))
    distance = error_bound(weights, margin_cells(members, PEOPLE)) - 1 / 100
    assert distance == pytest.approx(max(bias**2, float(np.mean(young)) ** 2))


def test_replicates_of_equal_weights_give_the_textbook_standard_error() -> None:
    rng = np.random.default_rng(0)
    members = make_members(5, 5, 5, 5)
    y = pd.Series(rng.normal(size=20), index=members["annotator_id"])
    whole = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    members["attr.gender"] = None  # nothing known, nothing raked: every replicate has equal weights
    found = weigh_panel(members, whole, Weighting(replicates=20), rng=rng)
    assert found.replicates is not None
    estimate = replicate_estimate(lambda w: float(y @ w / w.sum()), found.weights, found.replicates)
    assert estimate.standard_error == pytest.approx(float(y.std() / np.sqrt(20)))
    assert (estimate.df, estimate.n) == (pytest.approx(19), 20)


def test_replicates_of_post_stratification_have_the_stratified_standard_error() -> None:
    # Var = Σ W_h² s_h²/n_h (Cochran 1977, 5.3); the jackknife of re-raked weights has (n-1)/n · n_h/(n_h - 1) more.
    rng = np.random.default_rng(3)
    members = make_members(40, 0, 160, 0)
    y = pd.Series(np.r_[rng.normal(0, 1, 40), rng.normal(3, 2, 160)], index=members["annotator_id"])
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    found = weigh_panel(members, people, Weighting(trim=np.inf, replicates=200), rng=rng)
    assert found.replicates is not None
    estimate = replicate_estimate(lambda w: float(y @ w / w.sum()), found.weights, found.replicates)
    women, men = y.to_numpy()[:40], y.to_numpy()[40:]
    by_hand = 199 / 200 * sum(0.25 * g.var(ddof=1) / (len(g) - 1) for g in (women, men))
    assert estimate.standard_error == pytest.approx(np.sqrt(by_hand))


def test_replicate_faults() -> None:
    with pytest.raises(SettingsError, match="replicates = 1; allowed: 0, or 2 and more"):
        Weighting(replicates=1)
    weights = pd.Series([1.0, 1.0], index=["p", "q"])
    with pytest.raises(SettingsError, match="by the same annotators"):
        replicate_estimate(lambda w: float(w.sum()), weights, pd.DataFrame(np.eye(2)))
    nothing = replicate_estimate(lambda w: np.nan, weights, pd.DataFrame(1 - np.eye(2), index=["p", "q"]))
    assert np.isnan(nothing.estimate)
    assert nothing.reason


def test_intervals_from_replicates_cover_and_weights_remove_the_bias() -> None:
    # Women (half of everybody) say 1 with chance .7, men .3: truth .5. Women are drawn half as often as men and respond
    # less, the old less than the young; 100 drawn, 20 replicates. 95 % of 200 panels: 180 to 198 with probability .998.
    rng = np.random.default_rng(7)
    covered, plain, runs = 0, 0, 200
    for _ in range(runs):
        woman, young = rng.random(400) < 0.5, rng.random(400) < 0.4
        chance = np.where(woman, 0.18, 0.36)
        drawn = rng.random(400) < chance
        answers = rng.random(400) < np.where(woman, 0.7, 0.3) + np.where(young, 0.12, -0.08)
        responds = rng.random(400) < 0.9 - 0.2 * woman - 0.1 * ~young
        members = pd.DataFrame(
            {
                "annotator_id": np.arange(400),
                "attr.gender": np.where(woman, "woman", "man"),
                "attr.age": np.where(young, "young", "old"),
                "inclusion_probability": chance,
                "responded": responds.astype(int),
            }
        )[drawn]
        y = pd.Series(answers.astype(float)).loc[members["annotator_id"]]
        found = weigh_panel(members, PEOPLE, Weighting(replicates=20), rng=rng)
        own = y.loc[found.weights.index]
        assert found.replicates is not None
        e = replicate_estimate(lambda w, y=own: float(y @ w / w.sum()), found.weights, found.replicates)
        covered += e.ci_low <= 0.5 <= e.ci_high
        half = 1.96 * float(own.std() / np.sqrt(len(own)))
        plain += abs(float(own.mean()) - 0.5) <= half
    assert 180 <= covered <= 198
    assert plain < 0.85 * runs  # the mean of those who answered, with the usual interval


def test_who_joined_after_the_draw_starts_from_the_mean_of_their_like() -> None:
    # Young women were drawn with 1/2 and 1/4: a joined one starts from (2 + 4)/2 = 3. Old men were not drawn at all, so
    # the joined one starts from the mean of all that are known, (2 + 4 + 5)/3 = 11/3.
    members = make_members(3, 1, 0, 1).assign(inclusion_probability=[0.5, 0.25, np.nan, 0.2, np.nan])
    assert design_weights(members).tolist() == pytest.approx([2, 4, 3, 5, 11 / 3])
    as_read = members.assign(inclusion_probability=["0.5", "0.25", None, "0.2", " "])
    assert design_weights(as_read).tolist() == pytest.approx([2, 4, 3, 5, 11 / 3])
    notes = weigh_panel(members, PEOPLE, Weighting(accept_gap=np.inf)).notes
    assert any(note.startswith("2 members have no inclusion probability (joined after the draw)") for note in notes)
    with pytest.raises(RowError, match="panel row 1: inclusion_probability ''; allowed"):
        design_weights(members.assign(inclusion_probability=np.nan))


def test_people_for_whom_the_panel_cannot_stand_are_said() -> None:
    members = make_members(5, 5, 5, 5)
    found = weigh_panel(members.assign(unreached_share=0.5), PEOPLE)
    assert found.unreached_share == 0.5
    assert any(note.startswith("warning: 50.0% of the candidates had no chance") for note in found.notes)
    assert weigh_panel(members.assign(unreached_share=0.0), PEOPLE).notes == weigh_panel(members, PEOPLE).notes
    assert np.isnan(weigh_panel(members, PEOPLE).unreached_share)
    with pytest.raises(RowError, match=r"unreached_share '2'; allowed: a number in \[0, 1\]"):
        weigh_panel(members.assign(unreached_share=2), PEOPLE)


@pytest.mark.parametrize(("size", "replicates"), [(1, 4), (1, 2)])
def test_replicates_of_one_member_are_refused(size: int, replicates: int) -> None:
    with pytest.raises(RowError, match="replicates need at least 2 who responded"):
        weigh_panel(
            make_members(size, 0, 0, 0),
            PEOPLE,
            Weighting(replicates=replicates, accept_gap=np.inf),
            rng=np.random.default_rng(0),
        )


def test_a_panel_that_leans_on_few_people_says_so() -> None:
    # 18 drawn with 0.9 and 2 with 0.1: 2 * 10 of 18 / 0.9 + 20 = 40 is half of the weight; of five such people, more.
    members = make_members(5, 5, 5, 5).assign(inclusion_probability=[0.9] * 18 + [0.1] * 2)
    found = weigh_panel(members, PEOPLE, Weighting(accept_gap=np.inf))
    assert found.leans
    assert any(note.startswith("warning: 2 members carry 50.0% of the starting weight") for note in found.notes)
    more = make_members(20, 20, 20, 20).assign(inclusion_probability=[0.9] * 75 + [0.1] * 5)
    assert not weigh_panel(more, PEOPLE, Weighting(accept_gap=np.inf)).leans
