from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from rlhf_fair.probes.reward_confounds import partialled_contrasts
from rlhf_fair.stats.contrasts import mean_estimate


def table(rng: np.random.Generator, n: int = 600) -> pd.DataFrame:
    """Gaps of group a are 0.5 and of b 0; every unit of length adds 0.2, and a's pairs are longer by 3."""
    group = np.where(np.arange(n) % 2 == 0, "a", "b")
    length = rng.integers(-4, 5, n) + 3 * (group == "a")
    cluster = rng.integers(0, 60, n)
    shared = rng.normal(0, 0.2, 60)[cluster]
    gap = 0.5 * (group == "a") + 0.2 * length + shared + rng.normal(0, 0.3, n)
    return pd.DataFrame({"gap": gap, "group": group, "length": length, "refusal": 0.0, "cluster": cluster})


def test_a_planted_gap_is_recovered_from_under_length() -> None:
    t = table(np.random.default_rng(0))
    e = partialled_contrasts(
        t["gap"], t["group"], {"length": t["length"]}, {"a": {"a": 1.0}, "b": {"b": 1.0}}, clusters=[t["cluster"]]
    )
    assert e["a"].ci_low < 0.5 < e["a"].ci_high
    assert e["b"].ci_low < 0 < e["b"].ci_high
    raw = mean_estimate(t.loc[t["group"] == "a", "gap"])
    assert raw.ci_low > 0.9  # 0.5 + 3 * 0.2 without partialling


def test_estimates_and_errors_are_those_of_a_regression_with_clustered_errors() -> None:
    t = table(np.random.default_rng(1))
    e = partialled_contrasts(
        t["gap"], t["group"], {"length": t["length"]}, {"d": {"a": 1.0, "b": -1.0}}, clusters=[t["cluster"]]
    )["d"]
    fit = smf.ols("gap ~ C(group, Treatment('b')) + length", t).fit(
        cov_type="cluster", cov_kwds={"groups": t["cluster"], "use_correction": False}
    )
    name = next(one for one in fit.params.index if "group" in one)
    assert e.estimate == pytest.approx(fit.params[name], rel=1e-9)
    # ours is C / (C - 1) wider, 60 clusters; statsmodels' is without a correction
    assert e.standard_error == pytest.approx(fit.bse[name] * np.sqrt(60 / 59), rel=0.02)


def test_a_covariate_that_does_not_vary_is_named_and_changes_nothing() -> None:
    t = table(np.random.default_rng(2))
    covariates = {"refusal": t["refusal"]}
    e = partialled_contrasts(t["gap"], t["group"], covariates, {"a": {"a": 1.0}}, clusters=[t["cluster"]])["a"]
    assert e.estimate == pytest.approx(t.loc[t["group"] == "a", "gap"].mean())
    assert "no difference in refusal within any group" in e.reason


def test_a_group_without_rows_is_not_estimable_and_missing_rows_are_left_out() -> None:
    gaps = [0.1, 0.3, np.nan, 0.2]
    e = partialled_contrasts(gaps, ["a", "a", "b", "a"], {}, {"b": {"b": 1.0}, "a": {"a": 1.0}})
    assert np.isnan(e["b"].estimate)
    assert e["b"].reason
    assert e["a"].estimate == pytest.approx(0.2)
    assert e["a"].n == 3


def test_coverage_under_the_null() -> None:
    rng, hits = np.random.default_rng(3), 0
    for _ in range(200):
        t = table(rng, 300)
        e = partialled_contrasts(
            t["gap"], t["group"], {"length": t["length"]}, {"a": {"a": 1.0}}, clusters=[t["cluster"]]
        )["a"]
        hits += e.ci_low < 0.5 < e.ci_high
    assert 0.90 <= hits / 200 <= 0.99  # 95 % meant; +-3 SE of 200 draws is 4.6 points
