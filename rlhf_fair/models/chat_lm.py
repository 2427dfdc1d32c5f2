"""A causal model that is asked as in a conversation: prompts go through its chat template, as a server sends them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_template import ChatTemplate
from rlhf_fair.models.requests import (
    Decoding,
    Generation,
    Likelihood,
    LogLikelihood,
    Progress,
    PseudoLogLikelihood,
)


class ChatLM:
    """A causal model whose answers are those to a user's message. Given text is scored as it stands."""

    def __init__(self, model: CausalLM, template: ChatTemplate) -> None:
        self.model = model
        self.template = template
        self._asked = copy.copy(model)
        self._asked.tokenizer = ChatTokenizer(model.tokenizer, end_tokens(model))

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        """As `CausalLM.answers`; an answer ends at any token by which the model ends its turn."""
        wrapped = [Generation(request.id, self.template.wrap(request.prompt)) for request in requests]
        return self._asked.answers(wrapped, decoding, progress=progress)

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """As `CausalLM.log_likelihoods`."""
        return self.model.log_likelihoods(requests, progress=progress)

    def pseudo_log_likelihoods(
        self, requests: Sequence[PseudoLogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """As `CausalLM.pseudo_log_likelihoods`."""
        return self.model.pseudo_log_likelihoods(requests, progress=progress)


class ChatTokenizer:
    """A tokenizer for texts that a template made: special tokens are in them, and a turn has several ways to end.

    ends: the tokens that do.
    """

    def __init__(self, tokenizer: Any, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self.ends = ends

    def __call__(self, texts: Any, **options: Any) -> Any:
        return self._tokenizer(texts, **(options | {"add_special_tokens": False}))

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        end = next((place for place, token in enumerate(ids) if token in self.ends), len(ids))
        return str(self._tokenizer.decode(ids[:end], **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def end_tokens(model: CausalLM) -> frozenset[int]:
    """The tokenizer's end of text and those of the model's own settings for generation, such as an end of turn."""
    named = getattr(model.model.generation_config, "eos_token_id", None)
    ends = [model.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return frozenset(int(token) for token in ends if token is not None)
