from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dcwp import DCWP_RACE, DCWP_SEX
from fairlearn.metrics import MetricFrame, selection_rate
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.bias_audit import bias_audit
from rlhf_fair.metrics.impact_ratio import (
    ImpactRatioOptions,
    ImpactRatioTable,
    scoring_rates,
    selection_rates,
)
from rlhf_fair.stats.exact_tests import fisher_exact, two_sd
from rlhf_fair.stats.risk_ratio import katz


def people(table: dict[str, tuple[int, int, str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 1 above and 0 below a median of one half, and labels."""
    scores = [[1.0] * above + [0.0] * (n - above) for n, above, *_ in table.values()]
    labels = [[label] * n for label, (n, *_) in table.items()]
    return np.concatenate(scores), np.concatenate(labels)


@pytest.mark.parametrize("example", [DCWP_SEX, DCWP_RACE], ids=["sex", "race"])
def test_the_departments_own_example(example: dict[str, tuple[int, int, str, str]]) -> None:
    scores, labels = people(example)
    table = scoring_rates(scores, labels)
    assert table.median == 0.5  # 84 of 168 on either side
    for label, (n, above, rate, ratio) in example.items():
        row = table.by_category.loc[label]
        assert (row["n"], row["selected"]) == (n, above)
        assert f"{row['impact_ratio']:.2f}" == ratio
        if label == "Hispanic or Latino":
            # 18/28 = .642857 is printed .642; elsewhere the Department rounds (10/24 = .41666 is printed .417)
            assert rate == "0.642"
            assert f"{row['rate']:.3f}" == "0.643"
        else:
            assert f"{row['rate']:.3f}" == rate


def test_strictly_above_the_median() -> None:
    # median of [1, 2, 2, 2, 3] is 2; one of five lies above it
    table = scoring_rates([1, 2, 2, 2, 3], ["a"] * 5)
    assert table.median == 2
    assert table.by_category.loc["a", "rate"] == pytest.approx(1 / 5)


def test_the_median_is_that_of_everybody_scored_whether_the_category_is_known_or_not() -> None:
    # all six: median 3.5, above it 4 5 6; the four known alone: median 2.5
    table = scoring_rates([1, 2, 3, 4, 5, 6, np.nan], ["a", "a", "b", "b", None, np.nan, "a"])
    assert table.median == 3.5
    assert table.by_category["rate"].tolist() == [0, 0.5]
    assert (table.n_input, table.n_reported, table.n_excluded, table.n_unknown) == (7, 4, 1, 2)


def test_rates_equal_fairlearn() -> None:
    rng = np.random.default_rng(1)
    selected, groups = rng.integers(0, 2, 300), rng.choice(list("abcd"), 300, p=[0.5, 0.3, 0.15, 0.05])
    frame = MetricFrame(metrics=selection_rate, y_true=selected, y_pred=selected, sensitive_features=groups)
    table = selection_rates(selected, groups).by_category
    assert table["rate"].to_numpy() == pytest.approx(frame.by_group.to_numpy())
    assert table["impact_ratio"].min() == pytest.approx(frame.ratio())
    assert table["n"].tolist() == pd.Series(groups).value_counts().sort_index().tolist()


def test_three_tables_and_the_intersection() -> None:
    sex = ["F", "F", "M", "M", "M", None]
    race = ["Black", "White", "White", "White", None, "Black"]
    audit = bias_audit([1, 0, 1, 1, 1, 0], sex, race, measure="selection")
    assert [table.attribute for table in audit.tables] == ["sex", "race/ethnicity", "sex × race/ethnicity"]
    assert audit.sex.by_category["rate"].tolist() == [0.5, 1]
    assert [table.n_unknown for table in audit.tables] == [1, 1, 2]
    crossed = audit.intersection
    assert crossed.by_category.index.names == ["sex", "race_ethnicity"]
    assert crossed.by_category["n"].to_dict() == {("F", "Black"): 1, ("F", "White"): 1, ("M", "White"): 2}
    assert crossed.reference == ("M", "White")
    assert crossed.by_category.loc[("F", "White"), "impact_ratio"] == 0
    with pytest.raises(SettingsError, match="measure = 'rank'"):
        bias_audit([1], ["F"], ["White"], measure="rank")


def test_the_comparisons_are_those_of_the_tests_themselves() -> None:
    selected, groups = np.repeat([1, 0, 1, 0], [12, 28, 30, 20]), np.repeat(["b", "w"], [40, 50])
    table = selection_rates(selected, groups)
    row, e = table.by_category.loc["b"], katz(12, 40, 30, 50)
    assert table.reference == "w"
    assert (row["impact_ratio"], row["ci_low"], row["ci_high"]) == (e.estimate, e.ci_low, e.ci_high)
    assert row["fisher_p"] == pytest.approx(fisher_exact(12, 40, 30, 50).p_value)
    assert row["standard_deviations"] == pytest.approx(float(two_sd(12, 40, 30, 50)))
    highest = table.by_category.loc["w"]
    assert highest["highest"]
    assert highest["impact_ratio"] == 1
    assert np.isnan(highest[["fisher_p", "standard_deviations", "ci_low"]].astype(float)).all()


def test_clusters_widen_the_interval() -> None:
    selected, groups = np.repeat([1, 0, 1, 0], [40, 80, 80, 40]), np.repeat(["b", "w"], [120, 120])
    person = np.repeat(np.arange(60), 4)  # each applied four times, with one and the same result
    plain = selection_rates(selected, groups).ratios["b"]
    clustered = selection_rates(selected, groups, options=ImpactRatioOptions(clusters=[person])).ratios["b"]
    assert clustered.estimate == pytest.approx(plain.estimate)
    assert clustered.n_clusters == 60
    # four copies of everybody: twice the standard error, and a little for n - 1
    assert 2 < clustered.standard_error / plain.standard_error < 2.1


SMALL = ImpactRatioOptions(leave_out_below=0.02, justification="one applicant")


def with_a_small_category() -> tuple[list[int], list[str]]:
    return [1, 0] * 30 + [1, 1, 0] * 20 + [1], ["a"] * 60 + ["b"] * 60 + ["tiny"]


def test_a_category_under_two_percent_leaves_the_ratio_only() -> None:
    kept = selection_rates(*with_a_small_category())
    assert kept.reference == "tiny"  # 1 of 1
    assert kept.by_category.loc["b", "impact_ratio"] == pytest.approx(2 / 3)
    assert kept.justification == ""
    table = selection_rates(*with_a_small_category(), options=SMALL)
    assert table.reference == "b"
    assert table.by_category.loc["a", "impact_ratio"] == pytest.approx(0.75)
    tiny = table.by_category.loc["tiny"]
    assert (tiny["n"], tiny["rate"], tiny["in_ratio"]) == (1, 1.0, False)
    assert math.isnan(tiny["impact_ratio"])
    assert "0.83%" in tiny["reason"]
    assert table.justification == "one applicant"
    assert table.n_reported == table.n_input == 121


def test_exactly_two_percent_stays() -> None:
    table = selection_rates([1, 0] * 49 + [1, 0], ["a"] * 98 + ["b"] * 2, options=SMALL)
    assert table.by_category.loc["b", "share"] == pytest.approx(0.02)
    assert table.by_category["in_ratio"].all()
    assert table.justification == ""  # nothing was left out, so there is nothing to justify


@pytest.mark.parametrize(
    "values", [{"leave_out_below": 0.05, "justification": "x"}, {"leave_out_below": 0.02}, {"leave_out_below": -0.1}]
)
def test_what_the_law_does_not_allow_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="leave_out_below"):
        ImpactRatioOptions(**values)


def test_nobody_selected_is_no_ratio() -> None:
    table = selection_rates([0, 0, 0], ["a", "a", "b"])
    assert table.reference is None
    assert table.by_category["impact_ratio"].isna().all()
    assert set(table.by_category["reason"]) == {"no category has a rate above 0"}
    assert table.by_category["rate"].tolist() == [0, 0]


def test_a_category_without_outcomes_stays_in_the_table() -> None:
    table = selection_rates([1, 0, np.nan], ["a", "a", "b"])
    assert table.by_category.loc["b", "n"] == 0
    assert table.by_category.loc["b", "reason"] == "no outcome in this category"
    assert not table.by_category.loc["b", "highest"]


def test_no_rows_and_no_known_categories() -> None:
    for table in (selection_rates([], []), selection_rates([1, 0], [None, None]), scoring_rates([np.nan], ["a"])):
        assert table.reference is None
        assert table.n_input == table.n_reported + table.n_excluded + table.n_unknown


def test_a_tie_for_the_highest_compares_with_the_larger_category() -> None:
    table = selection_rates([1, 0] + [1, 0] * 10 + [0, 0, 0, 1], ["a"] * 2 + ["b"] * 20 + ["c"] * 4)
    assert table.by_category["highest"].tolist() == [True, True, False]
    assert table.reference == "b"
    assert table.by_category.loc["a", "impact_ratio"] == 1


def test_wrong_input_is_refused() -> None:
    with pytest.raises(RowError, match=r"selected holds 0\.5; allowed: 0, 1"):
        selection_rates([0.5], ["a"])
    with pytest.raises(RowError, match="categories has 1 rows, outcomes has 2"):
        selection_rates([0, 1], ["a"])


def test_csv_has_every_category_and_the_unknown(tmp_path: Path) -> None:
    audit = bias_audit([1, 0, 1, 0], ["F", "F", "M", None], ["White"] * 4, measure="selection")
    audit.intersection.to_csv(tmp_path / "table.csv")
    for text in ((tmp_path / "table.csv").read_text(), audit.intersection.to_csv()):
        table = pd.read_csv(io.StringIO(text))
        assert table["sex"].tolist() == ["F", "M", "unknown"]
        assert table["n"].tolist() == [2, 1, 1]
        assert table["rate"].tolist()[:2] == [0.5, 1]
        assert math.isnan(table["rate"].iloc[2])


ROW = st.tuples(st.sampled_from([0.0, 1.0, 1.0, math.nan]), st.sampled_from(["a", "b", "c", "dd", None]))
ROWS = st.lists(ROW, max_size=60)


def columns(rows: list[tuple[float, str | None]]) -> tuple[list[float], list[str | None]]:
    return [value for value, _ in rows], [label for _, label in rows]


@given(ROWS)
def test_every_row_is_accounted_for_and_no_ratio_is_above_one(rows: list[tuple[float, str | None]]) -> None:
    for table in (selection_rates(*columns(rows)), scoring_rates(*columns(rows))):
        assert table.n_input == len(rows) == table.n_reported + table.n_excluded + table.n_unknown
        assert table.by_category["n"].sum() == table.n_reported
        ratios = table.by_category["impact_ratio"].dropna()
        assert ratios.between(0, 1).all()
        highest = table.by_category.loc[table.by_category["highest"].astype(bool), "rate"]
        assert set(highest) <= {table.by_category["rate"].max()}
        assert (table.reference is None) == (not table.by_category["rate"].max() > 0)


@given(ROWS, st.permutations(["w", "x", "yy", "z"]), st.randoms(use_true_random=False))
def test_names_and_order_change_nothing(rows: list[tuple[float, str | None]], names: list[str], random: object) -> None:
    renaming = dict(zip(["a", "b", "c", "dd"], names, strict=True)) | {None: None}
    shuffled = [(value, renaming[label]) for value, label in rows]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = selection_rates(*columns(rows)), selection_rates(*columns(shuffled))
    for label, row in before.by_category.iterrows():
        other = after.by_category.loc[renaming[label]]
        for column in ("n", "selected", "rate", "impact_ratio", "highest"):
            assert other[column] == row[column] or (pd.isna(other[column]) and pd.isna(row[column])), column


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("ab")), min_size=1, max_size=40))
def test_scoring_rates_see_ranks_only(rows: list[tuple[int, str]]) -> None:
    scores, labels = np.array([float(score) for score, _ in rows]), [label for _, label in rows]
    # an odd number of rows has a row for its median, which any rising function keeps
    if len(scores) % 2 == 0:
        scores, labels = scores[1:], labels[1:]
    if len(scores):
        one, other = scoring_rates(scores, labels), scoring_rates(np.exp(scores), labels)
        assert one.by_category["selected"].tolist() == other.by_category["selected"].tolist()


def test_a_table_is_frozen() -> None:
    table = selection_rates([1, 0], ["a", "b"])
    assert isinstance(table, ImpactRatioTable)
    with pytest.raises(AttributeError):
        table.n_input = 3  # type: ignore[misc]
