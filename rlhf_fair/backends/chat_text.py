"""The text of an answer, whether it is a string or the messages of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.errors import RowError


def answer_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """A string as it stands; of messages what the assistant says, one after the other.

    >>> answer_text([{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}])
    'Yes.'
    """
    if isinstance(completion, str):
        return completion
    said = [message for message in completion if message.get("role", "assistant") == "assistant"]
    return "\n".join(_content(message.get("content")) for message in said)


def _content(content: Any) -> str:
    if content is None:  # a message that calls a tool
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RowError(f"a message's content is a {type(content).__name__}; allowed: text, or a list of parts")
    return "".join(str(part["text"]) for part in content if part.get("type") == "text")
