from __future__ import annotations

from typing import Any

import pytest
from tiny import byte_pair_tokenizer

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.dialogue import dialogue_text, messages

TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def chatty(*, opens_texts: bool = False) -> Any:
    tokenizer = byte_pair_tokenizer(opens_texts=opens_texts)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_a_plain_prompt_is_one_turn() -> None:
    assert messages("Why is it blue?", " It scatters.") == [
        {"role": "user", "content": "Why is it blue?"},
        {"role": "assistant", "content": "It scatters."},
    ]


def test_a_transcript_keeps_every_turn_and_what_stands_before_it() -> None:
    found = messages("Be brief.\n\nHuman: Hi\nthere\n\nAssistant: Hello\n\nHuman: Why?", "So.")
    assert [(m["role"], m["content"]) for m in found] == [
        ("user", "Be brief."),
        ("user", "Hi\nthere"),
        ("assistant", "Hello"),
        ("user", "Why?"),
        ("assistant", "So."),
    ]


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", "Hello", ["Hi", "Hello"]),
        ("\n\nHuman: Hi\n\nAssistant: ", " Hello", ["Hi", "Hello"]),
        ("Hi\n\nAssistant:", "Hello", ["Hi", "Hello"]),
        ("\n\nAssistant:", "Hello", ["", "Hello"]),
        ("\n\nHuman: Hi\n\nAssistant: Well,", " hello", ["Hi", "Well, hello"]),
        ("\n\nHuman: Hi\n\nAssistant: Hel", "lo", ["Hi", "Hello"]),
        ("\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant:", "So.", ["Hi", "Yes?", "Why?", "So."]),
    ],
)
def test_a_last_turn_of_the_assistant_is_where_the_answer_goes_on(prompt: str, answer: str, said: list[str]) -> None:
    found = messages(prompt, answer)
    assert [m["content"] for m in found] == said
    assert [m["role"] for m in found] == ["user", "assistant"] * (len(said) // 2)


def test_an_opened_answer_suits_a_template_whose_roles_take_turns() -> None:
    tokenizer = chatty()
    alternate = "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no turn') }}{% endif %}"
    tokenizer.chat_template = TEMPLATE.replace("<{{", alternate + "<{{", 1)
    found = dialogue_text(tokenizer, "\n\nHuman: Hi\n\nAssistant:", "Hello")
    assert found == dialogue_text(tokenizer, "Hi", "Hello") == "[BOS]<user>Hi<assistant>Hello"


@pytest.mark.parametrize(("opens", "text"), [(False, "[BOS]<user>a<assistant>b"), (True, "<user>a<assistant>b")])
def test_the_first_token_stands_there_once(opens: bool, text: str) -> None:
    tokenizer = chatty(opens_texts=opens)
    assert dialogue_text(tokenizer, "a", "b") == text
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


def test_a_template_that_refuses_is_one_clear_error() -> None:
    tokenizer = chatty()
    tokenizer.chat_template = "{{ raise_exception('two users in a row') }}"
    with pytest.raises(ModelLoadError, match="two users in a row; allowed: chat = 'no'"):
        dialogue_text(tokenizer, "a", "b")
