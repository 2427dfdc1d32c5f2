"""Word attributions as plain data for a results file: tables cut to what is read, and example texts if asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from rlhf_fair.probes.word_attribution import WordAttributions
from rlhf_fair.probes.word_attribution_pairs import DIFFERENCE

MOST_WORDS = 30
"""Rows of the table of words that are kept for each kind and method."""


def as_record(found: WordAttributions, *, most_words: int = MOST_WORDS, examples: int = 0) -> dict[str, Any]:
    """What ``audit["word_attributions"]`` of a results file holds; NaN becomes None.

    examples: so many pairs with the largest gaps, and as many typical ones, with their texts. Texts may offend and may
        be confidential, so none is in unless asked for.
    """
    words = found.words.groupby(["kind", "method"], sort=False).head(most_words)
    reasons = found.left_out["reason"].value_counts()
    agreement = found.occlusion_agreement
    record = {
        "reason": found.reason,
        "scale": found.scale,
        "neutral": found.neutral,
        "n_pairs": len(found.pairs),
        "left_out": [{"reason": str(reason), "n": int(n)} for reason, n in reasons.items()],
        "parts": found.parts.to_dict("records"),
        "words": words.to_dict("records"),
        "n_words": len(found.words),
        "completeness": asdict(found.completeness),
        "agreement": {name: getattr(agreement, name).model_dump() for name in ("texts", "gaps", "words")},
        "examples": [example_record(found, *chosen) for chosen in chosen_examples(found.pairs, examples)],
    }
    plain: dict[str, Any] = _plain(record)
    return plain


def chosen_examples(pairs: pd.DataFrame, k: int) -> Iterator[tuple[Any, str]]:
    """(id, why): the ``k`` pairs with the largest gaps of either sign, then ``k`` near their kind's median."""
    far = pairs["gap"].abs().sort_values(ascending=False, kind="stable").index
    off = (pairs["gap"] - pairs.groupby("kind")["gap"].transform("median")).abs()
    extreme = list(far[:k])
    near = off.sort_values(kind="stable").index.difference(extreme, sort=False)
    turn = pairs.loc[near].groupby("kind", sort=False).cumcount().sort_values(kind="stable")
    typical = list(turn.index[:k])
    for why, rows in (("among the largest gaps", extreme), ("a typical gap", typical)):
        yield from ((pairs.loc[row, "id"], why) for row in rows)


def example_record(found: WordAttributions, one: Any, why: str) -> dict[str, Any]:
    """A pair's texts with the contribution of each word in its place.

    What a shared word contributes stands in a alone, so that the marks of both texts add up to the parts of the gap
    that lie in words.
    """
    pair = found.pairs[found.pairs["id"] == one].iloc[0]
    rows = found.contributions[(found.contributions["id"] == one) & (found.contributions["method"] == DIFFERENCE)]
    in_a, in_b = rows[rows["start"] >= 0], rows[rows["side"] == "b"]
    return {
        "id": str(one),
        "kind": str(pair["kind"]),
        "why": why,
        "gap": float(pair["gap"]),
        "n_tokens": float(pair["n_tokens"]),
        "texts": [
            {"side": "a", "text": pair["text_a"], "words": _places(in_a, "start", "end")},
            {"side": "b", "text": pair["text_b"], "words": _places(in_b, "start_b", "end_b")},
        ],
    }


def _places(rows: pd.DataFrame, start: str, end: str) -> list[dict[str, Any]]:
    ordered = rows.sort_values(start)
    columns = (ordered[start].tolist(), ordered[end].tolist(), ordered["contribution"].tolist())
    return [{"start": at, "end": to, "contribution": value} for at, to, value in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, int | str) or value is None else value.item()
