"""MACE and GLAD, two further models of raters who err, as crowd-kit fits them (optional: ``rlhf-fair[crowd]``).

MACE (Hovy et al. 2013): a rater knows the true class of an item with a probability of their own, their competence, and
otherwise answers by a habit of their own. Made for raters who click through.

GLAD (Whitehill et al. 2009): a rater of ability α is right on an item of difficulty 1/exp(β) with probability
1/(1 + exp(-α exp(β))). The only rule here that knows that some items are hard for everybody.

Like `dawid_skene`, both know error but no point of view: whoever sees a matter differently counts as less able.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from rlhf_fair.errors import RowError, SettingsError

FloatArray = NDArray[np.float64]

SETTLED = 1e-3
"""MACE has come to rest where twice as many rounds move no posterior by more than this."""

MOST_DOUBLINGS = 3
"""How often the rounds of MACE's best start are doubled before it is said not to have come to rest."""

MISSING = "needs crowd-kit, which is not installed; it comes with: pip install 'rlhf-fair[crowd]'"


@dataclass(frozen=True)
class Mace:
    """Result of `mace`.

    ``posterior``: (items, classes), rows sum to 1. ``competence``: by rater, the chance of knowing the true class, in
    [0, 1]. ``log_likelihood``: of the answers under the start that was kept, nats; ``restarts``: of each start.
    ``converged``: see `SETTLED`.
    """

    posterior: pd.DataFrame
    competence: pd.Series
    log_likelihood: float
    restarts: tuple[float, ...]
    converged: bool


@dataclass(frozen=True)
class Glad:
    """Result of `glad`.

    ``posterior``: (items, classes), rows sum to 1. ``ability``: α by rater; 0 = guesses, below 0 = answers the
    opposite. ``easiness``: β by item, any real number; higher = the able agree more. ``converged``: whether the
    objective stood still before the iterations ran out.
    """

    posterior: pd.DataFrame
    ability: pd.Series
    easiness: pd.Series
    converged: bool


def mace(answers: pd.DataFrame, *, restarts: int = 10, iterations: int = 50, seed: int = 0) -> Mace:
    """Fit MACE by variational Bayes from several random starts; the start of highest likelihood counts.

    That start is fitted again with twice as many rounds until it stands still (`SETTLED`, `MOST_DOUBLINGS`).

    crowd-kit runs its restarts from one seed, so that they are all the same, and compares them by a likelihood with
    1e-8 added for each item, which drowns that of items with many raters. So each start is run alone here, with a seed
    of its own, and they are compared by `mace_log_likelihood`.

    Parameters
    ----------
    answers
        Columns item, rater, answer; none missing.
    """
    if restarts < 1 or iterations < 1:
        raise SettingsError(f"restarts {restarts}, iterations {iterations}; allowed: >= 1 each")
    coded = _Coded.of(answers)
    if len(coded.answers) == 1:  # nothing to tell apart
        return Mace(_sure(coded), pd.Series(np.nan, index=coded.raters), 0.0, (), True)
    found = []
    for start in np.random.default_rng(seed).spawn(restarts):
        found.append((start, *_mace_from(coded, iterations, deepcopy(start))))
    likelihoods = [likelihood for _, likelihood, _, _ in found]
    kept = int(np.argmax(likelihoods))
    start, _, fit, posterior = found[kept]
    # crowd-kit tells nothing of its rounds: the same start with twice as many shows whether it still moves
    moved = np.inf
    for doubling in range(1, MOST_DOUBLINGS + 1):
        before = posterior
        likelihoods[kept], fit, posterior = _mace_from(coded, iterations * 2**doubling, deepcopy(start))
        moved = float((posterior - before).abs().to_numpy().max())
        if moved <= SETTLED:
            break
    competence = pd.Series(fit.spamming_[:, 1] / fit.spamming_.sum(axis=1), index=coded.raters)
    return Mace(posterior, competence, likelihoods[kept], tuple(likelihoods), moved <= SETTLED)


def _mace_from(coded: _Coded, iterations: int, rng: np.random.Generator) -> tuple[float, Any, pd.DataFrame]:
    """One start: its log-likelihood, crowd-kit's fit, and the posterior."""
    with _crowdkit("MACE") as crowdkit:
        fit = crowdkit.MACE(n_restarts=1, n_iter=iterations, random_state=rng)
        posterior = coded.posterior(fit.fit_predict_proba(coded.table))
    return mace_log_likelihood(coded.table, fit.spamming_, fit.thetas_), fit, posterior


def mace_log_likelihood(table: pd.DataFrame, spamming: FloatArray, habits: FloatArray) -> float:
    """Σ over items of log Σ over classes t of 1/K · Π over its answers (P(spam) · habit(a) + P(knows) · [a = t]), nats.

    ``table``: task, worker, label. ``spamming``: (raters, 2) the chance of not knowing and of knowing; ``habits``:
    (raters, classes); raters and classes in order of appearance.
    """
    item, rater, label = (pd.factorize(table[name])[0] for name in ("task", "worker", "label"))
    n_classes = habits.shape[1]
    guessed = spamming[rater, 0] * habits[rater, label]
    chance = guessed[:, None] + spamming[rater, 1][:, None] * (label[:, None] == np.arange(n_classes))
    by_item = np.zeros((int(item.max()) + 1, n_classes))
    np.add.at(by_item, item, np.log(np.maximum(chance, np.finfo(float).tiny)))
    return float(np.sum(logsumexp(by_item, axis=1) - np.log(n_classes)))


def glad(answers: pd.DataFrame, *, iterations: int = 100) -> Glad:
    """Fit GLAD by expectation maximisation, with standard normal priors around 1 for abilities and easiness.

    No randomness. It takes 2 to 3 ms of computing for each answer: minutes for a table of 72,000. It knows no habits:
    where most raters lean to one answer whatever the item, they look able to it, and `mace` is the model to take.

    Parameters
    ----------
    answers
        Columns item, rater, answer; none missing.
    """
    if iterations < 1:
        raise SettingsError(f"iterations {iterations}; allowed: >= 1")
    coded = _Coded.of(answers)
    if len(coded.answers) == 1:
        return Glad(_sure(coded), pd.Series(np.nan, index=coded.raters), pd.Series(np.nan, index=coded.items), True)
    with _crowdkit("GLAD") as crowdkit:
        fit = crowdkit.GLAD(n_iter=iterations)
        posterior = coded.posterior(fit.fit_predict_proba(coded.table))
    ability, easiness = fit.alphas_.sort_index(), fit.betas_.sort_index()  # codes sort as their names appeared
    last = fit.loss_history_[-2:]  # crowd-kit stops where a round gains less than its tolerance
    stood = len(fit.loss_history_) < iterations or (len(last) == 2 and last[1] - last[0] < fit.tol)
    return Glad(posterior, ability.set_axis(coded.raters), easiness.set_axis(coded.items), bool(stood))


@contextmanager
def _crowdkit(model: str) -> Iterator[Any]:
    """crowd-kit's aggregation module, with its calls of what pandas will drop kept quiet."""
    try:
        from crowdkit import aggregation
    except ImportError as error:
        raise SettingsError(f"{model} {MISSING}") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning, module=r"crowdkit\.")
        yield aggregation


@dataclass(frozen=True)
class _Coded:
    """crowd-kit's table (task, worker, label) in codes, and what they stand for.

    The codes sort in the order in which they first appear: crowd-kit 1.4 counts habits by raters and answers sorted by
    name but reads them in order of appearance, and finds no spammers where the two differ.
    """

    table: pd.DataFrame
    items: pd.Index
    raters: pd.Index
    answers: pd.Index

    @classmethod
    def of(cls, answers: pd.DataFrame) -> _Coded:
        if answers.empty or answers[["item", "rater", "answer"]].isna().any(axis=None):
            raise RowError(f"{len(answers)} answers; needed: at least one, and no missing item, rater or answer")
        columns, names = {}, []
        for name, column in (("task", "item"), ("worker", "rater"), ("label", "answer")):
            code, found = pd.factorize(answers[column])
            columns[name] = np.array([f"{k:09d}" for k in range(len(found))])[code]
            names.append(pd.Index(found))
        return cls(pd.DataFrame(columns), *names)

    def posterior(self, found: pd.DataFrame) -> pd.DataFrame:
        """(items, classes) under their own names, classes sorted; a fit whose arithmetic failed is an error."""
        values = found.sort_index(axis=0).sort_index(axis=1).to_numpy(float)
        if not np.isfinite(values).all():
            most = int(self.table.groupby("task").size().max())
            raise RowError(
                f"the model cannot be computed: items have up to {most} answers, and their chances underflow"
            )
        return pd.DataFrame(values, index=self.items.rename("item_id"), columns=self.answers).sort_index(axis=1)


def _sure(coded: _Coded) -> pd.DataFrame:
    """Everybody said the same: that it is, with certainty."""
    return pd.DataFrame(1.0, index=coded.items.rename("item_id"), columns=coded.answers)
