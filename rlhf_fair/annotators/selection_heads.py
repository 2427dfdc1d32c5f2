"""Linear preference heads and how unsure they are: the model that choosing the next pairs reasons with.

A head w says logit P(a preferred to b) = w · x with x the difference of the two responses' features (Bradley and Terry
1952). There is no intercept, so that swapping a and b swaps the answer. Prior: w ~ N(anchor, logit_sd² I); features are
scaled so that a typical x has length 1, and then logit_sd is the prior standard deviation of a typical pair's logit.

An item is one observation, however many people judged it: what its raters share, beyond the features, is not learned
better by asking more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import entr, expit

from rlhf_fair.errors import SettingsError

Floats = NDArray[np.float64]

LEAST_NOISE = 1e-3
"""Floor of a label's variance p(1 - p): members that all but agree with themselves would count as endless news."""


@dataclass(frozen=True)
class HeadSettings:
    """``logit_sd``: prior standard deviation of a typical pair's logit, > 0. ``members``: heads in an ensemble, >= 2.

    The default standard deviation is the one of a difference of two strengths in `bradley_terry`, rounded.
    """

    logit_sd: float = 2.0
    members: int = 64

    def __post_init__(self) -> None:
        if not self.logit_sd > 0 or self.members < 2:
            raise SettingsError(f"logit_sd {self.logit_sd}, members {self.members}; allowed: > 0 and >= 2")


@dataclass(frozen=True)
class Labels:
    """What is known. ``differences``: (n, d) scaled features, a minus b. ``p_a``: (n,) share that preferred a."""

    differences: Floats
    p_a: Floats

    def __post_init__(self) -> None:
        if self.differences.shape[:1] != self.p_a.shape or not ((self.p_a >= 0) & (self.p_a <= 1)).all():
            raise SettingsError(
                f"labels: {self.p_a.shape} shares for features {self.differences.shape}; shares must lie in [0, 1]"
            )

    @classmethod
    def none(cls, width: int) -> Labels:
        """No labels yet, for features of this width."""
        return cls(np.empty((0, width)), np.empty(0))


def typical_length(differences: NDArray[np.floating]) -> float:
    """Root mean square length of the rows: dividing by it makes a typical one 1 long. Zero only if all are zero."""
    squares = np.einsum("ij,ij->i", differences, differences, dtype=np.float64)
    return float(np.sqrt(squares.mean()))


def fit_head(labels: Labels, anchor: Floats, logit_sd: float, *, weights: Floats | None = None) -> Floats:
    """(d,) the head of largest posterior; concave, so there is one. Without labels it is ``anchor``.

    ``weights``: (n,) of the labels' log-likelihoods, default 1.
    """
    weight = np.ones(len(labels.p_a)) if weights is None else weights
    basis, coordinates = _row_space(labels.differences)
    return _fit(labels, basis, coordinates, weight, anchor, logit_sd)


def bootstrap_heads(labels: Labels, anchor: Floats, settings: HeadSettings, *, rng: np.random.Generator) -> Floats:
    """(members, d) heads that differ as much as the labels leave open.

    Each sees the labels under weights of its own, exponential as in the Bayesian bootstrap (Rubin 1981; Newton and
    Raftery 1994), and is drawn to an anchor of its own from the prior (Osband, Aslanides and Cassirer 2018). Without
    those anchors all members would be equal in every direction no label has touched yet: unanimous where nothing is
    known.
    """
    anchors = anchor + settings.logit_sd * rng.standard_normal((settings.members, len(anchor)))
    weights = rng.standard_exponential((settings.members, len(labels.p_a)))
    basis, coordinates = _row_space(labels.differences)
    fits = [
        _fit(labels, basis, coordinates, weight, own, settings.logit_sd)
        for weight, own in zip(weights, anchors, strict=True)
    ]
    return np.array(fits)


def posterior_precision(labels: Labels, head: Floats, logit_sd: float) -> Floats:
    """(d, d) information on the head: the prior's and the labels', I / logit_sd² + Σ p(1 - p) x xᵀ, in logits⁻²."""
    scaled = fisher_vectors(labels.differences, head)
    return np.asarray(np.eye(len(head)) / logit_sd**2 + scaled.T @ scaled)


def fisher_vectors(differences: NDArray[np.floating], head: Floats) -> Floats:
    """(n, d) rows c with c cᵀ = p(1 - p) x xᵀ, the Fisher information of one label of each pair about the head.

    Its size depends on the head that is only estimated, so designs made with it are locally optimal (Chernoff 1953).
    """
    p = expit(differences @ head)
    return np.asarray(np.sqrt(p * (1 - p))[:, None] * differences)


def disagreement_vectors(p_a: Floats) -> Floats:
    """(n, k) rows c whose squared length is the ensemble's variance of P(a preferred) over the label's own noise.

    ``p_a``: (n, k), one column a member. The product of two rows is the members' covariance about two pairs, in units
    of noise: rows along one line are pairs about which the members disagree in the same way. Var(p) and the noise
    E[p(1 - p)] add up to the variance of the label.
    """
    noise = np.maximum((p_a * (1 - p_a)).mean(axis=1), LEAST_NOISE)
    centred = p_a - p_a.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(p_a.shape[1] * noise)[:, None])


def mutual_information(p_a: Floats) -> Floats:
    """(n,) nats that one label would tell about which member is right: H(mean p) - mean H(p).

    0 = the members agree; range [0, ln 2]. BALD of Houlsby, Huszár, Ghahramani and Lengyel 2011.

    >>> mutual_information(np.array([[0.0, 1.0], [0.3, 0.3]])).round(4).tolist()
    [0.6931, 0.0]
    """
    return np.asarray(np.maximum(_entropy(p_a.mean(axis=1)) - _entropy(p_a).mean(axis=1), 0.0))


def _entropy(p: Floats) -> Floats:
    return np.asarray(entr(p) + entr(1 - p))


def _row_space(differences: Floats) -> tuple[Floats, Floats]:
    """Orthonormal rows (r, d) that span the differences, and their coordinates (n, r): labels move a head there only.

    With fewer labels than features that is a small space; with more it is all of it.
    """
    n, d = differences.shape
    if n >= d:
        return np.eye(d), differences
    right, left = np.linalg.qr(differences.T)
    return right.T, left.T


def _fit(labels: Labels, basis: Floats, coordinates: Floats, weight: Floats, anchor: Floats, logit_sd: float) -> Floats:
    if not len(basis):
        return anchor.copy()
    start = labels.differences @ anchor

    def loss(moved: Floats) -> tuple[float, Floats]:
        logit = start + coordinates @ moved
        value = weight @ (np.logaddexp(0, logit) - labels.p_a * logit) + moved @ moved / (2 * logit_sd**2)
        return float(value), coordinates.T @ (weight * (expit(logit) - labels.p_a)) + moved / logit_sd**2

    function: Any = loss
    options: Any = {"maxiter": 1_000, "ftol": 1e-12, "gtol": 1e-6}
    found: Any = minimize(function, np.zeros(len(basis)), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(anchor + found.x @ basis, dtype=float)
