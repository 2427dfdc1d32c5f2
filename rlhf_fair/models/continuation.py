"""Where the context ends and the continuation begins, in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.requests import LogLikelihood


@dataclass(frozen=True)
class BorderedTokens:
    """tokens: ids of context and continuation together. start: index (>= 1) of the continuation's first token."""

    tokens: tuple[int, ...]
    start: int


def opening_tokens(tokenizer: Any) -> list[int]:
    """The special tokens that this tokenizer puts in front of a text; often none, or one that begins the text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed: list[int] = tokenizer("a", add_special_tokens=True)["input_ids"]
    places = range(len(dressed) - len(bare) + 1)
    return dressed[: next((start for start in places if dressed[start : start + len(bare)] == bare), 0)]


def text_start(tokenizer: Any) -> list[int]:
    """What stands before the first token of a text, so that this token has a probability too.

    The tokenizer's opening tokens; else its begin-of-text token; else the token that ends texts, which is what
    GPT-2 and its kin saw between two documents.
    """
    opening = opening_tokens(tokenizer)
    if opening:
        return opening
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return [int(token)]
    raise ModelLoadError("its tokenizer has no token that begins or ends a text, so a first word has no probability")


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text without special tokens."""
    if not texts:
        return []  # tokenizers fail on an empty batch
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return rows


def bordered(tokenizer: Any, requests: Sequence[LogLikelihood]) -> list[BorderedTokens]:
    """Context and continuation of each request, tokenised together and cut at the border.

    Both are tokenised as the one text they are, since tokens may span the border: " yes" is one token, and so may be
    "un" + "able". The continuation begins behind the longest common prefix of the tokens of the context alone and those
    of the whole. Counting the context's tokens instead cuts at the wrong place wherever its end is tokenised
    differently once the continuation follows; a blank at the end of the context is the usual case.
    """
    contexts = list(dict.fromkeys(request.context for request in requests))
    alone = dict(zip(contexts, tokens_of(tokenizer, contexts), strict=True))
    wholes = tokens_of(tokenizer, [request.context + request.continuation for request in requests])
    opening = opening_tokens(tokenizer)
    rows = []
    for request, whole in zip(requests, wholes, strict=True):
        border = common_prefix_length(alone[request.context], whole)
        before = opening if opening or border else text_start(tokenizer)
        rows.append(BorderedTokens((*before, *whole), len(before) + border))
    return rows


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of leading tokens that are equal.

    >>> common_prefix_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    length = min(len(one), len(other))
    return next((index for index in range(length) if one[index] != other[index]), length)
