"""The naive test is Welch's, the clustered one statsmodels' up to its small-sample factor; a report shows both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_ind
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from rlhf_fair.audit.panel_feedback import build_results
from rlhf_fair.audit.panel_feedback_clustering import ClusteringEffect, as_rated, clustering_effect, naive_gap
from rlhf_fair.audit.panel_feedback_estimates import measure
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan
from rlhf_fair.audit.panel_feedback_table import Ratings
from rlhf_fair.records import Estimate

PLAN = FeedbackPlan.model_validate(
    {
        "title": "t",
        "question": "q",
        "probe": "panel_feedback",
        "policy": {"threshold": 5.0, "margin": 5.0},
        "ratings": {"item": "item", "annotator": "rater", "value": "value", "low": 0, "high": 100},
        "attributes": [{"name": "group", "column": "group", "reference": "a", "role": "claim"}],
        "agreement": {"permutations": 99},
    }
)


def ratings(raters: int = 60, per_rater: int = 20, seed: int = 0, items: int = 0, mood: float = 8.0) -> pd.DataFrame:
    """Half the raters are of group b. ``items`` = 0: nobody shares an item, so clustering is by rater alone."""
    rng = np.random.default_rng(seed)
    rater = np.repeat(np.arange(raters), per_rater)
    item = np.arange(len(rater)) % items if items else np.arange(len(rater))
    quality = rng.normal(0, 10 if items else 0, items or len(rater))
    score = 50 + rng.normal(0, mood, raters)[rater] + quality[item] + rng.normal(0, 15, len(rater))
    group = np.where(rater % 2 == 0, "a", "b")
    return pd.DataFrame({"rater": rater, "item": item, "group": group, "score": score, "value": score, "weight": 1.0})


def effect_of(records: pd.DataFrame, plan: FeedbackPlan = PLAN) -> ClusteringEffect:
    (gap,) = as_rated(measure(records, plan.attributes, plan))
    return clustering_effect(records, gap, plan)


def cluster_robust(records: pd.DataFrame, clusters: np.ndarray) -> float:
    """statsmodels' sandwich standard error of the gap, without its factor for small samples."""
    design = sm.add_constant((records["group"] == "b").to_numpy(float))
    options = {"groups": clusters, "use_correction": False}
    return float(sm.OLS(records["score"].to_numpy(), design).fit(cov_type="cluster", cov_kwds=options).bse[1])


def test_the_naive_test_is_welchs() -> None:
    records = ratings()
    found = naive_gap(records, records["group"], "b", "a", alpha=0.05)
    b, a = (records.loc[records["group"] == g, "score"] for g in "ba")
    welch = CompareMeans(DescrStatsW(b), DescrStatsW(a))
    _, p_value, df = welch.ttest_ind(usevar="unequal")
    assert found.estimate == pytest.approx(b.mean() - a.mean())
    assert (found.p_value, found.df) == pytest.approx((p_value, df))
    assert (found.ci_low, found.ci_high) == pytest.approx(welch.tconfint_diff(usevar="unequal"))


def test_clustered_by_rater_is_statsmodels_and_a_test_of_rater_means() -> None:
    records = ratings()
    effect = effect_of(records)
    # 30 raters a group: the jackknife divides by m - 1 where the sandwich divides by m
    sandwich = cluster_robust(records, records["rater"].to_numpy())
    assert effect.clustered.standard_error == pytest.approx(sandwich * np.sqrt(30 / 29))
    # equally many ratings each: the gap of means is the gap of rater means, and Welch's test of those is the clustered
    # one (Donner & Klar 2000)
    means = records.groupby(["group", "rater"])["score"].mean()
    oracle = ttest_ind(means["b"], means["a"], equal_var=False)
    assert (effect.clustered.p_value, effect.clustered.df) == pytest.approx((oracle.pvalue, oracle.df))


def test_clustered_by_rater_and_item_is_statsmodels() -> None:
    """Each group rates 100 items of its own, so that items matter as much as raters do."""
    records = ratings(raters=300, per_rater=10, items=200)
    in_group = records.groupby("group").cumcount()
    records["item"] = in_group % 100 + 100 * (records["group"] == "b")  # 15 ratings each, ten of every rater's
    records["score"] += np.random.default_rng(5).normal(0, 10, 200)[records["item"]]
    # V(rater) + V(item) - V(rating) (Cameron, Gelbach & Miller 2011), each with m/(m - 1) for its m clusters a group
    ways = {"rater": 150, "item": 100, "rating": 1500}
    records["rating"] = np.arange(len(records))
    v = {way: cluster_robust(records, records[way].to_numpy()) ** 2 * m / (m - 1) for way, m in ways.items()}
    expected = np.sqrt(v["rater"] + v["item"] - v["rating"])
    assert expected > np.sqrt(max(v.values()))  # both ways count
    assert effect_of(records).clustered.standard_error == pytest.approx(expected)


def test_a_design_effect_worked_by_hand() -> None:
    # mood variance 64, noise 225, twenty ratings a rater: icc = 64/289 = .2215, 1 + 19 · icc = 5.21
    found = [effect_of(ratings(raters=200, seed=seed)).design_effect for seed in range(12)]
    assert np.mean(found) == pytest.approx(5.21, abs=3 * np.std(found) / np.sqrt(12))
    assert effect_of(ratings(raters=200)).effective_ratings == pytest.approx(4000 / found[0])


def test_independent_raters_have_design_effect_one() -> None:
    """One rating each: the two tests are one."""
    effect = effect_of(ratings(raters=400, per_rater=1))
    assert effect.design_effect == pytest.approx(1)
    assert effect.clustered.p_value == pytest.approx(effect.naive.p_value)


def test_only_the_naive_test_finds_what_is_not_there() -> None:
    """Twenty moody raters with 200 ratings each and no gap: the naive test alarms in most worlds, the other rarely."""
    effects = [effect_of(ratings(raters=20, per_rater=200, seed=seed)) for seed in range(40)]
    # p < .05 in 40 trials: mean 2, SD 1.4; more than 7 has a chance of .07 %
    assert sum(effect.clustered.p_value < 0.05 for effect in effects) <= 7
    assert sum(effect.artefact() for effect in effects) > 20


def test_what_cannot_be_tested_has_no_design_effect() -> None:
    records = ratings(raters=18)  # nine raters of each group, where ten are asked for
    effect = effect_of(records)
    assert np.isnan(effect.design_effect)
    assert np.isnan(effect.effective_ratings)
    assert not effect.artefact()
    assert effect.naive.reason == "b: 9 raters, the plan asks for 10"
    flat = ClusteringEffect(Estimate(estimate=0.0, standard_error=0.0), Estimate(estimate=0.0, standard_error=0.0))
    assert np.isnan(flat.design_effect)


def test_the_report_has_both_tests() -> None:
    records = ratings(raters=20, per_rater=200, seed=1)
    records["value"] = records["score"] = records["score"].round(-1).clip(0, 100)
    rejects = pd.DataFrame(columns=["file", "row", "column", "value", "code", "message"])
    table = records.assign(file="f", row=range(1, len(records) + 1))
    results, _ = build_results(PLAN, Ratings(table, rejects, 0.0, 100.0))
    shown = results.audit["tables"]["what clustering by rater and item does to each gap"]
    row = dict(zip(shown["columns"], shown["rows"][0], strict=True))
    effect = effect_of(records)
    assert effect.naive.p_value < 0.0001
    assert row["as independent: p"] == "< 0.0001"
    assert float(row["clustered: p"]) == pytest.approx(effect.clustered.p_value, abs=0.0001)
    assert row["design effect"] == pytest.approx(effect.design_effect, rel=0.05)
