from __future__ import annotations

import math

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, selection_rate
from scipy import stats as distributions
from sklearn.metrics import recall_score

from rlhf_fair.stats.replicates import Units, replicate_means


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def binary_rows(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = rng(seed)
    group, truth = r.integers(4, size=n), (r.random(n) < 0.5).astype(float)
    return group, truth, (r.random(n) < 0.3 + 0.1 * group).astype(float)


def test_replicates_vary_as_binomial_theory_says() -> None:
    group, truth, predicted = binary_rows(4000)
    top, bottom = np.c_[predicted, truth * predicted], np.c_[np.ones(4000), truth]
    replicates = replicate_means(top, bottom, group, None, 4, n_boot=4000, rng=rng())
    assert replicates.shape == (4000, 4, 2)
    for g in range(4):
        rows = group == g
        rates = predicted[rows].mean(), recall_score(truth[rows], predicted[rows])
        counts = rows.sum(), truth[rows].sum()
        for m, (rate, count) in enumerate(zip(rates, counts, strict=True)):
            sd = math.sqrt(rate * (1 - rate) / count)
            assert replicates[:, g, m].mean() == pytest.approx(rate, abs=4 * sd / math.sqrt(4000))
            assert replicates[:, g, m].std() == pytest.approx(sd, rel=0.05)  # 4.5 times 1/sqrt(2 * 4000)


def test_counting_copies_and_drawing_rows_give_the_same_distribution() -> None:
    group, _, predicted = binary_rows(400)
    jitter = predicted + rng(3).uniform(0, 1e-9, 400)  # no two rows alike: rows are drawn one by one
    quantiles = [
        np.quantile(
            replicate_means(v, np.ones(400), group, None, 4, n_boot=8000, rng=rng(s)), [0.05, 0.5, 0.95], axis=0
        )
        for s, v in enumerate((predicted, jitter))
    ]
    assert quantiles[0] == pytest.approx(quantiles[1], abs=0.012)  # a quarter of the standard error, 0.05


def test_rows_without_clusters_and_clusters_of_one_draw_the_same() -> None:
    values = rng(4).normal(size=50)
    group = np.arange(50) % 3
    alone = replicate_means(values, np.ones(50), group, None, 3, n_boot=200, rng=rng())
    ones = replicate_means(values, np.ones(50), group, np.arange(50), 3, n_boot=200, rng=rng())
    assert alone == pytest.approx(ones)


def test_a_group_that_is_not_drawn_is_nan_at_the_rate_chance_gives() -> None:
    group = np.array([1] + [0] * 9)
    lost = np.isnan(replicate_means(np.ones(10), np.ones(10), group, None, 2, n_boot=20_000, rng=rng()))
    low, high = distributions.binom(20_000, 0.9**10).interval(0.999)  # ten draws miss one row of ten
    assert low <= lost[:, 1, 0].sum() <= high
    assert not lost[:, 0].all()


def stratum_sizes(stratified: bool) -> np.ndarray:
    group = np.repeat([0, 1], [5, 15])
    units = Units.of(np.ones((20, 1)), np.ones((20, 1)), group, np.arange(20), 2)
    units = units.stratified() if stratified else units
    return units.replicate_sums(300, rng())[1][:, :, 0]


def test_stratified_draws_keep_the_size_of_every_group() -> None:
    assert (stratum_sizes(True) == [5, 15]).all()
    free = stratum_sizes(False)
    assert (free.sum(axis=1) == 20).all()
    assert free[:, 0].std() == pytest.approx(math.sqrt(20 * 0.25 * 0.75), rel=0.15)


def test_row_draws_are_what_fairlearn_draws() -> None:
    group, _, predicted = binary_rows(120)
    frame = MetricFrame(
        metrics=selection_rate,
        y_true=predicted,
        y_pred=predicted,
        sensitive_features=group,
        n_boot=300,
        ci_quantiles=[0.1, 0.5, 0.9],
        random_state=1,
    )
    ours = np.quantile(
        replicate_means(predicted, np.ones(120), group, None, 4, n_boot=4000, rng=rng()), [0.1, 0.5, 0.9], axis=0
    )
    for mine, theirs in zip(ours[:, :, 0], frame.by_group_ci, strict=True):
        # a quantile of 300 draws at 10 %: sqrt(.1 * .9 / 300) / .1755 = 0.1 standard errors of .09 each, four of them
        assert mine == pytest.approx(theirs.to_numpy(), abs=0.036)
