"""Gradient-boosted trees that learn a reward from embeddings: ratings, classes, and preference pairs.

Friedman 2001, "Greedy function approximation"; the trees are LightGBM's (Ke et al. 2017). What is ours is the loss of
pairs: a row of the trees is a text, and the loss knows two of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.tree_reward import lightgbm
from rlhf_fair.training.reward.classification import ClassData
from rlhf_fair.training.reward.objectives import Objective
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.settings import TreeSettings

Floats = NDArray[np.float64]

TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows of an objective with the vectors of their texts.

    ``features``: (columns x n, dimensions): for pairs first all texts a, then all texts b. ``weight``: (n,), mean 1.
    """

    objective: Objective
    features: NDArray[np.float32]
    weight: Floats


@dataclass(frozen=True)
class Grown:
    """Trees, the round up to which they are read, and the loss by round, in squared units or nats."""

    booster: Any
    best_round: int
    curve: list[dict[str, float]]


def pair_loss(scores: Floats, p_a: Floats, weight: Floats) -> float:
    """Weighted mean of -p log sigmoid(d) - (1 - p) log sigmoid(-d), d = score_a - score_b; nats. ``scores``: (2n,)."""
    difference = np.subtract(*scores.reshape(2, -1))
    losses = -p_a * log_expit(difference) - (1 - p_a) * log_expit(-difference)
    return float(np.average(losses, weights=weight))


def pair_gradient(scores: Floats, p_a: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """First and second derivative of the weighted *sum* of `pair_loss` by each of the (2n,) scores.

    With s = sigmoid(d): w (s - p) for text a, its negative for text b, and w s (1 - s) for both. Trees take the
    diagonal of the second derivatives; what joins the two texts of a pair (-w s (1 - s)) is left out, as in
    LambdaMART (Burges 2010).
    """
    share = expit(np.subtract(*scores.reshape(2, -1)))
    first, second = weight * (share - p_a), weight * share * (1 - share)
    return np.concatenate([first, -first]), np.concatenate([second, second])


def grow(
    train: EmbeddedRows,
    validation: EmbeddedRows | None,
    settings: TreeSettings,
    *,
    on_round: Callable[[int], None] | None = None,
) -> Grown:
    """Grow trees on ``train``; with ``validation`` they are read up to the round of its lowest loss.

    Equal data, settings and seed give equal trees, whatever the number of threads.
    """
    library = lightgbm()
    pairs = isinstance(train.objective, PairData)
    data = {TRAINING: _dataset(library, train, None)}
    if validation is not None:
        data[VALIDATION] = _dataset(library, validation, data[TRAINING])
    heard: dict[str, dict[str, list[float]]] = {}
    callbacks = [library.record_evaluation(heard)]
    if validation is not None and settings.early_stopping:
        callbacks.append(library.early_stopping(settings.early_stopping, verbose=False))
    if on_round is not None:
        callbacks.append(lambda env: on_round(env.iteration + 1))
    booster = library.train(
        _parameters(train.objective, settings),
        data[TRAINING],
        num_boost_round=settings.rounds,
        valid_sets=list(data.values()),
        valid_names=list(data),
        feval=_pair_metric if pairs else None,
        callbacks=callbacks,
    )
    if not booster.feature_importance().sum():
        raise SettingsError(
            f"trees: no tree could be split: {len(train.features)} texts with min_rows = {settings.min_rows}; lower it"
        )
    return Grown(booster, booster.best_iteration or booster.current_iteration(), _curve(heard))


def _parameters(objective: Objective, settings: TreeSettings) -> dict[str, Any]:
    if isinstance(objective, PairData):
        learnt: dict[str, Any] = {"objective": _pair_objective, "metric": "none"}
    elif isinstance(objective, ClassData):
        learnt = {"objective": "multiclass", "num_class": objective.classes, "metric": "multi_logloss"}
    else:
        learnt = {"objective": "regression", "metric": "l2"}
    return learnt | {
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows,
        "bagging_fraction": settings.bagging,
        "bagging_freq": int(settings.bagging < 1),
        "feature_fraction": settings.features,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,  # the other way of adding up is chosen by timing, and would not repeat
        "verbosity": -1,
    }


def _dataset(library: Any, rows: EmbeddedRows, reference: Any) -> Any:
    """Labels: the target, the class, or for a text of a pair the share of judgements for it."""
    objective, weight = rows.objective, rows.weight
    if isinstance(objective, PairData):
        p_a = np.asarray(objective.p_a, dtype=float)
        label, weight = np.concatenate([p_a, 1 - p_a]), np.concatenate([weight, weight])
    elif isinstance(objective, ClassData):
        label = np.asarray(objective.label, dtype=float)
    elif isinstance(objective, RatingData):
        label = np.asarray(objective.target, dtype=float)
    else:
        raise SettingsError(f"trees cannot learn from {type(objective).__name__}")
    return library.Dataset(rows.features, label=label, weight=weight, reference=reference, free_raw_data=False)


def _pair_objective(scores: Floats, data: Any) -> tuple[Floats, Floats]:
    """LightGBM's call for derivatives; it leaves the weights to the objective."""
    return pair_gradient(scores, *_pair_labels(data))


def _pair_metric(scores: Floats, data: Any) -> tuple[str, float, bool]:
    """LightGBM's call for a loss; the last says that lower is better."""
    return "loss", pair_loss(scores, *_pair_labels(data)), False


def _pair_labels(data: Any) -> tuple[Floats, Floats]:
    """(n,) ``p_a`` and weight; both stand once for each of the two texts."""
    label = np.asarray(data.get_label(), dtype=np.float64)
    weight = data.get_weight()  # None where all are 1
    own = np.ones(len(label)) if weight is None else np.asarray(weight, dtype=np.float64)
    return label[: len(label) // 2], own[: len(own) // 2]


def _curve(heard: dict[str, dict[str, list[float]]]) -> list[dict[str, float]]:
    """One dict per round: step, loss, and validation_loss where there is one."""
    losses = {name: next(iter(by_metric.values())) for name, by_metric in heard.items()}
    names = {TRAINING: "loss", VALIDATION: "validation_loss"}
    return [
        {"step": number + 1.0} | {names[name]: float(values[number]) for name, values in losses.items()}
        for number in range(len(losses[TRAINING]))
    ]
