"""Which words carry the gaps of the audit ``reward``: a list of text pairs, and what attributions make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.asking import Hear
from rlhf_fair.audit.reward_audit_items import Items
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_scores import Unit
from rlhf_fair.audit.reward_audit_tables import as_rows
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.probes import reward_dialect, reward_pairs
from rlhf_fair.records import Finding

QUESTION = "Which words carry the gap?"
WORDS_PER_KIND = 6
SHOWN = ["kind", "word", "side", "role", "contribution", "ci_low", "ci_high", "share", "occlusion", "n_pairs"]


def words_table(
    plan: RewardPlan, target: Target, items: Items, unit: Unit, findings: Sequence[Finding], hear: Hear
) -> tuple[dict[str, Any], str]:
    """``{question: table}`` for the claimed comparisons with the largest gaps, and a sentence for the limits.

    Attributions need the model itself: nothing for a file of scores, or if the plan has no ``[words]``.
    """
    if plan.words is None or target.reward_model is None or not unit.sd > 0:
        return {}, ""
    wanted = largest_kinds(findings, plan.words.comparisons)
    pairs = gapped_pairs(items)
    pairs = pairs[pairs["kind"].isin(wanted)]
    if pairs.empty:
        return {}, ""
    limit, done = min(plan.words.pairs * len(wanted), len(pairs)), 0

    def heard(n: int) -> None:
        nonlocal done
        done += n
        hear("taking pairs apart", done, limit)

    draw = _Draw(pairs, unit.sd, limit, np.random.default_rng(plan.seed), heard)
    try:
        words, said = _by_leaving_out(target.reward_model, draw) or _by_gradients(target.reward_model, draw)
    except (SettingsError, ModelLoadError) as error:
        return {}, f"Which words carry the gap was not measured: {error}."
    if words.empty:
        return {}, f"Which words carry the gap: {said}."
    table = words.groupby("kind", sort=False).head(WORDS_PER_KIND)[[name for name in SHOWN if name in words]]
    return {QUESTION: as_rows(table)}, f"Words of the {len(wanted)} largest claimed gaps: {said}"


@dataclass(frozen=True)
class _Draw:
    """Pairs that words are drawn from, ``limit`` of them; ``scale``: SD of reward."""

    pairs: pd.DataFrame
    scale: float
    limit: int
    rng: np.random.Generator
    heard: Callable[[int], None]


def _by_gradients(source: str, draw: _Draw) -> tuple[pd.DataFrame, str]:
    """The words and a sentence on how they were found; without words, why."""
    from rlhf_fair.models.reward_model import RewardModel  # loads torch
    from rlhf_fair.probes.word_attribution import flip_attributions
    from rlhf_fair.probes.word_attribution_pairs import DIFFERENCE

    options: dict[str, Any] = {"scale": draw.scale, "limit": draw.limit, "rng": draw.rng, "on_progress": draw.heard}
    found = flip_attributions(
        RewardModel.load(source), draw.pairs, **options, between=False
    )  # the table has no row of it
    words = found.words[found.words["method"] == DIFFERENCE]
    if found.reason or words.empty:
        return words.iloc[:0], found.reason or "no word stands out"
    return words, (
        f"integrated gradients of {len(found.pairs):,} pairs, {len(found.left_out):,} left out. Attributions can "
        "mislead: where the column occlusion, the reward lost when the word is left out, does not agree, believe "
        "neither."
    )


def _by_leaving_out(source: str, draw: _Draw) -> tuple[pd.DataFrame, str] | None:
    """The same of a model of trees, which has no gradients; None for any other."""
    from rlhf_fair.models.tree_reward import FACTS_NAME, TreeReward  # loads torch

    if not (Path(source) / FACTS_NAME).is_file():
        return None
    from rlhf_fair.probes.word_occlusion import left_out_words

    words, n = left_out_words(
        TreeReward.load(source), draw.pairs, scale=draw.scale, limit=draw.limit, rng=draw.rng, on_progress=draw.heard
    )
    said = (
        f"the reward lost in {n:,} pairs when the word is left out, for trees have no gradients. The amounts need not "
        "add up to the gap, and a shortened text may be priced as such."
    )
    return words.drop(columns="occlusion"), said if len(words) else "no word stands out"


def largest_kinds(findings: Sequence[Finding], most: int) -> list[str]:
    """The ``most`` claimed gaps farthest from 0 whose intervals leave 0 out, by the name their pairs go by."""
    gaps = [
        f
        for f in findings
        if f.role == "claim"
        and f.metric in (reward_pairs.GAP, reward_dialect.METRIC)
        and (f.ci_low > 0 or f.ci_high < 0)
    ]
    gaps.sort(key=lambda f: -abs(f.estimate))
    return [kind_of(f.attribute, f.group, f.reference, f.variant) for f in gaps[:most]]


def kind_of(attribute: str, group: str, reference: str, said_in: str) -> str:
    """What a comparison goes by."""
    return f"{attribute}: {group} against {reference}, {said_in}"


def gapped_pairs(items: Items) -> pd.DataFrame:
    """id, text_a (the group's), text_b (the reference's), kind (the comparison), cluster (prompt or verb)."""
    parts = []
    if reward_pairs.PROBE in items.tables:
        table = items.tables[reward_pairs.PROBE]
        table = table[~table["attribute"].isin(reward_pairs.NULLS)]
        parts.append(_listed(table, "prompt_id"))
    if reward_dialect.PROBE in items.tables:
        table = items.tables[reward_dialect.PROBE]
        parts.append(_listed(table[table["attribute"] == "dialect"], "verb"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _listed(table: pd.DataFrame, cluster: str) -> pd.DataFrame:
    said = table[["attribute", "group", "reference", "kind"]].itertuples(index=False)
    return pd.DataFrame(
        {
            "id": table["item_id"],
            "text_a": table["text"],
            "text_b": table["base_text"],
            "kind": [kind_of(*one) for one in said],
            "cluster": table[cluster],
        }
    )
