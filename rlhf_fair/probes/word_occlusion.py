"""Which words carry the gap between two texts, by leaving each out: for reward models that have no gradients.

The reward lost with a word in text a, less that lost with it in text b; a word that one text alone has counts for that
side. Amounts need not add up to the gap, and shortened texts are no natural ones (`rlhf_fair.models.occlusion`), so
these are hints, not an account. Unit: SD of reward; 0 = the word carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.models.occlusion import leave_one_word_out
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_scorer import RewardScorer
from rlhf_fair.models.word_spans import words_of
from rlhf_fair.probes.word_alignment import align
from rlhf_fair.probes.word_attribution import draw_pairs
from rlhf_fair.probes.word_attribution_pairs import DIFFERENCE, EXCHANGED, PAIRS_AT_ONCE, SHARED, Floats
from rlhf_fair.probes.word_attribution_tables import word_table


def left_out_words(
    reward: RewardScorer,
    pairs: pd.DataFrame,
    *,
    scale: float,
    limit: int,
    rng: np.random.Generator,
    on_progress: Progress | None = None,
) -> tuple[pd.DataFrame, int]:
    """The table of `rlhf_fair.probes.word_attribution_tables.word_table` with what is lost as contribution; pairs read.

    ``pairs``, ``scale`` and ``limit``: as in `rlhf_fair.probes.word_attribution.flip_attributions`.
    """
    drawn, _ = draw_pairs(pairs, limit, rng)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(drawn), PAIRS_AT_ONCE):
        chunk = drawn.iloc[start : start + PAIRS_AT_ONCE]
        texts = list(dict.fromkeys([*chunk["text_a"], *chunk["text_b"]]))
        lost = dict(zip(texts, leave_one_word_out(reward, texts), strict=True))
        for record in chunk.to_dict("records"):
            rows += _rows({str(name): value for name, value in record.items()}, lost, scale)
        if on_progress is not None:
            on_progress(len(chunk))
    whole = dict(zip(drawn["text_a"], reward.score(drawn["text_a"].tolist()), strict=True))
    base = dict(zip(drawn["text_b"], reward.score(drawn["text_b"].tolist()), strict=True))
    gap = (drawn["text_a"].map(whole) - drawn["text_b"].map(base)).astype(float) / scale
    words = word_table(pd.DataFrame(rows), drawn.assign(gap=gap, between=np.nan))
    return words, len(drawn)


def _rows(record: Mapping[str, Any], lost: Mapping[str, Floats], scale: float) -> Iterator[dict[str, Any]]:
    """One row for each word in its place."""
    a, b = str(record["text_a"]), str(record["text_b"])
    words_a, words_b = words_of(a), words_of(b)
    alignment = align(words_a, words_b)
    amounts = [(words_a[at].text, EXCHANGED, "a", lost[a][at]) for e in alignment.exchanges for at in e.a]
    amounts += [(words_b[at].text, EXCHANGED, "b", -lost[b][at]) for e in alignment.exchanges for at in e.b]
    amounts += [(words_a[at].text, SHARED, "both", lost[a][at] - lost[b][to]) for at, to in alignment.shared]
    columns = {name: record[name] for name in ("id", "kind", "cluster")} | {"method": DIFFERENCE}
    for word, role, side, amount in amounts:
        share = float(amount) / scale
        yield columns | {"word": word.lower(), "role": role, "side": side, "contribution": share, "occlusion": share}
