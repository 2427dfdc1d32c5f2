"""Dawid and Skene's (1979) model: every item has one true class, every rater an error-rate table of their own.

P(rater k says l on item i | true class j) = π_k[j, l], given the class independent of all else; p[j] is the share of
class j. Fitted by expectation maximisation from the plain vote shares.

The model knows error but no point of view. Raters who see a matter differently from most, however honestly and however
much alike, appear as raters with high error rates, and their votes are turned down or even around. The flip report
(`rlhf_fair.annotators.flips`) shows on whom that falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logsumexp

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.columns import check_lengths

FloatArray = NDArray[np.float64]

TINY = 1e-300
"""Stands for a probability of 0 under a logarithm: its product with a count of 0 must be 0."""

NUDGE = 0.01
"""Where the likelihood stands still, the posterior moves this far towards the vote shares, to see if it climbs on."""

GAIN = 1e-6
"""Nats that count as climbing on."""


@dataclass(frozen=True)
class DawidSkene:
    """Result of `dawid_skene`.

    Attributes
    ----------
    posterior
        (items, classes), each row sums to 1: the chance of each true class given all answers.
    class_shares
        By class, sums to 1.
    error_rates
        Indexed by (rater, true class), one column for each answer; rows sum to 1. A row is that of the class shares'
        answers overall where nothing is known (the rater saw no item of the class).
    log_likelihood
        Of the observed answers, nats.
    converged, iterations
        Whether the likelihood stood still before the iterations ran out, also after a nudge: on real ratings it can
        grow by less than any tolerance for a hundred rounds on a saddle and then climb several nats.
    """

    posterior: pd.DataFrame
    class_shares: pd.Series
    error_rates: pd.DataFrame
    log_likelihood: float
    converged: bool
    iterations: int


def dawid_skene(
    items: Any,
    raters: Any,
    answers: Any,
    *,
    smoothing: float = 0.0,
    tolerance: float = 1e-9,
    max_iterations: int = 5000,
    leave_saddles: bool = True,
) -> DawidSkene:
    """Fit the model to answers in long form; a rater may answer an item several times.

    Parameters
    ----------
    items, raters, answers
        (n,) labels; a missing answer is left out. The classes are the answers that occur.
    smoothing
        >= 0, added to each count of a rater's table (a Dirichlet prior of 1 + smoothing); 0 is maximum likelihood.
        The log-likelihood reported is always that of the data alone.
    tolerance
        Stop when the log-likelihood (plus log prior) grows by less than this, nats.
    leave_saddles
        Where it stands still, nudge and climb on; False is plain expectation maximisation.
    """
    if not smoothing >= 0 or max_iterations < 1:
        raise SettingsError(f"smoothing {smoothing}, max_iterations {max_iterations}; allowed: >= 0 and >= 1")
    table = _answers(items, raters, answers)
    item, item_names = pd.factorize(table["item"])
    rater, rater_names = pd.factorize(table["rater"])
    answer, classes = pd.factorize(table["answer"], sort=True)
    n_items, n_raters, n_classes = len(item_names), len(rater_names), len(classes)
    column = rater * n_classes + answer
    counts = sparse.csr_array((np.ones(len(item)), (item, column)), shape=(n_items, n_raters * n_classes))
    posterior = np.zeros((n_items, n_classes))
    np.add.at(posterior, (item, answer), 1.0)
    posterior /= posterior.sum(axis=1, keepdims=True)
    votes = posterior.copy()
    fit = _climb(counts, posterior, n_raters, smoothing, tolerance, max_iterations)
    iterations = fit.iterations
    while leave_saddles and fit.converged and iterations < max_iterations:
        nudged = (1 - NUDGE) * fit.posterior + NUDGE * votes
        again = _climb(counts, nudged, n_raters, smoothing, tolerance, max_iterations - iterations)
        iterations += again.iterations
        if not again.objective > fit.objective + GAIN:
            break
        fit = again
    # rates is (rater × answer, class); shown as one row for each (rater, true class)
    shown = fit.rates.reshape(n_raters, n_classes, n_classes).transpose(0, 2, 1).reshape(-1, n_classes)
    return DawidSkene(
        posterior=pd.DataFrame(fit.posterior, index=pd.Index(item_names, name="item_id"), columns=classes),
        class_shares=pd.Series(fit.shares, index=classes),
        error_rates=pd.DataFrame(
            shown, index=pd.MultiIndex.from_product([rater_names, classes], names=["rater", "true"]), columns=classes
        ),
        log_likelihood=fit.log_likelihood,
        converged=fit.converged,
        iterations=iterations,
    )


@dataclass(frozen=True)
class _Fit:
    """``objective``: log-likelihood plus log prior."""

    posterior: FloatArray
    shares: FloatArray
    rates: FloatArray
    log_likelihood: float
    objective: float
    converged: bool
    iterations: int


def _climb(counts: Any, posterior: FloatArray, n_raters: int, smoothing: float, tolerance: float, most: int) -> _Fit:
    """Expectation maximisation from ``posterior`` until the objective grows by less than ``tolerance``."""
    previous, converged, iterations = -np.inf, False, 0
    while not converged and iterations < most:
        iterations += 1
        shares = posterior.mean(axis=0)
        rates = _error_rates(counts, posterior, n_raters, smoothing)
        joint = counts @ np.log(np.maximum(rates, TINY)) + np.log(np.maximum(shares, TINY))
        by_item = logsumexp(joint, axis=1)
        posterior = np.exp(joint - by_item[:, None])
        log_likelihood = float(by_item.sum())
        objective = log_likelihood + (smoothing * float(np.log(rates).sum()) if smoothing else 0.0)
        converged, previous = objective - previous < tolerance, objective
    return _Fit(posterior, shares, rates, log_likelihood, objective, bool(converged), iterations)


def _answers(items: Any, raters: Any, answers: Any) -> pd.DataFrame:
    check_lengths({"raters": raters, "answers": answers}, len(items), "items")
    table = pd.DataFrame({"item": np.asarray(items), "rater": np.asarray(raters), "answer": np.asarray(answers)})
    table = table[table["answer"].notna()]
    if table.empty or table[["item", "rater"]].isna().any(axis=None):
        raise RowError(f"{len(table)} answers; needed: at least one, and no missing item or rater")
    return table


def _error_rates(counts: Any, posterior: FloatArray, n_raters: int, smoothing: float) -> FloatArray:
    """(rater × answer, class) P(answer | true class), each rater's answers adding up to 1 within a class."""
    n_classes = posterior.shape[1]
    expected = np.asarray(counts.T @ posterior).reshape(n_raters, n_classes, n_classes) + smoothing
    total = expected.sum(axis=1, keepdims=True)
    overall = np.asarray(counts.sum(axis=0)).reshape(n_raters, n_classes).sum(axis=0)
    unseen = np.broadcast_to((overall / overall.sum())[None, :, None], expected.shape)
    rates = np.divide(expected, total, out=unseen.copy(), where=total > TINY)
    return np.asarray(rates.reshape(n_raters * n_classes, n_classes))
