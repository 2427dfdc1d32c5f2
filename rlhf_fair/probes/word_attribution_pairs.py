"""The gap of each single pair of texts, attributed to words; see `rlhf_fair.probes.word_attribution`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.models.attribution import (
    PathAttribution,
    ReadText,
    Steps,
    integrated_gradients,
    neutral_ids,
    neutral_token,
    read_texts,
)
from rlhf_fair.models.occlusion import leave_one_word_out
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.word_spans import Word, token_shares, words_of
from rlhf_fair.probes.word_alignment import Alignment, Exchange, align

Floats = NDArray[np.float64]

BETWEEN, DIFFERENCE = "between the texts", "difference of attributions"
"""Methods: the path from one text to the other, and two paths from neutral tokens."""
EXCHANGED, SHARED = "exchanged", "shared"
PAIRS_AT_ONCE = 64
NO_WORD = "–"
"""Stands in an exchange for the side that has no word there."""


@dataclass(frozen=True)
class TextAttribution:
    """One text against neutral tokens. ``by_word``, ``occlusion``: (n_words,), unit of the reward."""

    words: list[Word]
    read: ReadText
    path: PathAttribution
    by_word: Floats
    occlusion: Floats
    shares: Floats


@dataclass(frozen=True)
class Pair:
    """A row of the table of pairs, both texts, how they line up, and the path between them where there is one.

    ``places``: the number of the exchange that each token position belongs to, -1 for the others; None: no path.
    """

    record: Mapping[str, Any]
    a: TextAttribution
    b: TextAttribution
    alignment: Alignment
    places: NDArray[np.intp] | None
    between: PathAttribution | None = None

    @property
    def gap(self) -> float:
        """r(a) - r(b)."""
        return self.a.path.end_reward - self.b.path.end_reward


@dataclass
class PairReader:
    """Attributes pairs; a text that stands in many pairs is read once.

    ``between``: whether paths between the texts are walked too.
    """

    reward_model: RewardModel
    steps: Steps
    between: bool = True
    _known: dict[str, TextAttribution | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.neutral = neutral_token(self.reward_model)
        self._neutral_id = int(self.reward_model.tokenizer.convert_tokens_to_ids(self.neutral))

    def read(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[Pair], list[tuple[str, str]]]:
        """The pairs' attributions, and (id, reason) of those that have none."""
        self._read([str(record[side]) for record in records for side in ("text_a", "text_b")])
        pairs, left_out = [], []
        for record in records:
            a, b = self._known[str(record["text_a"])], self._known[str(record["text_b"])]
            if isinstance(a, str) or isinstance(b, str):
                left_out.append((str(record["id"]), a if isinstance(a, str) else str(b)))
                continue
            alignment = align(a.words, b.words)
            pairs.append(Pair(record, a, b, alignment, exchange_places(a, b, alignment) if self.between else None))
        return list(self._with_paths(pairs)), left_out

    def _with_paths(self, pairs: Sequence[Pair]) -> Iterator[Pair]:
        walked = [pair for pair in pairs if pair.places is not None]
        starts, ends = [pair.b.read.ids for pair in walked], [pair.a.read.ids for pair in walked]
        paths = iter(integrated_gradients(self.reward_model, starts, ends, self.steps))
        for pair in pairs:
            between = next(paths) if pair.places is not None else None
            yield Pair(pair.record, pair.a, pair.b, pair.alignment, pair.places, between)

    def _read(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        read = dict(zip(new, read_texts(self.reward_model, new), strict=True))
        for text in new:
            if read[text].cut:
                self._known[text] = "a text is longer than the model reads"
            elif not words_of(text) or all(read[text].frame):
                self._known[text] = "a text has no words"
        usable = [text for text in new if text not in self._known]
        starts = [neutral_ids(read[text], self._neutral_id) for text in usable]
        ends = [read[text].ids for text in usable]
        paths = integrated_gradients(self.reward_model, starts, ends, self.steps)
        occlusions = leave_one_word_out(self.reward_model, usable)
        for text, path, occlusion in zip(usable, paths, occlusions, strict=True):
            if not (np.isfinite(path.values).all() and np.isfinite(occlusion).all() and np.isfinite(path.residue)):
                self._known[text] = "the model gives no finite reward"
                continue
            words = words_of(text)
            shares = token_shares(words, read[text].offsets)
            by_word = path.values @ shares
            self._known[text] = TextAttribution(words, read[text], path, by_word, occlusion, shares)


def exchange_places(a: TextAttribution, b: TextAttribution, alignment: Alignment) -> NDArray[np.intp] | None:
    """(n_tokens,) the exchange that each token position belongs to, -1 where both texts have the same token.

    None where the path between the texts would not speak of exchanges: they have different numbers of tokens, or tokens
    that differ in places that do not belong to the same exchange in both.
    """
    if len(a.read.ids) != len(b.read.ids):
        return None
    differ = np.array(a.read.ids) != np.array(b.read.ids)
    in_a = _exchange_of_tokens(a, [exchange.a for exchange in alignment.exchanges])
    in_b = _exchange_of_tokens(b, [exchange.b for exchange in alignment.exchanges])
    if ((in_a != in_b) | (in_a < 0))[differ].any():
        return None
    return np.where(differ, in_a, -1)


def contribution_rows(pair: Pair, scale: float) -> Iterator[dict[str, Any]]:
    """One row for each word in its place, by both methods, in units of ``scale``."""
    a, b = pair.a, pair.b
    for side, sign, text in (("a", 1.0, a), ("b", -1.0, b)):
        for exchange in pair.alignment.exchanges:
            for at in exchange.a if side == "a" else exchange.b:
                values = sign * text.by_word[at], sign * text.occlusion[at]
                span = _span(text.words[at], "") if side == "a" else _span(text.words[at], "_b")
                yield _row(pair, (DIFFERENCE, EXCHANGED, side, text.words[at].text), span, values, scale)
    for at, at_b in pair.alignment.shared:
        values = a.by_word[at] - b.by_word[at_b], a.occlusion[at] - b.occlusion[at_b]
        span = _span(a.words[at], "") | _span(b.words[at_b], "_b")
        yield _row(pair, (DIFFERENCE, SHARED, "both", a.words[at].text), span, values, scale)
    if pair.between is not None and pair.places is not None:
        for number, exchange in enumerate(pair.alignment.exchanges):
            values = float(pair.between.values[pair.places == number].sum()), float("nan")
            span = _run(a.words, exchange.a, "") | _run(b.words, exchange.b, "_b")
            yield _row(pair, (BETWEEN, EXCHANGED, "both", exchange_name(pair, exchange)), span, values, scale)


def exchange_name(pair: Pair, exchange: Exchange) -> str:
    """The words of b and those of a that stand in their place: "man → woman"."""
    sides = ((pair.b.words, exchange.b), (pair.a.words, exchange.a))
    names = [" ".join(words[at].text for at in places) or NO_WORD for words, places in sides]
    return " → ".join(names)


def token_rows(pair: Pair, tokenizer: Any, scale: float) -> Iterator[dict[str, Any]]:
    """One row for each token of both texts, against neutral tokens."""
    for side, text in (("a", pair.a), ("b", pair.b)):
        tokens = tokenizer.convert_ids_to_tokens(list(text.read.ids))
        for position, (token, frame, (start, end)) in enumerate(
            zip(tokens, text.read.frame, text.read.offsets, strict=True)
        ):
            place = {"id": pair.record["id"], "side": side, "position": position, "token": token}
            value = text.path.values[position] / scale
            yield place | {"start": start, "end": end, "frame": frame, "attribution": value}


def summary_row(pair: Pair, scale: float) -> dict[str, Any]:
    """The gap and its parts: exchanged + shared + n_tokens + residue = gap.

    ``n_tokens``: what the neutral tokens of a are paid beyond those of b, 0 where both have equally many. ``residue``:
    what the sums over steps lack, and tokens that belong to no word.
    """
    a, b = pair.a, pair.b
    only_a = [at for exchange in pair.alignment.exchanges for at in exchange.a]
    only_b = [at for exchange in pair.alignment.exchanges for at in exchange.b]
    shared_a, shared_b = [at for at, _ in pair.alignment.shared], [at for _, at in pair.alignment.shared]
    exchanged = a.by_word[only_a].sum() - b.by_word[only_b].sum()
    shared = a.by_word[shared_a].sum() - b.by_word[shared_b].sum()
    # Texts of one length start from the same tokens: what their rewards differ by is rounding.
    n_tokens = 0.0 if a.read.frame == b.read.frame else a.path.start_reward - b.path.start_reward
    parts = {"gap": pair.gap, "exchanged": exchanged, "shared": shared, "n_tokens": n_tokens}
    parts["residue"] = pair.gap - exchanged - shared - n_tokens
    parts["between"] = float("nan") if pair.between is None else pair.between.values.sum()
    columns = {name: pair.record[name] for name in ("id", "text_a", "text_b", "cluster", "kind")}
    return columns | {name: float(value) / scale for name, value in parts.items()}


def _exchange_of_tokens(text: TextAttribution, exchanges: Sequence[Sequence[int]]) -> NDArray[np.intp]:
    """(n_tokens,) the exchange whose words have most of the token; -1 where none has any."""
    found = np.full(len(text.read.ids), -1, dtype=np.intp)
    if exchanges:
        covered = np.stack([text.shares[:, list(places)].sum(axis=1) for places in exchanges], axis=1)
        found = np.where(covered.max(axis=1) > 0, covered.argmax(axis=1), -1)
    return found


def _row(
    pair: Pair, key: tuple[str, str, str, str], span: dict[str, int], values: tuple[float, float], scale: float
) -> dict[str, Any]:
    columns = {name: pair.record[name] for name in ("id", "kind", "cluster")}
    nowhere = {"start": -1, "end": -1, "start_b": -1, "end_b": -1}
    named = dict(zip(("method", "role", "side", "word"), key, strict=True)) | {"word": key[3].lower()}
    return columns | named | nowhere | span | {"contribution": values[0] / scale, "occlusion": values[1] / scale}


def _span(word: Word, suffix: str) -> dict[str, int]:
    return {f"start{suffix}": word.start, f"end{suffix}": word.end}


def _run(words: Sequence[Word], places: Sequence[int], suffix: str) -> dict[str, int]:
    """From the first to the last of neighbouring words; nothing for none."""
    if not places:
        return {}
    return {f"start{suffix}": words[places[0]].start, f"end{suffix}": words[places[-1]].end}
