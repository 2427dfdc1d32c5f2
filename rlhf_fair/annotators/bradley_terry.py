"""Bradley-Terry strengths of responses, with a leaning of each annotator to what is shown first.

logit P(rater k prefers a over b) = θ_a − θ_b + β_k · s, with s = +1 where a is shown first and −1 where b is
(Bradley and Terry 1952; order effect of Davidson and Beaver 1977, here one for each rater). Normal priors on θ and β
make the fit unique and finite however few comparisons there are; a rater's leaning is taken out of the strengths.

The effects are about position on the screen, not about taste: nobody is weighed down for disagreeing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit

from rlhf_fair.annotators.aggregation import CHOICE_VALUES, judgement_weights
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import require_columns

FloatArray = NDArray[np.float64]

FIRST_SHOWN = {"ab": 1.0, "ba": -1.0}
RESPONSES = ("response_a_id", "response_b_id")
"""Columns that say which responses meet in an item; a response that occurs in several items links them."""


MOST_ROUNDS = 10_000

LOGIT_TOLERANCE = 1e-3
"""Converged: no strength or leaning can be further than this from the optimum, in logits."""


@dataclass(frozen=True)
class BradleyTerrySettings:
    """``strength_sd``, ``leaning_sd``: standard deviations of the normal priors, on the logit scale, > 0.

    ``leaning_sd`` 0 leaves the raters' leanings out.
    """

    strength_sd: float = 1.5
    leaning_sd: float = 0.5

    def __post_init__(self) -> None:
        if not (self.strength_sd > 0 and self.leaning_sd >= 0):
            raise SettingsError(
                f"strength_sd {self.strength_sd}, leaning_sd {self.leaning_sd}; allowed: > 0 and >= 0 (logits)"
            )


@dataclass(frozen=True)
class BradleyTerry:
    """Result of `bradley_terry`.

    ``items``: item_id, p_a = σ(θ_a − θ_b), the preference freed of leanings, n, weight. ``strengths``: θ by response,
    mean 0 up to the prior. ``leanings``: β by annotator_id, 0 = no leaning, > 0 to the response shown first.
    ``converged``: whether the optimum was reached, by the gradient left or by the optimiser's own word.
    """

    items: pd.DataFrame
    strengths: pd.Series
    leanings: pd.Series
    log_posterior: float
    converged: bool


def bradley_terry(
    feedback: pd.DataFrame,
    weights: pd.Series | None = None,
    *,
    groups: pd.Series | None = None,
    settings: BradleyTerrySettings | None = None,
) -> BradleyTerry:
    """Fit by maximum a posteriori; the problem is concave, so the optimum is the only one.

    Parameters
    ----------
    feedback
        item_id, annotator_id, choice (a tie is half a win for each); order (``ab``, ``ba``; without it a is always
        first) and `RESPONSES` where responses meet in several items. Without those an item is two responses of its own.
    weights, groups
        See `aggregation.judgement_weights`; they multiply a judgement's log-likelihood.
    """
    require_columns(feedback, ["item_id", "annotator_id", "choice"], "feedback")
    s = settings or BradleyTerrySettings()
    won = np.asarray(feedback["choice"].map(CHOICE_VALUES), dtype=np.float64)
    if np.isnan(won).any():
        raise RowError(f"feedback holds choice {feedback['choice'][np.isnan(won)].iloc[0]!r}; allowed: a, b, tie")
    weight = np.asarray(judgement_weights(feedback, weights, groups=groups), dtype=np.float64)
    first, second, names = _responses(feedback)
    rater, raters = pd.factorize(feedback["annotator_id"])
    n, n_names, n_raters = len(feedback), len(names), len(raters) if s.leaning_sd > 0 else 0
    # where it is not known what came first, a leaning to either place says nothing
    place = feedback["order"].map(FIRST_SHOWN).fillna(0.0) if "order" in feedback else np.ones(n)
    shown_first = np.asarray(place, dtype=np.float64)
    rows = np.arange(n)
    parts = [(np.ones(n), first), (-np.ones(n), second)]
    parts += [(shown_first, n_names + rater)] if n_raters else []
    data, columns = np.concatenate([v for v, _ in parts]), np.concatenate([c for _, c in parts])
    design = sparse.csr_array((data, (np.tile(rows, len(parts)), columns)), shape=(n, n_names + n_raters))
    precision = np.full(n_names + n_raters, s.strength_sd**-2)
    precision[n_names:] = s.leaning_sd**-2 if n_raters else 0.0
    found, converged = _maximise(design, won, weight, precision)
    theta, beta = found[:n_names], found[n_names:]
    items = feedback[["item_id"]].assign(p_a=expit(theta[first] - theta[second]), n=1, weight=weight)
    summed = items.groupby("item_id", sort=False).agg({"p_a": "first", "n": "sum", "weight": "sum"}).reset_index()
    return BradleyTerry(
        items=summed.assign(p_a=summed["p_a"].where(summed["weight"] > 0)),
        strengths=pd.Series(theta, index=pd.Index(names, name="response_id"), name="strength"),
        leanings=pd.Series(
            beta if n_raters else np.zeros(len(raters)), index=pd.Index(raters, name="annotator_id"), name="leaning"
        ),
        log_posterior=-_loss(found, design, won, weight, precision)[0],
        converged=converged,
    )


def _responses(feedback: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp], list[str]]:
    """Codes of the responses a and b of each row, and the responses' names."""
    if all(name in feedback for name in RESPONSES):
        pairs = feedback[list(RESPONSES)]
        if pairs.isna().any(axis=None):
            raise RowError(f"feedback holds rows without {' or '.join(RESPONSES)}")
    else:
        pairs = pd.DataFrame({side: feedback["item_id"].astype("str") + f"/{side}" for side in ("a", "b")})
    codes, names = pd.factorize(pairs.to_numpy(dtype=object).reshape(-1))
    both = codes.reshape(-1, 2)
    same = both[:, 0] == both[:, 1]
    if same.any():
        raise RowError(
            f"item {feedback['item_id'][same].iloc[0]!r} compares response {names[both[same][0, 0]]!r} to itself"
        )
    return both[:, 0], both[:, 1], [str(name) for name in names]


def _maximise(
    design: sparse.csr_array, won: FloatArray, weight: FloatArray, precision: FloatArray
) -> tuple[FloatArray, bool]:
    """The optimum, and whether it was reached.

    The negative log posterior is strongly convex with the least prior precision m, so the optimum is no further away
    than the length of the gradient over m. Flat priors make that bound useless; then the optimiser's word counts.
    """
    start = np.zeros(int(design.shape[1]))
    options: Any = {"maxiter": MOST_ROUNDS, "maxfun": 10 * MOST_ROUNDS, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-8}
    loss: Any = partial(_loss, design=design, won=won, weight=weight, precision=precision)
    result: Any = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    distance = float(np.linalg.norm(result.jac)) / float(precision.min())
    return np.asarray(result.x, dtype=float), bool(result.success or distance <= LOGIT_TOLERANCE)


def _loss(
    x: FloatArray, design: sparse.csr_array, won: FloatArray, weight: FloatArray, precision: FloatArray
) -> tuple[float, FloatArray]:
    """Negative log posterior up to a constant, and its gradient."""
    logit = design @ x
    loss = float(weight @ (np.logaddexp(0, logit) - won * logit)) + float(precision @ x**2) / 2
    return loss, np.asarray(design.T @ (weight * (expit(logit) - won)) + precision * x)
