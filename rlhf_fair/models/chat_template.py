"""The form in which a chat model was trained to be asked: its own template around the message of a user.

A server wraps a prompt in the template before the model sees it. Asked without, an instruction-tuned model goes on
writing the prompt, which is another behaviour than the one its users meet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.loading import load_tokenizer

Chat = Literal["auto", "yes", "no"]
"""Whether a prompt goes through the model's chat template; "auto": where the model has one."""

_PROBE = "What is 7 and 5?"


class ChatTemplate:
    """What a tokenizer puts around the message of a user, up to where the answer begins."""

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._before, found, self._behind = self._wrapped(_PROBE).partition(_PROBE)
        if not found:
            raise ModelLoadError(f"model {name}: its chat template leaves out the message; allowed: --chat no")

    @classmethod
    def find(cls, source: str | Path, chat: Chat) -> ChatTemplate | None:
        """The model's template, or None where it has none or is to be asked without."""
        if chat == "no":
            return None
        tokenizer = load_tokenizer(source)
        if tokenizer.chat_template:
            return cls(tokenizer, str(source))
        if chat == "yes":
            raise SettingsError(f"model {source} has no chat template; allowed: --chat auto or no")
        return None

    def wrap(self, prompt: str) -> str:
        """``prompt`` as the message of a user; as it stands where it is written in the template's form already.

        That form is recognised by its end, which invites the answer. Wrapped twice, it would be invited twice.
        """
        invitation = self._behind.strip()
        if invitation and prompt.rstrip().endswith(invitation) and prompt.startswith(self._before):
            return prompt
        return self._wrapped(prompt)

    def _wrapped(self, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelLoadError(
                f"model {self.name}: its chat template takes no single message: {why}; allowed: --chat no"
            ) from error
