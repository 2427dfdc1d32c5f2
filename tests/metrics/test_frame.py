"""Group metrics: equal to fairlearn's on real tables, and honest about what fairlearn leaves out."""

from __future__ import annotations

from collections.abc import Callable

import fairlearn.metrics as fairlearn_metrics
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sklearn_metrics
from hypothesis import given
from hypothesis import strategies as st
from tabular import DATA, Source, adult, compas, german, predictions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.frame import GroupMetrics, group_metrics

SHARED: dict[str, Callable[..., float]] = {
    "selection_rate": fairlearn_metrics.selection_rate,
    "true_positive_rate": fairlearn_metrics.true_positive_rate,
    "false_positive_rate": fairlearn_metrics.false_positive_rate,
    "true_negative_rate": fairlearn_metrics.true_negative_rate,
    "false_negative_rate": fairlearn_metrics.false_negative_rate,
    "mean_prediction": fairlearn_metrics.mean_prediction,
    "accuracy": sklearn_metrics.accuracy_score,
    "error_rate": sklearn_metrics.zero_one_loss,
    "recall": sklearn_metrics.recall_score,
    "precision": sklearn_metrics.precision_score,
    "mean_absolute_error": sklearn_metrics.mean_absolute_error,
    "mean_squared_error": sklearn_metrics.mean_squared_error,
}


def both(source: Source, controlled: bool, weighted: bool) -> tuple[GroupMetrics, fairlearn_metrics.MetricFrame]:
    if not DATA.is_dir():
        pytest.skip("public tabular data sets are not at ../shared/data/tabular")
    features, outcome, people, control = source()
    y, p = outcome.astype(int), predictions(features, outcome)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    strata = control if controlled else None
    ours = group_metrics(SHARED, y, p, sensitive_features=people, control_features=strata, weights=weights)
    theirs = fairlearn_metrics.MetricFrame(
        metrics=SHARED,
        y_true=y,
        y_pred=p,
        sensitive_features=people,
        control_features=strata,
        sample_params=None if weights is None else {name: {"sample_weight": weights} for name in SHARED},
    )
    return ours, theirs


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("source", [adult, german, compas])
def test_equal_to_fairlearn_on_real_tables(source: Source, controlled: bool, weighted: bool) -> None:
    ours, theirs = both(source, controlled, weighted)
    exact = {"rtol": 0, "atol": 1e-12, "check_names": False, "check_dtype": False}
    pd.testing.assert_frame_equal(ours.by_group, theirs.by_group.astype(float), **exact)
    assert list(ours.by_group.index.names) == list(theirs.by_group.index.names)
    compare = pd.testing.assert_frame_equal if controlled else pd.testing.assert_series_equal
    compare(ours.overall, theirs.overall.astype(float), **exact)
    compare(ours.group_min(), theirs.group_min().astype(float), **exact)
    compare(ours.group_max(), theirs.group_max().astype(float), **exact)
    for method in ("between_groups", "to_overall"):
        compare(ours.difference(method), theirs.difference(method).astype(float), **exact)
        compare(ours.ratio(method), theirs.ratio(method).astype(float), **exact)


def small(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "race": rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1])})
    return rng.integers(0, 2, n), rng.integers(0, 2, n), people, rng.integers(0, 30, n)


def test_bootstrap_quantiles_equal_fairlearns() -> None:
    y, p, people, _ = small(n=400)
    metrics = {"selection_rate": SHARED["selection_rate"], "accuracy": SHARED["accuracy"]}
    quantiles = [0.025, 0.5, 0.975]
    theirs = fairlearn_metrics.MetricFrame(
        metrics=metrics,
        y_true=y,
        y_pred=p,
        sensitive_features=people["race"],
        n_boot=400,
        ci_quantiles=quantiles,
        random_state=1,
    )
    draws = group_metrics(metrics, y, p, sensitive_features=people["race"]).bootstrap(
        20_000, rng=np.random.default_rng(1)
    )
    spread = draws.draws.std(axis=0)
    # the standard error of a 2.5 % quantile of 400 normal draws is .134 standard deviations; five of them
    for ours, reference in zip(draws.by_group(quantiles), theirs.by_group_ci, strict=True):
        assert (np.abs(ours - reference.astype(float)).to_numpy() < 5 * 0.134 * spread).all()


def test_nothing_vanishes() -> None:
    y, p, people, _ = small()
    people.loc[:9, "race"] = None
    prediction = p.astype(float)
    prediction[5:25] = np.nan
    frame = group_metrics(["selection_rate", "true_positive_rate"], y, prediction, sensitive_features=people)
    counts = frame.counts
    assert counts.input == 200
    assert counts.unknown == 10  # rows 0 to 9
    assert counts.excluded == 15  # rows 10 to 24: known, not measured
    assert counts.reported == frame.n_by_group["selection_rate"].sum() == 175
    assert frame.n_by_group["true_positive_rate"].sum() == (y[25:] == 1).sum()


@given(st.integers(0, 2**32 - 1))
def test_relabelled_groups_and_reordered_rows_change_nothing(seed: int) -> None:
    y, p, people, cluster = small(seed % 1000)
    rng = np.random.default_rng(seed)
    names = dict(zip("xyz", rng.permutation(["x", "y", "z"]), strict=True))
    order = rng.permutation(len(y))
    before = group_metrics(["selection_rate", "precision"], y, p, sensitive_features=people["race"], clusters=[cluster])
    after = group_metrics(
        ["selection_rate", "precision"],
        y[order],
        p[order],
        sensitive_features=people["race"].map(names).iloc[order],
        clusters=[cluster[order]],
    )
    for name in ("selection_rate", "precision"):
        assert after.difference()[name] == pytest.approx(before.difference()[name])
        one, other = before.gap(name, "x", "y"), after.gap(name, names["x"], names["y"])
        assert (one.estimate, one.ci_low, one.ci_high, one.p_value) == pytest.approx(
            (other.estimate, other.ci_low, other.ci_high, other.p_value)
        )


def test_copies_of_rows_are_no_new_evidence_where_clusters_are_kept() -> None:
    y, p, people, cluster = small()
    once = group_metrics("selection_rate", y, p, sensitive_features=people["sex"], clusters=[cluster])
    twice = group_metrics(
        "selection_rate",
        np.r_[y, y],
        np.r_[p, p],
        sensitive_features=[*people["sex"], *people["sex"]],
        clusters=[np.r_[cluster, cluster]],
    )
    one, two = once.gap("selection_rate", "f", "m"), twice.gap("selection_rate", "f", "m")
    assert (two.ci_low, two.ci_high) == pytest.approx((one.ci_low, one.ci_high), rel=1e-6)
    assert two.n == 2 * one.n


def test_a_group_of_one_row_has_a_value_and_no_interval() -> None:
    frame = group_metrics("selection_rate", None, [1, 0, 1, 1, 0], sensitive_features=["a", "a", "a", "a", "b"])
    row = frame.intervals().set_index("sensitive_feature_0").loc["b"]
    assert row["estimate"] == 0
    assert np.isnan(row["ci_low"])
    assert "1 cluster" in row["reason"]


def test_selection_counts_people_whose_outcome_nobody_knows() -> None:
    # outcomes are known of the selected alone: a 3 of 4, b 1 of 4 selected
    selected, outcome = [1, 1, 1, 0, 1, 0, 0, 0], [1, 0, 1, np.nan, 1, np.nan, np.nan, np.nan]
    frame = group_metrics(["selection_rate", "precision"], outcome, selected, sensitive_features=list("aaaabbbb"))
    assert frame.by_group["selection_rate"].tolist() == [0.75, 0.25]
    assert frame.n_by_group["precision"].tolist() == [3, 1]
    assert frame.counts.excluded == 0


def test_an_empty_combination_is_missing_not_zero() -> None:
    people = pd.DataFrame({"sex": ["f", "f", "m", "m"], "race": ["x", "y", "x", "x"]})
    frame = group_metrics("selection_rate", None, [0, 1, 1, 1], sensitive_features=people)
    assert np.isnan(frame.by_group.loc[("m", "y"), "selection_rate"])
    assert frame.n_by_group.loc[("m", "y"), "selection_rate"] == 0
    no_positives = group_metrics("true_positive_rate", [0, 0, 1, 1], [0, 1, 1, 1], sensitive_features=list("aabb"))
    assert np.isnan(no_positives.by_group.loc["a", "true_positive_rate"])


def test_gap_within_strata() -> None:
    # Simpson: within each department the rates are equal, pooled they are not.
    department = ["easy"] * 40 + ["hard"] * 40
    sex = ["m"] * 30 + ["f"] * 10 + ["m"] * 10 + ["f"] * 30
    admitted = [1, 1, 1, 0] * 7 + [1, 1] + [1, 1, 1, 0, 1, 1, 1, 0, 1, 1] + [1, 0, 0, 0, 0] * 2 + [1, 0, 0, 0, 0] * 6
    pooled = group_metrics("selection_rate", None, admitted, sensitive_features=sex).gap("selection_rate", "f", "m")
    within = group_metrics("selection_rate", None, admitted, sensitive_features=sex, control_features=department)
    stratified = within.gap("selection_rate", "f", "m")
    assert pooled.estimate < -0.2
    # easy: 8/10 - 23/30 = 1/30, hard: 6/30 - 2/10 = 0; half of the rows in each
    assert stratified.estimate == pytest.approx(1 / 60)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (
            lambda: group_metrics("selection", [0, 1], [0, 1], sensitive_features=["a", "b"]),
            SettingsError,
            "'selection' is unknown",
        ),
        (
            lambda: group_metrics(sklearn_metrics.f1_score, [0, 1], [0, 1], sensitive_features=["a", "b"]),
            SettingsError,
            "f1_score",
        ),
        (
            lambda: group_metrics("accuracy", [0, 1], [0, 2], sensitive_features=["a", "b"]),
            SettingsError,
            "y_pred row 2 is 2",
        ),
        (
            lambda: group_metrics("accuracy", [0, 1], [0, 1], sensitive_features=["a"]),
            RowError,
            "sensitive_features has 1 rows",
        ),
        (
            lambda: group_metrics("accuracy", [0, 1], [0, 1], sensitive_features=["a", "b"]).gap("accuracy", "a", "c"),
            SettingsError,
            "group 'c' is unknown; allowed: 'a', 'b'",
        ),
        (
            lambda: group_metrics("accuracy", [0, 1], [0, 1], sensitive_features=["a", "b"]).gap("accuracy", "a", "a"),
            SettingsError,
            "both 'a'",
        ),
    ],
)
def test_faults_are_named(call: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
