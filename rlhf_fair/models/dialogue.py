"""A prompt and its answer as one text, in the form of a model's chat template where it has one."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import TemplateError

from rlhf_fair.errors import ModelLoadError

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def messages(prompt: str, answer: str) -> list[dict[str, str]]:
    """The turns of a dialogue, the answer last.

    A prompt in Anthropic's transcript form (``\\n\\nHuman: …\\n\\nAssistant: …``) has several turns; any other is what
    one user said. A last turn of the assistant, with words or without, is the beginning of the answer, which goes on
    there letter by letter: whoever wants a blank between the two writes it.

    >>> [m["role"] for m in messages("\\n\\nHuman: Hi\\n\\nAssistant: Hello\\n\\nHuman: Why?", "Because.")]
    ['user', 'assistant', 'user', 'assistant']
    >>> [m["content"] for m in messages("\\n\\nHuman: Hi\\n\\nAssistant:", " Hello")]
    ['Hi', 'Hello']
    """
    opening, *parts = _TURN.split(prompt)
    turns = [(_ROLES[role], said) for role, said in zip(parts[::2], parts[1::2], strict=True)]
    if turns and turns[-1][0] == "assistant":
        answer = turns.pop()[1] + answer
    told = [{"role": role, "content": said.strip()} for role, said in [*turns, ("assistant", answer)]]
    if opening.strip() or not turns:
        told.insert(0, {"role": "user", "content": opening.strip() if parts else prompt})
    return told


def dialogue_text(tokenizer: Any, prompt: str, answer: str) -> str:
    """Prompt and answer in the tokenizer's chat template, as a reward model reads them.

    The beginning-of-text token is left out where the tokenizer puts it there itself.

    Raises
    ------
    ModelLoadError
        The tokenizer has no chat template, or it does not take this dialogue.
    """
    try:
        text = str(tokenizer.apply_chat_template(messages(prompt, answer), tokenize=False))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelLoadError(f"the chat template does not take a dialogue: {why}; allowed: chat = 'no'") from error
    opening = tokenizer.bos_token
    if opening and text.startswith(opening) and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return text.removeprefix(opening)
    return text
