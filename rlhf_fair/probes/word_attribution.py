"""Which words carry the gap between two texts that should get the same reward.

A pair (text a, text b) differs in a few words, such as a term of identity; its gap is r(a) - r(b). Three accounts:

between the texts
    Integrated gradients on the straight path from b's embeddings to a's. It needs no baseline and adds up to the gap,
    but says only which *exchange* of words carries it ("he" for "she", or "his" for "her"): what both texts have in one
    place gets exactly 0. Possible where both have equally many tokens and differ inside exchanged words alone; to be
    preferred there for that question.
difference of attributions
    Integrated gradients of each text against neutral tokens (`rlhf_fair.models.attribution.neutral_ids`), subtracted
    word by word. It splits the gap into exchanged words, *shared* words that are paid differently in the company of the
    exchanged ones, and what the number of tokens is paid by itself. The split depends on the neutral token.
leaving out
    The reward lost with each word, subtracted likewise. It uses no gradients and does not add up; it is the check.

Attributions can look right and be wrong (Adebayo et al. 2018). Where the last two disagree, believe neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.attribution import Steps
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.probes.word_attribution_pairs import (
    PAIRS_AT_ONCE,
    Pair,
    PairReader,
    contribution_rows,
    summary_row,
    token_rows,
)
from rlhf_fair.probes.word_attribution_tables import (
    Completeness,
    OcclusionAgreement,
    completeness_of,
    occlusion_agreement,
    part_table,
    word_table,
)
from rlhf_fair.tables import require_columns

COLUMNS = ("id", "text_a", "text_b", "cluster", "kind")
TOLERANCE = 0.02
"""Largest error of a path's sum, in SD of reward."""

CONTRIBUTION_COLUMNS = (
    *("id", "kind", "cluster", "method", "role", "side", "word", "start", "end", "start_b", "end_b"),
    *("contribution", "occlusion"),
)
TOKEN_COLUMNS = ("id", "side", "position", "token", "start", "end", "frame", "attribution")
PAIR_COLUMNS = (*COLUMNS, "gap", "exchanged", "shared", "n_tokens", "residue", "between")


@dataclass(frozen=True)
class WordAttributions:
    """Contributions in SD of reward (``scale``); 0 = the word carries nothing of the gap.

    words: the words that carry the gap, see `rlhf_fair.probes.word_attribution_tables.word_table`.
    parts: what carries the gap as a whole, see `part_table` there.
    contributions: one row for each pair, method and word in its place. ``side``: the text that has it, "a" or "b";
        "both" for shared words and for exchanges. ``start`` and ``end``: its characters in a, ``start_b`` and ``end_b``
        in b; -1 where it does not stand.
    tokens: one row for each token of each text, against the neutral token; ``frame``: put there by the tokenizer.
    pairs: one row for each pair: gap = exchanged + shared + n_tokens + residue; ``between``: the sum of the path
        between the texts, NaN where there is none.
    completeness: how well the paths add up. occlusion_agreement: rank correlations with leaving words out.
    left_out: id and reason of each pair that was not attributed; rows of ``pairs`` and of ``left_out`` add up to the
        input. neutral: the token that attributions of single texts start from. reason: why there is nothing, else "".
    """

    words: pd.DataFrame
    parts: pd.DataFrame
    contributions: pd.DataFrame
    tokens: pd.DataFrame
    pairs: pd.DataFrame
    completeness: Completeness
    occlusion_agreement: OcclusionAgreement
    left_out: pd.DataFrame
    scale: float
    neutral: str
    reason: str = ""

    @property
    def n_left_out(self) -> int:
        """Pairs that were given and not attributed."""
        return len(self.left_out)


def flip_attributions(
    reward_model: RewardModel,
    pairs: pd.DataFrame,
    *,
    scale: float,
    limit: int = 200,
    rng: np.random.Generator,
    between: bool = True,
    on_progress: Progress | None = None,
) -> WordAttributions:
    """Attribute the gaps of ``pairs`` to words.

    Parameters
    ----------
    pairs: one row for each pair: id (unique), text_a, text_b, cluster (what pairs have in common, such as a template or
        a prompt), kind (pairs that are summed up together, such as an attribute with its two groups). Within a kind, a
        should always be of the same group, or gaps of both signs cancel.
    scale: SD of reward, the unit of all results.
    limit: at most so many pairs, drawn by ``rng``, as evenly over the kinds as these allow.
    between: whether to walk the paths between the texts too; the other accounts do not depend on it.
    on_progress: hears the number of pairs done since its last call; ``min(limit, len(pairs))`` in all.

    Raises
    ------
    SettingsError, ColumnError, RowError, ModelLoadError
        captum is missing; ``scale`` or ``limit`` is out of range; ``pairs`` lack a column, or a row lacks a text, an id
        or a kind; the model's tokenizer does not say where its tokens stand.
    """
    _check(pairs, scale, limit)
    drawn, left_out = draw_pairs(pairs, limit, rng)
    reader = PairReader(reward_model, Steps(TOLERANCE * scale), between)
    read: list[Pair] = []
    records = [{str(name): value for name, value in row.items()} for row in drawn.to_dict("records")]
    for start in range(0, len(records), PAIRS_AT_ONCE):
        chunk = records[start : start + PAIRS_AT_ONCE]
        found, refused = reader.read(chunk)
        read += found
        left_out += refused
        if on_progress is not None:
            on_progress(len(chunk))
    contributions = _table((row for pair in read for row in contribution_rows(pair, scale)), CONTRIBUTION_COLUMNS)
    per_pair = _table((summary_row(pair, scale) for pair in read), PAIR_COLUMNS)
    words = word_table(contributions, per_pair)
    tokenizer = reward_model.tokenizer
    return WordAttributions(
        words=words,
        parts=part_table(per_pair),
        contributions=contributions,
        tokens=_table((row for pair in read for row in token_rows(pair, tokenizer, scale)), TOKEN_COLUMNS),
        pairs=per_pair,
        completeness=completeness_of(read, scale, TOLERANCE),
        occlusion_agreement=occlusion_agreement(read, contributions, words),
        left_out=pd.DataFrame(left_out, columns=["id", "reason"]),
        scale=scale,
        neutral=reader.neutral,
        reason=_reason(len(read), left_out),
    )


def _check(pairs: pd.DataFrame, scale: float, limit: int) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise SettingsError(f"scale is {scale}; allowed: the SD of reward, a finite number above 0")
    if limit < 1:
        raise SettingsError(f"limit is {limit}; allowed: 1 pair or more")
    require_columns(pairs, COLUMNS, "pairs")
    missing = pairs[["id", "text_a", "text_b", "kind"]].isna()
    if missing.to_numpy().any():
        row, column = np.argwhere(missing.to_numpy())[0]
        raise RowError(f"pairs row {row + 1} has no {missing.columns[column]}")
    repeated = pairs["id"].duplicated()
    if repeated.any():
        raise RowError(f"pairs: id {pairs.loc[repeated, 'id'].iloc[0]!r} occurs more than once")


def draw_pairs(pairs: pd.DataFrame, limit: int, rng: np.random.Generator) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """At most ``limit`` pairs, and the others with the reason; the same pairs whatever the order of the rows."""
    pairs = pairs.sort_values("id", kind="stable", ignore_index=True)
    if len(pairs) <= limit:
        return pairs, []
    shuffled = pairs.iloc[rng.permutation(len(pairs))]
    turn = shuffled.groupby("kind", sort=False).cumcount().sort_values(kind="stable")
    taken = pairs.index.isin(turn.index[:limit])
    reason = f"not drawn: there are more than {limit} pairs"
    return pairs[taken], [(str(one), reason) for one in pairs.loc[~taken, "id"]]


def _reason(n_read: int, left_out: Sequence[tuple[str, str]]) -> str:
    if n_read:
        return ""
    reasons = ", ".join(dict.fromkeys(reason for _, reason in left_out))
    return f"no pair could be attributed: {reasons}" if reasons else "no pairs were given"


def _table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))
