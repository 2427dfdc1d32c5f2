from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions

from rlhf_fair.stats.group_sums import GroupSums
from rlhf_fair.stats.rearrangement import Rearrangement, rearrangement_test


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rearranged(
    values: np.ndarray, group: np.ndarray, cluster: np.ndarray, n: int = 999, seed: int = 0
) -> Rearrangement:
    sums = GroupSums.of(values, np.ones(len(values)), group, cluster, int(group.max()) + 1)
    return rearrangement_test(sums, n_rearrangements=n, rng=rng(seed))


def range_of_means(*samples: np.ndarray) -> float:
    means = [np.mean(sample) for sample in samples]
    return max(means) - min(means)


@pytest.mark.parametrize("sizes", [(4, 5), (3, 3, 3), (2, 3, 2)])
def test_independent_rows_equal_the_exact_permutation_test(sizes: tuple[int, ...]) -> None:
    samples = [rng(i).normal(i / 2, 1, size=n) for i, n in enumerate(sizes)]
    exact = distributions.permutation_test(
        samples, range_of_means, permutation_type="independent", n_resamples=np.inf, alternative="greater"
    )
    ours = rearranged(np.concatenate(samples), np.repeat(np.arange(len(sizes)), sizes), np.arange(sum(sizes)), n=2000)
    assert ours.p_value_raw == pytest.approx(exact.pvalue)
    assert ours.scheme == "clusters, exact"
    assert ours.n == len(exact.null_distribution)


def test_two_groups_in_every_cluster_are_the_sign_flip_test() -> None:
    before, after = rng(1).normal(size=9), rng(2).normal(0.5, 1, size=9)
    exact = distributions.permutation_test(
        (after - before,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    ours = rearranged(np.r_[before, after], np.repeat([0, 1], 9), np.tile(np.arange(9), 2))
    assert ours.p_value_raw == pytest.approx(exact.pvalue)
    assert ours.p_value == pytest.approx(exact.pvalue)  # |t| of paired differences rises with their |mean|
    assert (ours.scheme, ours.n) == ("within clusters, exact", 512)


def test_whole_clusters_are_exchanged_and_not_their_rows() -> None:
    # 2 + 2 clusters without spread inside: 6 arrangements, and 2 of them set the two high clusters against the low.
    values, cluster = np.repeat([1.0, 2.0, 5.0, 6.0], 50), np.repeat(np.arange(4), 50)
    ours = rearranged(values, (cluster > 1).astype(int), cluster)
    assert ours.p_value_raw == pytest.approx(2 / 6)
    assert rearranged(values, (cluster > 1).astype(int), np.arange(200)).p_value_raw == pytest.approx(1 / 1000)


def test_random_arrangements_approach_the_exact_ones() -> None:
    values, group, cluster = rng(3).normal(size=12), np.repeat([0, 1, 2], 4), np.arange(12)
    exact = rearranged(values, group, cluster, n=40_000)
    drawn = rearranged(values, group, cluster, n=20_000)
    assert exact.n == 34_650  # 12! / (4! 4! 4!)
    assert drawn.n == 20_000
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.014)  # 4 standard errors at p = 1/2
    assert drawn.p_value_raw == pytest.approx(exact.p_value_raw, abs=0.014)


@pytest.mark.parametrize("crossed", [False, True])
def test_the_error_rate_is_exact_when_nothing_differs(crossed: bool) -> None:
    simulations, r, rejected = 300, rng(4), np.zeros(2)
    cluster = np.repeat(np.arange(12), 3)
    group = np.tile([0, 1, 2], 12) if crossed else cluster % 3
    for _ in range(simulations):
        values = r.exponential(size=36) + r.exponential(size=12)[cluster]
        ours = rearranged(values, group, cluster, n=199, seed=int(r.integers(2**31)))
        rejected += [ours.p_value <= 0.05, ours.p_value_raw <= 0.05]
    low, high = distributions.binom(simulations, 0.05).interval(0.999)
    assert (low <= rejected).all()
    assert (rejected <= high).all()


def test_only_the_studentised_test_stands_unequal_variances() -> None:
    simulations, r, rejected = 300, rng(5), np.zeros(2)
    group = np.repeat([0, 1], [12, 48])
    for _ in range(simulations):
        values = r.normal(size=60) * np.where(group, 1.0, 4.0)
        ours = rearranged(values, group, np.arange(60), n=199, seed=int(r.integers(2**31)))
        rejected += [ours.p_value <= 0.05, ours.p_value_raw <= 0.05]
    studentised, raw = rejected
    assert studentised <= distributions.binom(simulations, 0.06).ppf(0.999)
    assert raw > distributions.binom(simulations, 0.15).ppf(0.999)
