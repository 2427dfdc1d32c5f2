from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.metrics.auc import auc_estimate
from rlhf_fair.metrics.subgroup_auc import (
    KINDS,
    Combination,
    bias_aucs,
    one_column_per_label,
    power_mean,
    power_mean_bias,
    power_mean_slopes,
    subgroup_aucs,
)

MADLIBS = Path(__file__).parents[3] / "shared/data/bias-madlibs"


def scored(seed: int, n: int = 400, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Scores, outcomes and two overlapping subgroups; the negatives of 'a' score higher by ``shift``."""
    rng = np.random.default_rng(seed)
    outcomes = rng.integers(0, 2, n)
    membership = {"a": rng.random(n) < 0.4, "b": rng.random(n) < 0.3}
    scores = np.round(outcomes + rng.normal(size=n) + shift * membership["a"] * (1 - outcomes), 1)
    return scores, outcomes, {name: column.astype(float) for name, column in membership.items()}


def test_the_bias_of_a_power_mean_is_that_of_simulated_errors() -> None:
    rng = np.random.default_rng(0)
    truth, sd, shared = np.linspace(0.7, 0.9, 30), 0.02, 0.03
    errors = rng.normal(0, sd, (20_000, 30)) + rng.normal(0, shared, (20_000, 1))
    means = np.array([power_mean(row, -5) for row in truth + errors])
    slopes = power_mean_slopes(truth, -5)
    of_mean = sd**2 * (slopes**2).sum() + shared**2 * slopes.sum() ** 2
    expected = power_mean_bias(truth, np.full(30, sd**2 + shared**2), of_mean, -5)
    noise = 4 * means.std() / np.sqrt(len(means))
    assert means.mean() - power_mean(truth, -5) == pytest.approx(expected, abs=noise + 0.1 * abs(expected))
    # equal values, independent errors: -(1 - p) / 2 * (variance - variance / S) / value
    alike = power_mean_bias(np.full(50, 0.8), np.full(50, sd**2), sd**2 / 50, -5)
    assert alike == pytest.approx(-3 * sd**2 * (1 - 1 / 50) / 0.8)
    # an error that all share shifts the mean and bends nothing; the plain mean has no bias
    assert power_mean_bias(np.full(50, 0.8), np.full(50, sd**2), sd**2, -5) == pytest.approx(0, abs=1e-12)
    assert power_mean_bias(truth, np.full(30, sd**2), sd**2 / 30, 1) == 0


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_is_the_auc_of_its_rows(seed: int) -> None:
    scores, outcomes, membership = scored(seed)
    for result in subgroup_aucs(scores, outcomes, membership):
        inside = membership[result.subgroup] == 1
        rows = {
            "subgroup": inside,
            "bpsn": np.where(inside, outcomes == 0, outcomes == 1),
            "bnsp": np.where(inside, outcomes == 1, outcomes == 0),
        }
        for kind in KINDS:
            chosen = rows[kind].astype(bool)
            assert result.aucs[kind].estimate == pytest.approx(roc_auc_score(outcomes[chosen], scores[chosen]))
            gap = result.aucs[kind].estimate - result.baseline.estimate
            assert result.gaps[kind].estimate == pytest.approx(gap)
        assert result.n_positive + result.n_negative == inside.sum()


def test_disjoint_rows_add_their_variances() -> None:
    scores, outcomes, membership = scored(3)
    result = subgroup_aucs(scores, outcomes, membership)[0]
    both = math.hypot(result.aucs["subgroup"].standard_error, result.baseline.standard_error)
    assert result.gaps["subgroup"].standard_error == pytest.approx(both)


def test_a_planted_false_positive_bias_shows_in_bpsn_alone() -> None:
    a, b = subgroup_aucs(*scored(4, n=4000, shift=0.5))
    assert a.gaps["bpsn"].ci_high < -0.05
    assert a.gaps["bnsp"].ci_low < 0 < a.gaps["bnsp"].ci_high
    assert abs(b.gaps["bpsn"].estimate) < 0.05


def test_unknown_membership_is_in_neither_side() -> None:
    scores, outcomes, membership = scored(5)
    membership["a"][:50] = np.nan
    result = subgroup_aucs(scores, outcomes, membership)[0]
    known = subgroup_aucs(scores[50:], outcomes[50:], {"a": membership["a"][50:]})[0]
    assert result.n_unknown == 50
    assert {kind: e.estimate for kind, e in result.aucs.items()} == {kind: e.estimate for kind, e in known.aucs.items()}


def test_overall_baseline() -> None:
    scores, outcomes, membership = scored(6)
    result = subgroup_aucs(scores, outcomes, membership, baseline="overall")[0]
    assert result.baseline.estimate == pytest.approx(roc_auc_score(outcomes, scores))


def test_undefined_subgroups_are_named() -> None:
    scores, outcomes, membership = scored(7)
    membership["rare"] = ((np.arange(400) < 40) & (outcomes == 0)).astype(float)
    rare = subgroup_aucs(scores, outcomes, membership)[2]
    assert math.isnan(rare.aucs["subgroup"].estimate)
    assert "no positive rows" in rare.aucs["subgroup"].reason
    assert "no positive rows" in rare.gaps["bnsp"].reason
    assert math.isfinite(rare.aucs["bpsn"].ci_low)
    summary = bias_aucs(scores, outcomes, membership)
    assert summary.left_out == {"subgroup": ("rare",), "bpsn": (), "bnsp": ("rare",)}
    assert "rare" in summary.combined.reason
    nobody = bias_aucs(scores, outcomes, {"none": np.zeros(400)})
    assert math.isnan(nobody.combined.estimate)
    assert nobody.combined.reason


def test_combined_metric_by_its_definition() -> None:
    scores, outcomes, membership = scored(8)
    results = subgroup_aucs(scores, outcomes, membership)
    summary = bias_aucs(scores, outcomes, membership)
    means = {kind: np.mean([r.aucs[kind].estimate ** -5.0 for r in results]) ** (-1 / 5) for kind in KINDS}
    for kind in KINDS:
        assert summary.means[kind].estimate == pytest.approx(means[kind])
    expected = (roc_auc_score(outcomes, scores) + sum(means.values())) / 4
    assert summary.combined.estimate == pytest.approx(expected)
    assert summary.combined.ci_low < expected < summary.combined.ci_high
    only = bias_aucs(scores, outcomes, membership, combination=Combination(overall_weight=1.0)).combined
    # one variance correction over all rows instead of one per side
    assert only.standard_error == pytest.approx(auc_estimate(scores, outcomes).standard_error, rel=0.01)


def test_standard_error_of_the_combined_metric_is_its_spread() -> None:
    drawn = [bias_aucs(*scored(seed, n=250)).combined for seed in range(300)]
    spread = np.std([e.estimate for e in drawn], ddof=1)
    # The SD of 300 draws has a relative standard error of 1/sqrt(600) = 4 %.
    assert np.sqrt(np.mean([e.standard_error**2 for e in drawn])) == pytest.approx(spread, rel=0.13)


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=6), st.sampled_from([-5.0, -1.0, 1.0, 2.0]))
def test_power_mean_lies_between_extremes_and_its_slopes_are_its_derivative(values: list[float], power: float) -> None:
    x = np.array(values)
    assert x.min() - 1e-12 <= power_mean(x, power) <= x.max() + 1e-12
    slopes = power_mean_slopes(x, power)
    # degree 1: Euler's theorem
    assert slopes @ x == pytest.approx(power_mean(x, power))
    step = np.zeros(len(x))
    step[0] = 1e-6
    numeric = (power_mean(x + step, power) - power_mean(x - step, power)) / 2e-6
    assert slopes[0] == pytest.approx(numeric, rel=1e-4, abs=1e-7)


def test_power_mean_by_hand() -> None:
    # p = -1: harmonic mean of 1/2 and 1 is 2/(2 + 1); p = 1: 3/4; any zero pulls a negative power to 0.
    assert power_mean(np.array([0.5, 1.0]), -1) == pytest.approx(2 / 3)
    assert power_mean(np.array([0.5, 1.0]), 1) == pytest.approx(3 / 4)
    assert power_mean(np.array([0.0, 1.0]), -5) == 0


def test_labels_become_columns() -> None:
    columns = one_column_per_label(["x", None, "y", "x"])
    assert list(columns) == ["x", "y"]
    np.testing.assert_array_equal(columns["x"], [1, np.nan, 0, 1])


def test_faults_are_named() -> None:
    scores, outcomes, membership = scored(9)
    with pytest.raises(SettingsError, match="baseline 'rest' is unknown"):
        subgroup_aucs(scores, outcomes, membership, baseline="rest")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="power 0"):
        Combination(power=0)
    with pytest.raises(RowError, match="membership 'a' has"):
        subgroup_aucs(scores, outcomes, {"a": [1, 0]})
    with pytest.raises(RowError, match=r"holds 0\.5; allowed: 0, 1"):
        subgroup_aucs(scores, outcomes, {"a": np.full(400, 0.5)})


@pytest.mark.skipif(not MADLIBS.is_dir(), reason="the bias-madlibs data set is not at hand")
def test_a_scorer_that_dislikes_one_identity_term_is_found_on_madlibs() -> None:
    table = pd.read_csv(MADLIBS / "eval_datasets/bias_madlibs_77k.csv.gz")
    listed = (MADLIBS / "bias_madlibs_data/adjectives_people.txt").read_text(encoding="utf-8").split("\n")
    terms = [term.strip() for term in listed if term.strip()][:6]
    members = {
        term: table["Text"].str.contains(rf"\b{re.escape(term)}\b", case=False).to_numpy(dtype=float) for term in terms
    }
    toxic = (table["Label"] == "BAD").to_numpy(dtype=float)
    rng = np.random.default_rng(0)
    disliked = terms[1]
    scores = toxic + rng.normal(size=len(table)) + 0.8 * members[disliked]
    found = {result.subgroup: result for result in subgroup_aucs(scores, toxic, members)}
    # Negatives of the term move from 0 to 0.8 against positives at 1: AUC = Φ(0.2/√2) = 0.556, not Φ(1/√2) = 0.760.
    biased = found[disliked].aucs["bpsn"]
    assert biased.ci_low < 0.5562 < biased.ci_high
    assert found[disliked].gaps["bpsn"].ci_high < -0.15
    # Its positives rise from 1 to 1.8: no false negatives, AUC = Φ(1.8/√2) = 0.898; order within the term is kept.
    assert found[disliked].gaps["bnsp"].ci_low > 0
    assert abs(found[disliked].gaps["subgroup"].estimate) < 0.03
    for term in set(terms) - {disliked}:
        assert all(abs(gap.estimate) < 0.04 for gap in found[term].gaps.values())
