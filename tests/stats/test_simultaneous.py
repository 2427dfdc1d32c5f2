from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats import smallest_p
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.simultaneous import all_pairs, versus_reference


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def crossed(seed: int, n_groups: int = 4, n_clusters: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """values, groups, clusters: every cluster holds every group three times."""
    r = rng(seed)
    cluster = np.repeat(np.arange(n_clusters), 3 * n_groups)
    group = np.tile(np.arange(n_groups), 3 * n_clusters)
    own = r.normal(size=(n_clusters, n_groups)) + r.normal(size=(n_clusters, 1))
    return own[cluster, group] + r.normal(size=len(cluster)), group, cluster


def equal_variances(seed: int, n_groups: int) -> np.ndarray:
    """(n_groups, 400) values whose groups have variance 1 exactly, so that pooling variances changes nothing."""
    values = distributions.zscore(rng(seed).normal(size=(n_groups, 400)), axis=1, ddof=1)
    return np.asarray(values + rng(seed).normal(0, 0.07, (n_groups, 1)))


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")  # scipy's own, in tukey_hsd
@pytest.mark.parametrize("n_groups", [3, 6, 14])
def test_equal_groups_of_many_rows_equal_tukey(n_groups: int) -> None:
    # 4,999 draws: a p-value is known to 0.007 at worst, the level 5 % to 0.003, hence the critical value to 0.03.
    values = equal_variances(1, n_groups)
    family = all_pairs(values.reshape(-1), np.repeat(np.arange(n_groups), 400), rng=rng())
    exact = distributions.studentized_range.ppf(0.95, n_groups, np.inf) / math.sqrt(2)
    assert family.critical_value == pytest.approx(exact, abs=0.06)
    tukey = distributions.tukey_hsd(*values).pvalue
    theirs = [tukey[i, j] for i, j in zip(family.table["group"], family.table["reference"], strict=True)]
    assert family.table["p_adjusted"].to_numpy() == pytest.approx(np.array(theirs), abs=0.03)
    assert len(family.table) == n_groups * (n_groups - 1) / 2


def test_against_one_reference_equals_dunnett() -> None:
    values = equal_variances(2, 6)
    family = versus_reference(values.reshape(-1), np.repeat(np.arange(6), 400), 2, rng=rng())
    theirs = distributions.dunnett(*np.delete(values, 2, axis=0), control=values[2])
    assert family.table["p_adjusted"].to_numpy() == pytest.approx(theirs.pvalue, abs=0.03)
    assert set(family.table["reference"]) == {2}
    every = all_pairs(values.reshape(-1), np.repeat(np.arange(6), 400), rng=rng())
    assert 1.96 < family.critical_value < every.critical_value


@pytest.mark.parametrize("n_clusters", [20, 200])
def test_shared_clusters_equal_the_multivariate_t(n_clusters: int) -> None:
    # Equal correlations 1/2 between the differences from one reference: the factor model of Dunnett's tables.
    values, group, cluster = crossed(3, 4, n_clusters)
    family = versus_reference(values, group, 0, clusters=[cluster], rng=rng())
    x = distributions.multivariate_t(shape=np.full((3, 3), 0.5) + 0.5 * np.eye(3), df=n_clusters - 1)
    draws = np.abs(x.rvs(100_000, random_state=1)).max(axis=1)
    exact = distributions.norm.isf(distributions.t.sf(np.quantile(draws, 0.95), n_clusters - 1))
    assert family.critical_value == pytest.approx(exact, abs=0.08)


def test_two_groups_are_the_plain_contrast() -> None:
    values, group, cluster = crossed(4, 2)
    row = all_pairs(values, group, clusters=[cluster], rng=rng()).table.iloc[0]
    e = contrast_estimate(values, group, {1: 1.0, 0: -1.0}, clusters=[cluster])
    for name in ("estimate", "ci_low", "ci_high", "standard_error", "df", "p_value", "mde", "n", "n_clusters"):
        assert row[name] == pytest.approx(getattr(e, name)), name
    assert row["p_adjusted"] == row["p_value"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["independent", "crossed", "nested", "two ways"]), st.booleans())
def test_every_pair_is_its_contrast_with_a_wider_interval(seed: int, design: str, strata: bool) -> None:
    values, group, cluster = crossed(seed)
    ways = {
        "independent": [],
        "crossed": [cluster],
        "nested": [cluster * 4 + group],
        "two ways": [cluster, np.arange(len(values)) % 11],
    }[design]
    control = rng(seed).choice(["x", "y"], len(values)) if strata else None
    family = all_pairs(values, group, clusters=ways, control_features=control, rng=rng(seed))
    for _, row in family.table.iterrows():
        gap = {row["group"]: 1.0, row["reference"]: -1.0}
        e = contrast_estimate(values, group, gap, clusters=ways, control_features=control)
        for name in ("estimate", "standard_error", "df", "p_value", "n", "n_clusters"):
            assert row[name] == pytest.approx(getattr(e, name)), name
        assert row["ci_low"] <= e.ci_low
        assert row["ci_high"] >= e.ci_high
        assert row["p_adjusted"] >= row["p_value"]
        assert row["mde"] >= e.mde
        assert (row["p_adjusted"] <= 0.05) == (not row["ci_low"] <= 0 <= row["ci_high"])


def test_names_and_order_change_signs_at_most_and_copies_nothing() -> None:
    values, group, cluster = crossed(5)
    once = all_pairs(values, group, clusters=[cluster], rng=rng()).table
    order = rng(1).permutation(np.tile(np.arange(len(values)), 2))
    twice = all_pairs(values[order], (3 - group)[order], clusters=[cluster[order]], rng=rng()).table
    back = twice.assign(group=3 - twice["reference"], reference=3 - twice["group"])
    both = once.merge(back, on=["group", "reference"])
    assert len(both) == 6
    assert both["estimate_x"].to_numpy() == pytest.approx(
        -both["estimate_y"].to_numpy()
    )  # the order of labels is turned
    for name in ("standard_error", "df", "p_value"):
        assert both[f"{name}_x"].to_numpy() == pytest.approx(both[f"{name}_y"].to_numpy()), name
    assert both["p_adjusted_x"].to_numpy() == pytest.approx(both["p_adjusted_y"].to_numpy(), abs=0.04)


def test_lonely_groups_stay_in_the_table_and_unknown_ones_are_counted() -> None:
    values = np.r_[rng(6).normal(size=30), 5.0, np.nan, 1.0]
    groups = [*"a" * 10, *"b" * 10, *"c" * 10, "d", "e", None]
    family = all_pairs(values, groups, rng=rng())
    table = family.table.set_index(["group", "reference"])
    assert len(table) == 10
    assert "1 cluster" in table.loc[("d", "a"), "reason"]
    assert math.isfinite(table.loc[("d", "a"), "estimate"])
    assert math.isnan(table.loc[("d", "a"), "p_adjusted"])
    assert "no measured rows in group e" in table.loc[("e", "a"), "reason"]
    assert family.counts["n"].tolist() == [10, 10, 10, 1, 0]
    assert (family.n_missing, family.n_unknown) == (1, 1)
    without = all_pairs(values[:30], groups[:30], rng=rng()).table
    assert table.loc[[("b", "a"), ("c", "a"), ("c", "b")], "ci_low"].to_numpy() == pytest.approx(
        without["ci_low"], abs=0.05
    )


def test_one_group_has_no_pairs() -> None:
    family = all_pairs([1, 2, 3.0], list("aaa"), rng=rng())
    assert len(family.table) == 0
    assert family.counts["n"].tolist() == [3]


def test_a_reference_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="reference is 'z'; groups are 'a', 'b'"):
        versus_reference([1, 2, 3.0], list("aab"), "z", rng=rng())


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("n_groups", "simulations"), [(6, 60), pytest.param(14, 200, marks=pytest.mark.slow)])
def test_equal_groups_err_as_a_family_one_time_in_twenty(
    shared: bool, n_groups: int, simulations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fifth of the draws: each critical level is then 5 % give or take 0.7 %, and over many families 5 % as before.
    monkeypatch.setattr(smallest_p, "DRAWS", 999)
    r = rng(7)
    group, cluster = np.repeat(np.arange(n_groups), 25), np.tile(np.arange(25), n_groups)
    wrong = unadjusted = 0
    for _ in range(simulations):
        values = r.normal(size=len(group)) + (r.normal(size=25)[cluster] if shared else 0)
        table = all_pairs(values, group, clusters=[cluster] if shared else [], rng=r).table
        wrong += bool((table["p_adjusted"] <= 0.05).any())
        unadjusted += bool((table["p_value"] <= 0.05).any())
    assert wrong <= distributions.binom(simulations, 0.06).ppf(0.999)
    assert unadjusted > simulations / 5  # 6 groups: 15 pairs, about one family in three


def test_rare_events_in_a_small_group_raise_no_more_alarms_than_alpha() -> None:
    # of 40 people none may have the event, which is no certainty; t intervals accuse somebody in 40 % of families
    rng = np.random.default_rng(40)
    groups = np.repeat(["a", "b", "c"], [40, 400, 400])
    alarms = 0
    for _ in range(200):
        table = all_pairs((rng.random(840) < 0.02).astype(float), groups, rng=rng).table
        outside = bool(((table["ci_low"] > 0) | (table["ci_high"] < 0)).any())
        assert outside == bool((table["p_adjusted"] < 0.049).any()) or outside == bool(
            (table["p_adjusted"] < 0.051).any()
        )
        alarms += outside
    assert alarms <= 20  # 99.9 % of runs at a true error of 5 %


def test_no_event_at_all_has_intervals_and_no_alarm() -> None:
    table = all_pairs(np.zeros(60), np.repeat(["a", "b", "c"], 20), rng=np.random.default_rng(1)).table
    assert (table["p_adjusted"] == 1).all()
    assert ((table["ci_low"] < 0) & (table["ci_high"] > 0)).all()
