"""What a reply of a model server says: an answer, or the log probability of a given text.

A reply is checked before it is believed. The tokens of a scored text must spell that text, byte by byte, for a server
that leaves out or merges tokens would otherwise give a wrong sum without any sign of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from rlhf_fair.errors import EndpointError

LEADING_TOKENS = 2
"""At most so many tokens that a tokenizer puts before a text, such as <s>."""

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


class MalformedReplyError(Exception):
    """Not a reply of this kind at all: worth another attempt, for proxies and overload cause it."""


class UnansweredError(Exception):
    """The server was heard and this item has no answer; asking again would not help. The text is the reason."""


def read_answer(reply: object) -> str:
    """The words of the first choice of a chat or of a completion; an empty answer is an answer."""
    choice = _first_choice(reply)
    message = choice.get("message", choice)
    words = message.get("content", message.get("text")) if isinstance(message, dict) else None
    if choice.get("finish_reason") == "content_filter":
        raise UnansweredError("withheld by the server's content filter")
    if words is None and isinstance(message, dict):
        words = message.get("refusal")  # the model's own words, in a field of their own
        if words is None and ("content" in message or "text" in message):
            raise UnansweredError("the reply holds no text")
    if not isinstance(words, str):
        raise MalformedReplyError("no text where the answer should be")
    # half of a surrogate pair is no character and could not be written to any file
    return words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_log_likelihood(
    reply: object, before: str, continuation: str, *, begins_text: bool = False
) -> tuple[float, int]:
    """Sum of ln P of the tokens of ``continuation`` after ``before``, nats, and their number, from an echoed prompt.

    ``begins_text``: ``before`` is a token that begins a text, behind which some tokenizers put a space of their own.

    Every token that holds a part of the continuation counts, as a whole: one that begins with the last space of the
    context cannot be divided. The token generated after the prompt is left out.

    Raises
    ------
    EndpointError
        The server does not score given text.
    """
    tokens, values = _scored_tokens(_first_choice(reply))
    spelled = [_token_bytes(token) for token in tokens]
    try:
        start = _where(spelled, _bytes(before + continuation))
    except UnansweredError:
        if not (begins_text and before):
            raise
        continuation = " " + continuation
        start = _where(spelled, _bytes(before + continuation))
    first = start + len(_bytes(before))
    last = first + len(_bytes(continuation))
    ends = list(accumulate(map(len, spelled)))
    inside = [
        value
        for value, token, end in zip(values, spelled, ends, strict=True)
        if end > first and end - len(token) < last and token
    ]
    if inside and inside[0] is None and not before:
        raise UnansweredError("the server gives no probability to the first token of a text (set start)")
    if not all(_is_log_probability(value) for value in inside):
        raise UnansweredError("a log probability is missing, not finite or above 0")
    return math.fsum(inside), len(inside)


def _first_choice(reply: object) -> dict[str, Any]:
    match reply:
        case {"choices": [dict(choice), *_]}:
            return choice
    raise MalformedReplyError("no choices in the reply")


def _scored_tokens(choice: dict[str, Any]) -> tuple[list[str], list[Any]]:
    logprobs = choice.get("logprobs")
    found = logprobs if isinstance(logprobs, dict) else {}
    tokens, values = found.get("tokens"), found.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list):
        raise EndpointError("the server returns no token_logprobs: it cannot score given text (echo with logprobs)")
    if len(tokens) <= 1:  # only the one that was generated
        raise EndpointError("the server ignores echo: it cannot score given text, only what it generates itself")
    if len(tokens) != len(values) or not all(isinstance(token, str) for token in tokens):
        raise MalformedReplyError("tokens and token_logprobs do not match")
    return tokens, values


def _token_bytes(token: str) -> bytes:
    r"""Part of a character is written as ``bytes:\xe2\x80`` by some servers."""
    if token.startswith("bytes:\\x"):
        return _ESCAPED.sub(lambda code: bytes.fromhex(code[1].decode()), token.removeprefix("bytes:").encode())
    return _bytes(token)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _where(spelled: Sequence[bytes], text: bytes) -> int:
    """Byte at which ``text`` begins in the joined tokens; it must begin and end where tokens do."""
    joined = b"".join(spelled)
    ends = set(accumulate(map(len, spelled)))
    for begin in [0, *accumulate(map(len, spelled[:LEADING_TOKENS]))]:
        for shift in (0, 1):  # some tokenizers put a space before a text
            if shift and joined[begin : begin + 1] != b" ":
                continue
            if joined.startswith(text, begin + shift) and begin + shift + len(text) in ends:
                return begin + shift
    raise UnansweredError("the tokens in the reply do not spell the text that was sent")


def _is_log_probability(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e100 < value <= 1e-6  # rounding may lift ln 1 a little; NaN is in no range
