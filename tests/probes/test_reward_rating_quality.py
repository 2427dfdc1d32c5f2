from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from rlhf_fair.metrics.preference import preferred
from rlhf_fair.probes.reward_rating_pairs import rated_pairs
from rlhf_fair.probes.reward_rating_quality import GAPS, NUMBERS, GroupQuality, rating_quality, single_rating_ceiling

COLUMN = "attr.race"


def ratings(seed: int, *, raters: int = 40, texts: int = 120, each: int = 30, noise_of_x: float = 1.0) -> pd.DataFrame:
    """Rating = truth of the text + noise of SD 1; x's with another SD. The reward is the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=texts)
    rows = [(rater, text) for rater in range(raters) for text in rng.choice(texts, each, replace=False)]
    rater, text = np.array(rows).T
    group = np.where(rater % 2 == 0, "x", "y")
    noise = rng.normal(size=len(rows)) * np.where(group == "x", noise_of_x, 1.0)
    return pd.DataFrame(
        {
            "annotator_id": [f"r{k}" for k in rater],
            "feedback_item": [f"t{k}" for k in text],
            "stratum": "",
            "rating": truth[text] + noise,
            "reward": 3 * truth[text] + 5,
            COLUMN: group,
        }
    )


def quality(table: pd.DataFrame, **options: object) -> dict[str, GroupQuality]:
    found = rating_quality(table, least=10, rng=np.random.default_rng(0), **options)  # type: ignore[arg-type]
    return {one.group: one for one in found}


def test_numbers_worked_by_hand() -> None:
    # r: rewards 1, 2, 3, ratings 1, 3, 2: pairs (1,2) and (1,3) in order, (2,3) not: 2/3.
    # Deviations -1, 0, 1 and -1, 1, 0: r = 1 / sqrt(2 * 2) = 1/2 = Spearman's; slope with equal SDs the same.
    table = pd.DataFrame(
        {
            "annotator_id": ["r"] * 3,
            "feedback_item": ["1", "2", "3"],
            "stratum": "",
            "rating": [1.0, 3.0, 2.0],
            "reward": [1.0, 2.0, 3.0],
            COLUMN: "x",
        }
    )
    (x,) = rating_quality(table, least=1, rng=np.random.default_rng(0))
    found = [x.values[name].estimate for name in NUMBERS]
    assert found == pytest.approx([2 / 3, 0.5, 0.5, 0.5, 0.0])
    assert x.pairs == 3
    assert all(np.isnan(x.gaps[name].estimate) for name in GAPS)  # there are no others
    assert x.ceiling_reason == "fewer than two texts with two raters of the group"


def test_equal_rewards_count_half_and_equal_ratings_not_at_all() -> None:
    rater, stratum = np.zeros(4, dtype=int), np.array([0, 0, 0, 1])
    found = rated_pairs(
        rater,
        stratum,
        np.array([1.0, 2.0, 2.0, 9.0]),
        preferred,
        np.array([0.0, 0.0, 1.0, -5.0]),
        rng=np.random.default_rng(0),
    )
    # rows 0, 1: equal rewards; rows 0, 2 in order; rows 1, 2 rated alike; row 3 is of another stratum
    assert sorted(found.right.tolist()) == [0.5, 1.0]


def test_many_pairs_are_drawn_and_none_twice() -> None:
    n = 100
    found = rated_pairs(
        np.zeros(n, dtype=int),
        np.zeros(n, dtype=int),
        np.arange(n, dtype=float),
        preferred,
        np.arange(n, dtype=float),
        most=50,
        rng=np.random.default_rng(0),
    )
    assert len(set(zip(found.a.tolist(), found.b.tolist(), strict=True))) == 50
    assert (found.right == 1).all()


def test_correlations_and_slopes_are_those_of_scipy() -> None:
    table = ratings(1, noise_of_x=2.0)
    found = quality(table, intervals=False)
    x, y = (table[table[COLUMN] == group] for group in "xy")
    for name, group in (("x", x), ("y", y)):
        values = found[name].values
        assert values["pearson"].estimate == pytest.approx(stats.pearsonr(group["reward"], group["rating"])[0])
        assert values["spearman"].estimate == pytest.approx(stats.spearmanr(group["reward"], group["rating"])[0])
        slope = stats.linregress(group["reward"], group["rating"]).slope
        scale = table["reward"].std(ddof=0) / table["rating"].std(ddof=0)
        assert values["slope"].estimate == pytest.approx(slope * scale)
    gap = found["x"].values["pearson"].estimate - found["y"].values["pearson"].estimate
    assert found["x"].gaps["pearson"].estimate == pytest.approx(gap)
    assert found["y"].gaps["pearson"].estimate == pytest.approx(-gap)


def test_a_group_whose_ratings_are_noisier_is_found_with_its_ceiling() -> None:
    found = quality(ratings(2, raters=60, texts=200, noise_of_x=3.0))
    # two texts differ by d, their ratings by d + e; for normal d and e of SDs 1 and s the signs agree with probability
    # 1/2 + arctan(1 / s) / pi (Sheppard 1899): s = 3 for x, and 3/4 for y's s = 1
    x, y = found["x"], found["y"]
    expected = {"x": 0.5 + np.arctan(1 / 3) / np.pi, "y": 0.75}
    for name, one in found.items():
        e = one.values["accuracy"]
        assert e.ci_low < expected[name] < e.ci_high
        assert 0 < e.ci_high - e.ci_low < 0.15
    assert x.gaps["accuracy"].ci_high < 0
    assert y.gaps["accuracy"].estimate == pytest.approx(-x.gaps["accuracy"].estimate)
    # a rating is truth of variance 1 and noise of variance 9 (x) or 1 (y): sqrt(1/10), sqrt(1/2)
    assert x.ceiling == pytest.approx(np.sqrt(0.1), abs=0.08)
    assert y.ceiling == pytest.approx(np.sqrt(0.5), abs=0.08)
    # the reward is the truth itself, so it correlates as closely as anything could
    assert y.values["pearson"].estimate == pytest.approx(y.ceiling, abs=0.08)


def test_the_ceiling_is_the_mixed_models_for_equal_numbers_of_ratings() -> None:
    rng = np.random.default_rng(3)
    item = np.repeat(np.arange(60), 5)
    value = rng.normal(size=60)[item] + rng.normal(0, 1.5, 300)
    fit = MixedLM(value, np.ones((300, 1)), groups=item).fit(reml=True)
    icc = float(fit.cov_re[0, 0] / (fit.cov_re[0, 0] + fit.scale))
    ceiling, reason = single_rating_ceiling(item.tolist(), value)
    assert ceiling == pytest.approx(np.sqrt(icc), rel=1e-4)  # balanced and positive: REML is the analysis of variance
    assert reason == ""
    # two texts, the raters of each 0 and 1: no difference between texts
    assert np.isnan(single_rating_ceiling(["a", "a", "b", "b"], np.array([0.0, 1, 0, 1]))[0])


def test_scale_and_level_of_sources_and_of_rewards_go_out() -> None:
    table = ratings(4)
    table["stratum"] = np.where(table["feedback_item"].str.endswith(("1", "2", "3")), "a", "b")
    moved = table.assign(
        reward=7 * table["reward"] + np.where(table["stratum"] == "a", 100.0, -3.0),
        rating=0.1 * table["rating"] + np.where(table["stratum"] == "a", 2.0, 9.0),
    )
    one, other = quality(table, intervals=False), quality(moved, intervals=False)
    for name in NUMBERS:
        assert other["x"].values[name].estimate == pytest.approx(one["x"].values[name].estimate)


def test_relabelling_groups_changes_nothing_and_order_of_rows_neither() -> None:
    table = ratings(5)
    one = quality(table)
    other = quality(table.assign(**{COLUMN: table[COLUMN].map({"x": "b", "y": "a"})}))
    assert one["x"].values["accuracy"].estimate == other["b"].values["accuracy"].estimate
    shuffled = quality(table.sample(frac=1, random_state=0), intervals=False)
    for name in NUMBERS:
        assert shuffled["x"].values[name].estimate == pytest.approx(one["x"].values[name].estimate)


def test_intervals_cover_under_crossed_raters_and_texts() -> None:
    """Raters and texts both vary in how the reward fits them; 60 panels, gaps of 0."""
    covered = {"accuracy": 0, "pearson": 0, "slope": 0, "level": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = ratings(seed, raters=40, texts=60, each=15)
        rater, text = (pd.factorize(table[name])[0] for name in ("annotator_id", "feedback_item"))
        table["rating"] += rng.normal(0, 0.7, 40)[rater] + rng.normal(0, 0.7, 60)[text]
        table["reward"] = table["reward"] + 2 * rng.normal(size=60)[text]
        x = quality(table)["x"]
        for name in covered:
            covered[name] += x.gaps[name].ci_low <= 0 <= x.gaps[name].ci_high
    # of 60 meant to be 57; 52 or fewer has a chance of 1 % for each of four
    assert all(count > 52 for count in covered.values()), covered


def test_the_interval_of_a_milder_groups_level() -> None:
    table = ratings(6, raters=80)
    table.loc[table[COLUMN] == "x", "rating"] += 1.0
    (x, y) = quality(table).values()
    shift = 1 / np.std(table["rating"])
    assert x.gaps["level"].ci_low < shift < x.gaps["level"].ci_high
    assert x.values["level"].estimate > 0 > y.values["level"].estimate
    assert abs(x.gaps["accuracy"].estimate) < 0.05  # who is milder is ordered as well as others


def test_small_groups_and_missing_rewards_have_reasons() -> None:
    table = ratings(7)
    table.loc[table["annotator_id"].isin(["r0", "r2"]), COLUMN] = "few"
    table.loc[table["annotator_id"] == "r1", COLUMN] = None
    table.loc[table.index % 4 == 0, "reward"] = np.nan
    found = quality(table)
    assert list(found) == ["few", "x", "y"]
    assert found["few"].values["accuracy"].reason == "2 raters; at least 10 needed"
    assert found["few"].gaps["slope"].reason == "2 raters; at least 10 needed"
    assert found["x"].measured == pytest.approx(0.75, abs=0.02)
    none = quality(table.assign(reward=np.nan))
    assert none["x"].values["accuracy"].reason == "none of its texts has a score"
    flat = quality(table.assign(reward=1.0))
    assert flat["x"].values["accuracy"].estimate == 0.5  # equal rewards: a coin
    assert flat["x"].values["pearson"].reason == "the rewards, or the ratings, do not vary"


def test_subjects_are_counted_in_texts() -> None:
    table = ratings(8).drop(columns=COLUMN)
    number = table["feedback_item"].str[1:].astype(int)
    table["subject"] = np.where(number < 5, "few", np.where(number % 2 == 0, "x", "y"))
    found = quality(table)
    assert found["few"].values["accuracy"].reason == "5 items; at least 10 needed"
    assert found["x"].grouping.name == "subject of the text"
    # truth and noise of one SD: 3/4, see above
    e = found["x"].values["accuracy"]
    assert e.ci_low < 0.75 < e.ci_high
