"""From a config and its rows to what the trainer wants: heads, objective, weighting and penalties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.reward_heads import ALLOWED, RewardHeads
from rlhf_fair.training.reward import mitigations as chosen
from rlhf_fair.training.reward.classification import ClassData
from rlhf_fair.training.reward.config import RatingSource, RewardConfig
from rlhf_fair.training.reward.counterfactual import CounterfactualConsistency
from rlhf_fair.training.reward.distributional import DistributionalPairs, DistributionalRatings
from rlhf_fair.training.reward.gap_constraint import GapConstraint
from rlhf_fair.training.reward.gradient_reversal import GradientReversal
from rlhf_fair.training.reward.group_balance import balanced_weights
from rlhf_fair.training.reward.group_dro import GroupDRO
from rlhf_fair.training.reward.identity_swaps import swapped_pairs
from rlhf_fair.training.reward.objectives import Objective
from rlhf_fair.training.reward.ordinal import OrdinalData
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.rows import GROUP_PREFIX, group_codes
from rlhf_fair.training.reward.scheme import BootstrapHeads, HeadOfRow, HeadScheme, OneScheme
from rlhf_fair.training.reward.terms import Term
from rlhf_fair.training.reward.trainer import RewardTask
from rlhf_fair.training.reward.weighting import WeightedMean, Weighting


@dataclass(frozen=True)
class Prepared:
    """``left_out``: rows that teach no head because their group is unknown."""

    heads: RewardHeads
    task: RewardTask
    n_rows: int
    left_out: int


def prepare(rows: pd.DataFrame, config: RewardConfig, find: Callable[[str], Path]) -> Prepared:
    """Heads and task for the training rows; ``find`` gives the place of a file that the config names."""
    kept, heads, scheme = _heads(rows, config)
    objective = _objective(kept, config)
    weighting, terms = _mitigations(kept, objective, config, find)
    return Prepared(heads, RewardTask(objective, scheme, weighting, terms), len(kept), len(rows) - len(kept))


def _heads(rows: pd.DataFrame, config: RewardConfig) -> tuple[pd.DataFrame, RewardHeads, HeadScheme]:
    wanted = config.heads
    combine = wanted.combine or ALLOWED[wanted.kind][0]
    if config.objective == "classification":
        levels = rating_levels(config)
        names = tuple(f"{value:g}" for value in levels)
        heads = RewardHeads(kind="classes", names=names, combine="expected", weights=levels)
        return rows, heads, OneScheme()
    if wanted.kind == "ensemble":
        names = tuple(f"head-{number}" for number in range(1, wanted.size + 1))
        clusters = np.unique(rows["key"].to_numpy(dtype=str), return_inverse=True)[1]
        scheme = BootstrapHeads.draw(clusters, wanted.size, np.random.default_rng([config.training.seed, 7]))
        return rows, RewardHeads(kind="ensemble", names=names, combine=combine, penalty=wanted.penalty), scheme
    if wanted.kind in ("groups", "objectives"):
        column = GROUP_PREFIX + str(wanted.groups) if wanted.kind == "groups" else "virtue"
        at_least = config.groups[str(wanted.groups)].at_least if wanted.kind == "groups" else 1
        codes, names = group_codes(rows[column], at_least)
        kept = rows[codes >= 0].reset_index(drop=True)
        weights = _named_weights(wanted.weights, names) if combine == "weighted" else ()
        heads = RewardHeads(kind=wanted.kind, names=names, combine=combine, weights=weights)
        return kept, heads, HeadOfRow(codes[codes >= 0], len(names))
    if wanted.kind == "distribution":
        heads = RewardHeads(kind="distribution", names=("mean", "log_sd"), combine=combine, penalty=wanted.penalty)
        return rows, heads, OneScheme()
    return rows, RewardHeads(), OneScheme()


def _named_weights(weights: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    if set(weights) != set(names):
        raise SettingsError(f"heads.weights must name each of {list(names)} once, names {sorted(weights)}")
    return tuple(weights[name] for name in names)


def rating_levels(config: RewardConfig) -> tuple[float, ...]:
    """The possible ratings of all sources in [0, 1], rising; they must be the same for all and declared as allowed."""
    found = {}
    for source in config.sources:
        assert isinstance(source, RatingSource)
        if not source.allowed:
            raise SettingsError(f"source {source.name!r}: objective {config.objective!r} needs its allowed ratings")
        low, high = source.scale
        shares = [(value - low) / (high - low) for value in source.allowed]
        found[source.name] = tuple(sorted(round(s if source.better == "high" else 1 - s, 9) for s in shares))
    if len(set(found.values())) > 1:
        raise SettingsError(f"objective {config.objective!r} needs sources of the same ratings, found {found}")
    return next(iter(found.values()))


def _objective(rows: pd.DataFrame, config: RewardConfig) -> Objective:
    weight = rows["weight"].to_numpy(float)
    spread = config.heads.kind == "distribution"
    if config.objective == "preference":
        pairs = DistributionalPairs if spread else PairData
        texts_a, texts_b = rows["text_a"].tolist(), rows["text_b"].tolist()
        margin = rows["margin"].to_numpy(float) if "margin" in rows and rows["margin"].any() else None
        return pairs(texts_a, texts_b, rows["p_a"].to_numpy(float), weight, margin)
    texts = rows["text"].tolist()
    if config.objective == "rating":
        ratings = DistributionalRatings if spread else RatingData
        return ratings(texts, rows["target"].to_numpy(float), weight)
    levels = np.asarray(rating_levels(config))
    level = np.abs(rows["rating"].to_numpy(float)[:, None] - levels).argmin(axis=1)
    if config.objective == "ordinal":
        return OrdinalData(texts, level, len(levels), weight)
    return ClassData(texts, level, len(levels), weight)


def _mitigations(
    rows: pd.DataFrame, objective: Objective, config: RewardConfig, find: Callable[[str], Path]
) -> tuple[Weighting | None, tuple[Term, ...]]:
    weighting: Weighting | None = None
    terms: list[Term] = []
    for m in config.mitigations:
        if isinstance(m, chosen.GroupBalance | chosen.GroupDRO):
            weighting = _weighting(m, rows, objective, config)
        else:
            terms.append(_term(m, rows, config, find))
    return weighting, tuple(terms)


def _weighting(
    m: chosen.GroupBalance | chosen.GroupDRO, rows: pd.DataFrame, objective: Objective, config: RewardConfig
) -> Weighting:
    codes, names = group_codes(rows[GROUP_PREFIX + m.groups], config.groups[m.groups].at_least)
    if isinstance(m, chosen.GroupBalance):
        return WeightedMean(balanced_weights(codes, objective.weight), len(rows))
    return GroupDRO(codes, names, objective.weight, step_size=m.step_size, adjustment=m.adjustment)


def _term(
    m: chosen.Counterfactual | chosen.GradientReversal | chosen.GapConstraint,
    rows: pd.DataFrame,
    config: RewardConfig,
    find: Callable[[str], Path],
) -> Term:
    seed = config.training.seed
    if isinstance(m, chosen.GradientReversal):
        codes, names = group_codes(rows[GROUP_PREFIX + m.groups], config.groups[m.groups].at_least)
        return GradientReversal(codes, names, strength=m.strength, hidden=m.hidden, seed=seed)
    texts = pd.concat([rows[column] for column in ("text", "text_a", "text_b") if column in rows]).tolist()
    pairs = swapped_pairs(texts, m, find, seed=seed)
    if isinstance(m, chosen.GapConstraint):
        return GapConstraint(pairs, tolerance=m.tolerance, rate=m.rate, batch_size=m.batch_size)
    flat = [pair for own in pairs.values() for pair in own]
    return CounterfactualConsistency(flat, strength=m.strength, batch_size=m.batch_size)
