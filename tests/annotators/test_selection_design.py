"""Greedy D-optimal choice against brute force, determinants by numpy, and worlds in which the right answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from rlhf_fair.annotators import selection_design
from rlhf_fair.annotators.selection_design import GreedyDesign
from rlhf_fair.annotators.selection_heads import (
    HeadSettings,
    Labels,
    bootstrap_heads,
    disagreement_vectors,
    fisher_vectors,
    fit_head,
    mutual_information,
    posterior_precision,
    typical_length,
)
from rlhf_fair.errors import SettingsError

Floats = NDArray[np.float64]


def positive_definite(d: int, rng: np.random.Generator) -> Floats:
    root = rng.standard_normal((d, d))
    return np.asarray(root @ root.T + 0.1 * np.eye(d))


def value(vectors: Floats, precision: Floats, rows: list[int]) -> float:
    """log det(A + Σ c cᵀ) - log det A."""
    bought = vectors[rows]
    return float(np.linalg.slogdet(precision + bought.T @ bought)[1] - np.linalg.slogdet(precision)[1])


def take(design: GreedyDesign, picks: int) -> list[int]:
    free = np.ones(len(design.vectors), dtype=bool)
    rows = []
    for _ in range(picks):
        rows.append(design.best(free))
        design.add(rows[-1])
        free[rows[-1]] = False
    return rows


@given(st.integers(0, 2**32 - 1))
def test_gains_are_those_of_the_determinant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d, picks = int(rng.integers(2, 12)), int(rng.integers(1, 6)), int(rng.integers(0, 8))
    vectors, precision = rng.standard_normal((n, d)) * 3, positive_definite(d, rng)
    design = GreedyDesign(vectors, precision)
    bought: list[int] = []
    for row in rng.integers(n, size=picks).tolist():  # any order, the same candidate twice as well
        gain = design.add(row)
        assert gain == pytest.approx(value(vectors, precision, [*bought, row]) - value(vectors, precision, bought))
        bought.append(row)
    expected = [value(vectors, precision, [*bought, i]) - value(vectors, precision, bought) for i in range(n)]
    np.testing.assert_allclose(design.gains(), expected, rtol=1e-6, atol=1e-9)
    assert design.information == pytest.approx(value(vectors, precision, bought))
    assert design.total_information() == pytest.approx(value(vectors, precision, list(range(n))))


@given(st.integers(0, 2**32 - 1))
def test_greedy_is_within_the_bound_of_the_best_set(seed: int) -> None:
    # Nemhauser, Wolsey & Fisher 1978: at least 1 - 1/e of the optimum over all sets of that size
    rng = np.random.default_rng(seed)
    n, d, picks = int(rng.integers(3, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    vectors, precision = rng.standard_normal((n, d)), positive_definite(d, rng)
    rows = take(GreedyDesign(vectors, precision), picks)
    best = max(value(vectors, precision, list(s)) for s in itertools.combinations(range(n), picks))
    found = value(vectors, precision, rows)
    assert (1 - 1 / math.e) * best <= found <= best + 1e-9
    singles = [value(vectors, precision, [i]) for i in range(n)]
    assert singles[rows[0]] == pytest.approx(max(singles))


def test_lazy_choice_is_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((400, 20)) / np.arange(1, 21)
    eager, free = [], np.ones(400, dtype=bool)
    inverse = np.eye(20)
    for _ in range(60):
        quadratic = np.einsum("ij,jk,ik->i", vectors, inverse, vectors)
        eager.append(int(np.argmax(np.where(free, quadratic, -1))))
        free[eager[-1]] = False
        inverse = np.linalg.inv(np.linalg.inv(inverse) + np.outer(vectors[eager[-1]], vectors[eager[-1]]))
    for block in (1, 7, 1024):
        monkeypatch.setattr(selection_design, "BLOCK", block)
        assert take(GreedyDesign(vectors), 60) == eager


def test_order_of_candidates_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    vectors, order = rng.standard_normal((300, 10)), rng.permutation(300)
    assert order[take(GreedyDesign(vectors[order]), 40)].tolist() == take(GreedyDesign(vectors), 40)


def test_copies_are_not_all_bought() -> None:
    # 50 copies of the longest vector beside 50 directions of their own: after k copies of length² 4 the next is worth
    # log(1 + 4 / (1 + 4k)), that is 1.61, .59, .37; a direction of length² 1 log 2 = .69. So one copy, then the others.
    vectors = np.vstack([np.tile(2 * np.eye(51)[0], (50, 1)), np.eye(51)[1:]])
    rows = take(GreedyDesign(vectors), 51)
    assert rows[0] < 50
    assert sum(row < 50 for row in rows) == 1


def test_informative_directions_are_found() -> None:
    # 30 of 1,000 pairs differ in directions that no label has touched, the rest where 500 labels lie already
    rng = np.random.default_rng(3)
    known = np.hstack([rng.standard_normal((500, 5)), np.zeros((500, 5))])
    pool = np.hstack([rng.standard_normal((1000, 5)), np.zeros((1000, 5))])
    new = rng.choice(1000, 30, replace=False)
    pool[new, 5:], pool[new, :5] = rng.standard_normal((30, 5)), 0
    labels, anchor, settings = Labels(known, (known[:, 0] > 0).astype(float)), np.zeros(10), HeadSettings()
    head = fit_head(labels, anchor, settings.logit_sd)
    fisher = GreedyDesign(fisher_vectors(pool, head), posterior_precision(labels, head, settings.logit_sd))
    heads = bootstrap_heads(labels, anchor, settings, rng=rng)
    disagreement = GreedyDesign(disagreement_vectors(expit(pool @ heads.T)))
    for design in (fisher, disagreement):
        assert set(take(design, 10)) <= set(new.tolist())


def test_head_is_the_ridge_of_scikit_learn() -> None:
    # minimising ½ |w|² / s² + Σ loss is LogisticRegression with C = s²
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((80, 6)), (rng.random(80) < 0.5).astype(float)
    oracle = LogisticRegression(C=4.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(fit_head(Labels(x, y), np.zeros(6), 2.0), oracle.coef_[0], atol=1e-4)
    # a share of 1/4 is one vote of weight 3/4 against and one of 1/4 for
    share = np.full(80, 0.25)
    twice = LogisticRegression(C=4.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    twice.fit(np.vstack([x, x]), np.r_[np.ones(80), np.zeros(80)], np.r_[share, 1 - share])
    np.testing.assert_allclose(fit_head(Labels(x, share), np.zeros(6), 2.0), twice.coef_[0], atol=1e-4)


def test_swapping_the_responses_mirrors_the_head() -> None:
    rng = np.random.default_rng(5)
    x, p = rng.standard_normal((30, 40)), rng.random(30)  # fewer labels than features
    head = fit_head(Labels(x, p), np.zeros(40), 2.0)
    np.testing.assert_allclose(fit_head(Labels(-x, 1 - p), np.zeros(40), 2.0), head, atol=1e-6)
    # the posterior's gradient vanishes: w / s² = Σ (p - σ(x w)) x
    np.testing.assert_allclose(head / 4, x.T @ (p - expit(x @ head)), atol=1e-4)


def test_without_labels_the_ensemble_is_the_prior() -> None:
    settings = HeadSettings(logit_sd=1.5, members=4000)
    anchor = np.array([2.0, 0.0, -1.0])
    heads = bootstrap_heads(Labels.none(3), anchor, settings, rng=np.random.default_rng(6))
    np.testing.assert_allclose(heads.mean(axis=0), anchor, atol=4 * 1.5 / math.sqrt(4000))
    np.testing.assert_allclose(np.cov(heads.T), 2.25 * np.eye(3), atol=0.25)


def test_ensemble_spreads_like_the_posterior() -> None:
    # many labels: members vary as the Laplace approximation says, and stay as wide as the prior where no label lies
    rng = np.random.default_rng(7)
    x = np.hstack([rng.standard_normal((1500, 2)), np.zeros((1500, 1))])
    truth = np.array([1.0, -0.5, 0.0])
    labels = Labels(x, (rng.random(1500) < expit(x @ truth)).astype(float))
    heads = bootstrap_heads(labels, np.zeros(3), HeadSettings(members=800), rng=rng)
    spread = np.cov(heads.T)
    laplace = np.linalg.inv(posterior_precision(labels, fit_head(labels, np.zeros(3), 2.0), 2.0))
    np.testing.assert_allclose(np.diag(spread), np.diag(laplace), rtol=0.2)
    assert laplace[2, 2] == pytest.approx(4.0)


def test_fisher_information_by_hand() -> None:
    # p = σ(0) = 1/2: ¼ x xᵀ with x = (2, 0) is 1; prior 1 / 2² = ¼
    labels = Labels(np.array([[2.0, 0.0]]), np.array([1.0]))
    np.testing.assert_allclose(posterior_precision(labels, np.zeros(2), 2.0), [[1.25, 0], [0, 0.25]])


def test_disagreement_by_hand() -> None:
    # p = .2, .6: mean .4, variance .04, noise (.16 + .24) / 2 = .2: squared length .2; agreeing members: 0
    vectors = disagreement_vectors(np.array([[0.2, 0.6], [0.5, 0.5], [0.6, 0.2]]))
    assert (vectors**2).sum(axis=1) == pytest.approx([0.2, 0.0, 0.2])
    assert vectors[0] @ vectors[2] == pytest.approx(-0.2)  # they disagree along one line, the other way round
    # Bernoulli: H(.4) - (H(.2) + H(.6)) / 2 = .67301 - (.50040 + .67301) / 2 = .08630
    assert mutual_information(np.array([[0.2, 0.6]]))[0] == pytest.approx(0.08630, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_mutual_information_is_within_its_range(seed: int) -> None:
    p = np.random.default_rng(seed).random((20, 5)).round(1)  # with 0 and 1 among them
    found = mutual_information(p)
    assert ((found >= 0) & (found <= math.log(2) + 1e-12)).all()
    assert mutual_information(1 - p) == pytest.approx(found)


def test_typical_length() -> None:
    # lengths² 25 and 1: sqrt(13)
    assert typical_length(np.array([[3.0, 4.0], [0.0, 1.0]])) == pytest.approx(math.sqrt(13))


def test_faults_are_named() -> None:
    with pytest.raises(SettingsError, match="members 1"):
        HeadSettings(members=1)
    with pytest.raises(SettingsError, match=r"shares must lie in \[0, 1\]"):
        Labels(np.ones((1, 2)), np.array([1.5]))
