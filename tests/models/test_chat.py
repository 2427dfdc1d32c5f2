"""A chat model in process is asked as transformers itself would ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import byte_pair_tokenizer, tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_lm import ChatLM
from rlhf_fair.models.chat_template import ChatTemplate
from rlhf_fair.models.requests import Decoding, Generation, LogLikelihood, PseudoLogLikelihood

TEMPLATE = (
    "[BOS]{% for m in messages %}hello you . {{ m['content'] | trim }}{% endfor %}"
    "{% if add_generation_prompt %} i think the{% endif %}"
)
PROMPTS = ["what do you think about the kind man", "we love the old dog", "hi", "you hate the cat , not the story"]
GREEDY = Decoding(max_new_tokens=10, temperature=0.0)


def chatting(tokenizer: Any, template: str = TEMPLATE) -> Any:
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("opens_texts", [False, True])
def test_answers_equal_those_of_transformers_own_template_and_generate(opens_texts: bool) -> None:
    """With ``opens_texts`` the tokenizer puts [BOS] before any text, and the template's own must not come on top."""
    tokenizer = chatting(byte_pair_tokenizer(opens_texts=opens_texts))
    model = tiny_language_model(tokenizer, initializer_range=0.3, max_position_embeddings=256).eval()
    asked = ChatLM(CausalLM(model, tokenizer), ChatTemplate(tokenizer))
    requests = [Generation(prompt, prompt) for prompt in PROMPTS]
    expected = []
    for prompt in PROMPTS:
        encoded = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            written = model.generate(**encoded, max_new_tokens=10, do_sample=False)
        expected.append(tokenizer.decode(written[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))
    assert asked.answers(requests, GREEDY) == expected
    assert CausalLM(model, tokenizer).answers(requests, GREEDY) != expected


def test_an_answer_ends_where_the_model_ends_its_turn() -> None:
    """A token that the settings for generation name ends the answer, though the tokenizer names another one."""
    tokenizer = chatting(tiny_tokenizer())
    model = tiny_language_model(tokenizer, initializer_range=0.3).eval()
    requests = [Generation(prompt, prompt) for prompt in PROMPTS]
    asked = ChatLM(CausalLM(model, tokenizer), ChatTemplate(tokenizer))
    whole = [answer or "" for answer in asked.answers(requests, GREEDY)]
    end = whole[0].split()[2]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)]
    ended = ChatLM(CausalLM(model, tokenizer), ChatTemplate(tokenizer)).answers(requests, GREEDY)
    for answer, before in zip(ended, whole, strict=True):
        words = before.split()
        assert (answer or "").split() == (words[: words.index(end)] if end in words else words)
    assert ended != whole


def test_given_text_is_scored_as_it_stands() -> None:
    tokenizer = chatting(tiny_tokenizer())
    plain = CausalLM(tiny_language_model(tokenizer, initializer_range=0.3), tokenizer)
    asked = ChatLM(plain, ChatTemplate(tokenizer))
    requests = [LogLikelihood("a", "i like the", " good dog")]
    assert asked.log_likelihoods(requests) == plain.log_likelihoods(requests)
    texts = [PseudoLogLikelihood("a", "i like the dog")]
    assert asked.pseudo_log_likelihoods(texts) == plain.pseudo_log_likelihoods(texts)


def test_a_prompt_in_the_templates_form_is_not_wrapped_twice() -> None:
    template = ChatTemplate(chatting(tiny_tokenizer()))
    wrapped = template.wrap("we love the dog")
    assert wrapped == "[BOS]hello you . we love the dog i think the"
    assert template.wrap(wrapped) == wrapped
    assert template.wrap("i think the") != "i think the"  # it ends so, but does not begin so
    invites = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}\nAnswer:{% endif %}"
    assert ChatTemplate(chatting(tiny_tokenizer(), invites)).wrap("Who?\nAnswer:") == "Who?\nAnswer:"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ raise_exception('a system message must come first') }}", "takes no single message: a system message must"),
        ("{{ messages[1]['content'] }}", "takes no single message"),
        ("hello you", "leaves out the message"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(template: str, why: str) -> None:
    with pytest.raises(ModelLoadError, match=f"model m: its chat template {why}") as caught:
        ChatTemplate(chatting(tiny_tokenizer(), template), "m")
    assert "\n" not in str(caught.value)


def test_auto_finds_a_template_yes_needs_one_and_no_leaves_it(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "without")
    chatting(tiny_tokenizer()).save_pretrained(tmp_path / "with")
    for name in ("with", "without"):
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    assert ChatTemplate.find(tmp_path / "with", "auto") is not None
    assert ChatTemplate.find(tmp_path / "with", "no") is None
    assert ChatTemplate.find(tmp_path / "without", "auto") is None
    with pytest.raises(SettingsError, match="has no chat template; allowed: --chat auto or no"):
        ChatTemplate.find(tmp_path / "without", "yes")
