"""Score texts with a reward model: any Hugging Face sequence classifier with one output, or with declared heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.artifacts import make_folder
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.loading import load_reward_model, position_limit, quiet_transformers
from rlhf_fair.models.reward_heads import declare_heads, declared_heads

LONGEST = 1024
"""Most tokens per text where neither model nor tokenizer states a limit."""
NO_LIMIT = 10**20
"""A tokenizer that states no limit has 1e30 in transformers, and fewer than this where it states one."""


class RewardModel:
    """A scalar head, or several, on an encoder or decoder; higher means better.

    ``max_length`` is in tokens; longer texts are cut there, as the tokenizer's truncation side says. ``heads`` say what
    the outputs mean and how they make one reward.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.max_length = max_length or token_limit(model, tokenizer)
        self.heads = declared_heads(model.config, model.config.name_or_path or type(model).__name__)

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto") -> RewardModel:
        """Open a directory or hub id; raises `ModelLoadError` if it is not a trained scalar reward model."""
        loaded = load_reward_model(source)
        return cls(loaded.model, loaded.tokenizer, device=device)

    def save(self, folder: Path) -> None:
        """Write weights, config and tokenizer so that plain transformers gives equal outputs with truncation on."""
        make_folder(folder)
        if self.heads.kind != "one":
            declare_heads(self.model.config, self.heads)
        self.tokenizer.model_max_length = self.max_length
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def score(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Rewards, shape (n,), in the order of ``texts``; see `outputs`."""
        return self.heads.reward(self.outputs(texts, batch_size=batch_size, on_batch=on_batch))

    def outputs(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """What each head says of each text, shape (n, heads), in the order of ``texts``.

        Equal texts are scored once, and batches are formed by length and then by tokens, so the scores do not depend
        on the order of ``texts``. Long texts are fewer to a batch, see `batches`. ``on_batch`` hears how many distinct
        texts were scored so far.
        """
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        tokens = encode(self.tokenizer, list(distinct), self.max_length)
        done = 0
        found = np.full((len(tokens), len(self.heads.names)), np.nan)
        with torch.inference_mode():
            for rows in batches(tokens, range(len(tokens)), batch_size):
                batch = pad([tokens[row] for row in rows], self.tokenizer.pad_token_id, self.device)
                found[rows] = self.model(**batch).logits.double().cpu().numpy()
                done += len(rows)
                if on_batch is not None:
                    on_batch(done)
        return found[where]


def pick_device(name: str) -> str:
    """``auto`` is the GPU if there is one, else the CPU.

    Raises
    ------
    SettingsError
        Another name is no device of this machine.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        raise SettingsError(f"device {name!r} is not on this machine; allowed: auto, cpu, cuda, cuda:N") from error
    return name


def token_limit(model: Any, tokenizer: Any) -> int:
    """Most tokens per text: the smaller of what the tokenizer and the positions state; `LONGEST` if neither does."""
    stated = (tokenizer.model_max_length, position_limit(model))
    numbers = (limit for limit in stated if isinstance(limit, int | float))
    return min((int(limit) for limit in numbers if 1 <= limit < NO_LIMIT), default=LONGEST)


def encode(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text with special tokens, cut at ``max_length``; never empty, so that pooling has a token."""
    if not len(texts):
        return []
    rows: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length, padding=False)["input_ids"]
    specials = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    stand_in = next(token for token in specials if token is not None)
    return [row or [stand_in] for row in rows]


def batches(tokens: Sequence[list[int]], rows: Iterable[int], batch_size: int) -> Iterator[list[int]]:
    """``rows`` of ``tokens`` by length: up to ``batch_size``, padded to no more tokens than as many of `LONGEST` have.

    A text that is longer than all of these runs by itself.
    """
    order = sorted(rows, key=lambda row: (len(tokens[row]), tokens[row]))
    limits = BatchLimits(tokens=batch_size * LONGEST)
    return limits.runs(order, [len(tokens[row]) for row in order], most=batch_size)


def pad(rows: Sequence[Sequence[int]], pad_token_id: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Right-padded ``input_ids`` and ``attention_mask``, shape (batch, longest); mask 1 = a real token."""
    longest = max(map(len, rows))
    input_ids = torch.tensor([[*row, *[pad_token_id] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    attention_mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": input_ids.to(device), "attention_mask": attention_mask.to(device)}
