from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions
from statsmodels.stats.multitest import multipletests

from rlhf_fair.metrics.four_fifths import FourFifths, Reading, four_fifths
from rlhf_fair.metrics.impact_ratio import ImpactRatioOptions, selection_rates
from rlhf_fair.stats.risk_ratio import risk_ratio


def read(*counts: tuple[int, int], **options: object) -> tuple[FourFifths, ...]:
    """Read (selected, n) of categories 0, 1, …"""
    outcomes = np.concatenate([np.repeat([1, 0], [a, n - a]) for a, n in counts])
    labels = np.repeat(np.arange(len(counts)), [n for _, n in counts])
    return four_fifths(selection_rates(outcomes, labels), **options)


@pytest.mark.parametrize(
    ("group", "highest", "reading"),
    [
        ((48, 80), (60, 80), Reading.NOT_BELOW),  # exactly .8, although .6 / .75 < .8 in floats
        ((3, 10), (6, 10), Reading.MISS_WITHIN_CHANCE),  # a half, of twenty people
        ((140, 400), (200, 400), Reading.MISS_BEYOND_CHANCE),  # .70, interval to .83
        ((40, 400), (200, 400), Reading.BELOW),
        ((0, 400), (200, 400), Reading.BELOW),
        ((1760, 4000), (2000, 4000), Reading.DIFFERENT),  # .88 of many
        ((45, 100), (50, 100), Reading.NOT_BELOW),
    ],
)
def test_table_of_readings(group: tuple[int, int], highest: tuple[int, int], reading: Reading) -> None:
    (found,) = read(highest, group)
    assert found.reading == reading
    assert found.reference == 0
    assert found.is_finding == (reading in (Reading.BELOW, Reading.MISS_BEYOND_CHANCE))


def test_nothing_to_compare() -> None:
    assert {row.reading for row in read((0, 10), (0, 10))} == {Reading.NOT_ESTIMABLE}
    assert read((4, 10)) == ()


def test_the_correction_counts_all_pairs() -> None:
    # three categories, three pairs: Fisher's p of the farthest pair is the smallest and costs three times as much
    farthest = read((10, 40), (20, 40), (25, 40))[0]
    assert farthest.p_adjusted == pytest.approx(3 * farthest.fisher_p)
    alone = read((10, 40), (25, 40))[0]
    assert alone.p_adjusted == alone.fisher_p == pytest.approx(farthest.fisher_p)


def test_copies_of_the_same_people_are_no_evidence() -> None:
    outcomes, labels = np.repeat([1, 0, 1, 0], [3, 7, 6, 4]), np.repeat(["b", "w"], 10)
    often, person = np.repeat(outcomes, 20), np.repeat(np.arange(20), 20)
    options = ImpactRatioOptions(clusters=[person])
    blind = four_fifths(selection_rates(often, np.repeat(labels, 20)))[0]
    (aware,) = four_fifths(selection_rates(often, np.repeat(labels, 20), options=options))
    assert blind.is_finding
    assert aware.reading == Reading.MISS_WITHIN_CHANCE


def test_with_clusters_the_correction_is_of_the_risk_ratios() -> None:
    rng = np.random.default_rng(2)
    category, cluster = np.repeat(["a", "b", "c"], 60), np.repeat(np.arange(30), 6)
    outcomes = (rng.random(180) < np.repeat([0.2, 0.5, 0.7], 60)).astype(float)
    table = selection_rates(outcomes, category, options=ImpactRatioOptions(clusters=[cluster]))
    p = []
    for group, higher in (("a", "b"), ("a", "c"), ("b", "c")):
        rows = np.isin(category, [group, higher])
        e = risk_ratio(outcomes[rows], category[rows], group=group, reference=higher, clusters=[cluster[rows]])
        p.append(e.p_value)
    _, adjusted, _, _ = multipletests(p, method="holm")
    found = {row.category: row.p_adjusted for row in four_fifths(table)}
    assert found == pytest.approx({"a": adjusted[1], "b": adjusted[2]})


def test_a_clustered_category_without_success_is_compared_and_equal_ones_are_no_evidence() -> None:
    category, cluster = np.repeat(["a", "b", "c"], 180), np.repeat(np.arange(90), 6)
    outcomes = np.r_[np.zeros(180), np.tile([1.0, 1.0, 0.0, 1.0], 45), np.zeros(180)]
    table = selection_rates(outcomes, category, options=ImpactRatioOptions(clusters=[cluster]))
    assert table.pair_p_values is not None
    assert table.pair_p_values[0, 2] == 1
    assert {row.reading for row in four_fifths(table)} == {Reading.BELOW}


def test_clusters_that_differ_make_no_finding_out_of_equal_categories() -> None:
    # within-cluster correlation .2: beta(1.6, 2.4) rates, mean .4; uncorrected intervals find something in every other
    rng, simulations, found = np.random.default_rng(3), 40, 0
    cluster = np.repeat(np.arange(8 * 20), 30)
    category = cluster // 20
    for _ in range(simulations):
        outcomes = (rng.random(len(cluster)) < rng.beta(1.6, 2.4, 160)[cluster]).astype(float)
        table = selection_rates(outcomes, category, options=ImpactRatioOptions(clusters=[cluster]))
        found += any(row.is_finding for row in four_fifths(table))
    assert found <= distributions.binom(simulations, 0.05).ppf(0.999)


def two_equal_groups(rate: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """All outcomes i, j of two groups with the same true rate: their probability, and whether the ratio misses .8."""
    law = distributions.binom(n, rate).pmf(np.arange(n + 1))
    one, other = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    return law[one] * law[other], 5 * np.minimum(one, other) < 4 * np.maximum(one, other)


@pytest.mark.parametrize(("rate", "bare"), [(0.5, 0.26), (0.2, 0.56)])
def test_equal_rates_miss_often(rate: float, bare: float) -> None:
    probability, missed = two_equal_groups(rate, 50)
    assert probability[missed].sum() == pytest.approx(bare, abs=0.005)


def test_and_are_found_rarely() -> None:
    n = 20
    probability, missed = two_equal_groups(0.5, n)
    called = missed & (probability > 1e-3)
    found = sum(2 * probability[i, j] for i, j in np.argwhere(np.triu(called)) if read((i, n), (j, n))[0].is_finding)
    assert found + probability[missed & ~called].sum() <= 0.05


def test_fourteen_equal_categories_nearly_always_miss_somewhere_and_are_found_rarely() -> None:
    rng, simulations, missed, found = np.random.default_rng(9), 40, 0, 0
    for _ in range(simulations):
        readings = read(*((int(a), 50) for a in rng.binomial(50, 0.5, 14)))
        missed += any(row.ratio.estimate < 0.8 for row in readings)
        found += any(row.is_finding for row in readings)
    assert missed >= 0.9 * simulations
    assert found <= distributions.binom(simulations, 0.05).ppf(0.999)
