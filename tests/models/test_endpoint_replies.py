from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import EndpointError
from rlhf_fair.models.endpoint_replies import (
    MalformedReplyError,
    UnansweredError,
    read_answer,
    read_log_likelihood,
)

# A reply of vLLM to "The step of boiling water is: " with echo, logprobs and one new token, as published in
# ggml-org/llama.cpp pull request 15189; probabilities rounded here to four digits.
BOILING = {
    "choices": [
        {
            "index": 0,
            "text": "The step of boiling water is: 1",
            "logprobs": {
                "text_offset": [0, 3, 8, 11, 19, 25, 28, 29, 30],
                "token_logprobs": [
                    *(None, -8.8168, -1.6566, -13.9176, -2.0474),
                    *(-2.1830, -8.5515, -1.2780, -0.5365),
                ],
                "tokens": ["The", " step", " of", " boiling", " water", " is", ":", " ", "1"],
            },
        }
    ]
}


def echo(tokens: list[str], values: list[Any], text: str = "") -> dict[str, Any]:
    return {"choices": [{"text": text, "logprobs": {"tokens": tokens, "token_logprobs": values}}]}


@pytest.mark.parametrize(
    ("before", "continuation", "total", "n_tokens"),
    [
        # -2.0474 - 2.1830 - 8.5515 - 1.2780
        ("The step of boiling", " water is: ", -14.0599, 4),
        # the space belongs to the token " water", which cannot be divided
        ("The step of boiling ", "water is: ", -14.0599, 4),
        ("The step of boiling water is:", " ", -1.2780, 1),
        # all but the first token: -8.8168 - 1.6566 - 13.9176 - 14.0599
        ("The", " step of boiling water is: ", -38.4509, 7),
    ],
)
def test_a_published_reply_summed_by_hand(before: str, continuation: str, total: float, n_tokens: int) -> None:
    assert read_log_likelihood(BOILING, before, continuation) == (pytest.approx(total), n_tokens)


# FastChat 0.2.36 on "<eos>I like her.", from a tokenizer that puts a space before every text and one behind a token
# that begins one; probabilities rounded here to four digits.
BEGUN = {
    "choices": [
        {
            "index": 0,
            "text": " I like her. Thank",
            "logprobs": {
                "text_offset": [0, 5, 7, 12, 16, 17],
                "token_logprobs": [None, -8.0799, -4.1725, -14.7289, -10.5438, -2.8615],
                "tokens": ["<eos>", " I", " like", " her", ".", " Thank"],
            },
        }
    ]
}


def test_a_space_behind_the_token_that_begins_a_text_belongs_to_the_text() -> None:
    # -8.0799 - 4.1725 - 14.7289 - 10.5438
    found = read_log_likelihood(BEGUN, "<eos>", "I like her.", begins_text=True)
    assert found == (pytest.approx(-37.5251), 4)
    for continuation, begins_text in (("I like her.", False), ("I likeher.", True)):  # no other blank is made up
        with pytest.raises(UnansweredError, match="do not spell"):
            read_log_likelihood(BEGUN, "<eos>", continuation, begins_text=begins_text)


def test_the_first_token_has_no_probability() -> None:
    with pytest.raises(UnansweredError, match="first token"):
        read_log_likelihood(BOILING, "", "The step of boiling water is: ")


@pytest.mark.parametrize("special", [["<s>"], ["<|begin_of_text|>"], ["[gMASK]", "<sop>"]])
def test_a_token_before_the_text_shifts_nothing(special: list[str]) -> None:
    """With a start token even the first word has a probability; "s" occurs in "<s>" and must not be found there."""
    reply = echo([*special, "s", " t", " u", "!"], [*([None] * len(special)), -1.0, -2.0, -4.0, -8.0])
    assert read_log_likelihood(reply, "", "s t u") == (-7.0, 3)
    assert read_log_likelihood(reply, "s", " t u") == (-6.0, 2)


def test_a_space_that_the_tokenizer_put_before_the_text() -> None:
    reply = echo([" The", " cat", " sat", "."], [None, -1.0, -2.0, -4.0])
    assert read_log_likelihood(reply, "The cat", " sat") == (-2.0, 1)


def test_characters_in_several_tokens_are_joined_byte_by_byte() -> None:
    # U+2019 is e2 80 99 in UTF-8
    reply = echo(["It", "bytes:\\xe2\\x80", "bytes:\\x99", "s", " on", "!"], [None, -1.0, -2.0, -3.0, -4.0, -5.0])
    assert read_log_likelihood(reply, "It", "\u2019s on") == (-10.0, 4)
    assert read_log_likelihood(reply, "It\u2019s", " on") == (-4.0, 1)


@pytest.mark.parametrize(
    "tokens",
    [
        ["The", " dog", " sat", "."],
        ["The", "cat", "sat", "."],
        ["The", " cat", " sat."],  # the new token merged with the text
        ["The", " \ufffd", "\ufffd sat", "."],
        ["x", "y", "z", "The", " cat", " sat", "."],
    ],
)
def test_tokens_that_do_not_spell_the_text_are_no_answer(tokens: list[str]) -> None:
    with pytest.raises(UnansweredError, match="do not spell"):
        read_log_likelihood(echo(tokens, [None] + [-1.0] * (len(tokens) - 1)), "The cat", " sat")


@pytest.mark.parametrize(
    "value", [None, math.nan, -math.inf, math.inf, 0.5, "-1", True, [], -(10**400)], ids=lambda value: str(value)[:5]
)
def test_a_value_that_is_no_log_probability_is_no_answer(value: Any) -> None:
    with pytest.raises(UnansweredError, match="log probability"):
        read_log_likelihood(echo(["The", " cat", " sat", "."], [None, -1.0, value, -1.0]), "The cat", " sat")


@pytest.mark.parametrize("logprobs", [None, {}, [], 3, {"tokens": None, "token_logprobs": None}, {"content": [{}]}])
def test_a_server_without_log_probabilities_cannot_score(logprobs: Any) -> None:
    with pytest.raises(EndpointError, match="cannot score given text"):
        read_log_likelihood({"choices": [{"text": "x", "logprobs": logprobs}]}, "The cat", " sat")


def test_columns_of_different_length_are_malformed() -> None:
    with pytest.raises(MalformedReplyError, match="do not match"):
        read_log_likelihood(echo(["The", " cat", " sat"], [-1.0, -1.0]), "The cat", " sat")
    with pytest.raises(MalformedReplyError, match="do not match"):
        read_log_likelihood(echo(["The", 3, " sat"], [-1.0] * 3), "The cat", " sat")  # type: ignore[list-item]


WORDS = st.text(min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=2, max_size=8), st.data())
def test_parts_of_a_text_add_up_to_the_whole(words: list[str], data: st.DataObject) -> None:
    """Cut where tokens end, ln P(b c | a) = ln P(b | a) + ln P(c | a b)."""
    values = data.draw(st.lists(st.floats(-50, 0), min_size=len(words), max_size=len(words)))
    first = data.draw(st.integers(0, len(words)))
    second = data.draw(st.integers(first, len(words)))
    reply = echo([*words, "new"], [*values, -3.0])
    a, b, c = "".join(words[:first]), "".join(words[first:second]), "".join(words[second:])
    whole = read_log_likelihood(reply, a, b + c)
    # the shorter text is not the whole of what was sent, so the reply to it ends there
    head = read_log_likelihood(echo([*words[:second], "new", "!"], [*values[:second], -3.0, -3.0]), a, b)
    tail = read_log_likelihood(reply, a + b, c)
    assert whole[0] == pytest.approx(head[0] + tail[0])
    assert whole[1] == head[1] + tail[1] == len(words) - first


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "text", "refusal", "finish_reason", "logprobs", "tokens"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_comes_back_is_words_or_one_of_the_named_faults(reply: Any) -> None:
    for wrapped in (reply, {"choices": [reply]}):
        with suppress(MalformedReplyError, UnansweredError):
            assert isinstance(read_answer(wrapped), str)
        with suppress(MalformedReplyError, UnansweredError, EndpointError):
            total, n_tokens = read_log_likelihood(wrapped, "a", "b")
            assert total <= 0
            assert n_tokens >= 0


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"message": {"content": "yes"}}, "yes"),
        ({"message": {"content": ""}}, ""),
        ({"message": {"content": "cut", "reasoning_content": "hm"}, "finish_reason": "length"}, "cut"),
        ({"message": {"content": None, "refusal": "I cannot help."}}, "I cannot help."),
        ({"text": " yes"}, " yes"),
        ({"text": "\ud83d\ude42"}, "\U0001f642"),
        ({"text": "\ud83d"}, "\ufffd"),
    ],
)
def test_the_words_of_a_reply(choice: dict[str, Any], words: str) -> None:
    assert read_answer({"choices": [choice, {"text": "another"}]}) == words
