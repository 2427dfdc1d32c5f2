"""ln P(token | the tokens before it) for many token sequences, without computing anything twice or for nothing.

Sequences that begin alike are run as one prefix, whose keys and values are then copied to one row per sequence. Rows of
similar length share a batch. The head runs at the positions that predict a scored token, and only there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from rlhf_fair.models.selected_logits import input_device, logprobs_of, selected_logits
from rlhf_fair.models.shared_prefix import PrefixGroup, alone, group_by_prefix


@dataclass(frozen=True)
class BatchLimits:
    """What one forward pass may hold; a single sequence that exceeds a limit runs by itself.

    tokens: padded tokens, those in the cache among them. logits_mib: logits of one pass. share_prefixes: False runs
    every sequence in full.
    """

    tokens: int = 2048
    logits_mib: int = 256
    share_prefixes: bool = True

    @classmethod
    def for_model(cls, model: Any) -> BatchLimits:
        """A CPU is busy with small batches and slows down when they leave its caches; a GPU is not."""
        return cls() if input_device(model).type == "cpu" else cls(tokens=32768, logits_mib=2048)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def token_logprobs(
    model: Any,
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int],
    *,
    limits: BatchLimits | None = None,
    on_done: Callable[[Sequence[int]], None] | None = None,
) -> list[NDArray[np.float64]]:
    """For each sequence, the log probabilities (nats) of its tokens from ``starts[i]`` >= 1 to the end.

    ``on_done`` hears the indices of the sequences of each finished batch. In float32 the numbers agree with one
    forward pass for each sequence up to rounding (about 1e-6 a token).
    """
    limits = limits or BatchLimits.for_model(model)
    scores = [np.empty(len(tokens) - start) for tokens, start in zip(sequences, starts, strict=True)]
    groups = group_by_prefix(sequences) if limits.share_prefixes and _copies_its_cache(model) else alone(sequences)
    for batch in _batches(groups, sequences, starts, limits, model.config.get_text_config().vocab_size):
        _score(model, _plan(batch, sequences, starts), scores)
        if on_done is not None:
            on_done([index for group in batch for index in group.members])
    return scores


def _copies_its_cache(model: Any) -> bool:
    """True where the cache is keys and values alone: recurrent states must not read padding."""
    return not any(DynamicCache(config=model.config).is_linear)


def _rest(group: PrefixGroup, sequences: Sequence[Sequence[int]]) -> int:
    """Tokens of the longest member that have to be read after the shared ones."""
    return max(len(sequences[index]) for index in group.members) - 1 - group.shared


def _batches(
    groups: Sequence[PrefixGroup],
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int],
    limits: BatchLimits,
    vocabulary: int,
) -> Iterator[list[PrefixGroup]]:
    """Groups of similar length together, those that need one pass apart from those that need two."""
    rests = {group: _rest(group, sequences) for group in groups}
    most_logits = limits.logits_mib * 2**20 // (4 * vocabulary)
    batch: list[PrefixGroup] = []
    members = logits = longest_rest = 0
    for group in sorted(groups, key=lambda g: (rests[g] > 0, g.shared, rests[g], g.members)):
        rest, scored = rests[group], sum(len(sequences[index]) - starts[index] for index in group.members)
        width = group.shared + max(rest, longest_rest)  # sorted, so this prefix is the longest so far
        if batch and (
            (rest > 0) != (longest_rest > 0)
            or (members + len(group.members)) * width > limits.tokens
            or logits + scored > most_logits
        ):
            yield batch
            batch, members, logits, longest_rest = [], 0, 0, 0
        batch.append(group)
        members, logits, longest_rest = members + len(group.members), logits + scored, max(rest, longest_rest)
    if batch:
        yield batch


class _Wanted:
    """The probabilities asked of one pass: which cell of its output predicts which token of which sequence."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], int] = {}
        self.index: list[int] = []
        self.targets: list[int] = []
        self.places: list[tuple[int, int]] = []

    def add(self, cell: tuple[int, int], target: int, place: tuple[int, int]) -> None:
        self.index.append(self.cells.setdefault(cell, len(self.cells)))
        self.targets.append(target)
        self.places.append(place)

    def run(self, model: Any, scores: list[NDArray[np.float64]], **inputs: Any) -> None:
        """One pass through the model; its answers go to their places in ``scores``."""
        rows, positions = torch.tensor(list(self.cells), dtype=torch.long).reshape(-1, 2).unbind(1)
        logits = selected_logits(model, rows, positions, **inputs)
        index, targets = torch.tensor(self.index, dtype=torch.long), torch.tensor(self.targets, dtype=torch.long)
        values = logprobs_of(logits, index, targets).double().cpu().tolist()
        for (sequence, offset), value in zip(self.places, values, strict=True):
            scores[sequence][offset] = value


@dataclass(frozen=True)
class _TwoPasses:
    """One batch. prefixes run first; where ``rests`` is not empty they run next, ``parents[i]`` being the prefix of
    ``rests[i]``. ``first`` and ``second`` say which outputs of the two passes are wanted."""

    prefixes: list[Sequence[int]]
    parents: list[int]
    rests: list[Sequence[int]]
    first: _Wanted
    second: _Wanted


def _plan(batch: Sequence[PrefixGroup], sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> _TwoPasses:
    plan = _TwoPasses([sequences[group.members[0]][: group.shared] for group in batch], [], [], _Wanted(), _Wanted())
    widest = max(map(len, plan.prefixes))
    two_passes = any(_rest(group, sequences) for group in batch)
    for row, group in enumerate(batch):
        # padding stands in front where a second pass follows, so that a row has no gap in its middle
        before = widest - group.shared if two_passes else 0
        for index in group.members:
            tokens = sequences[index]
            for position in range(starts[index], len(tokens)):
                place = (index, position - starts[index])
                if position <= group.shared:
                    plan.first.add((row, before + position - 1), tokens[position], place)
                else:
                    plan.second.add((len(plan.rests), position - 1 - group.shared), tokens[position], place)
            if len(tokens) - 1 > group.shared:
                plan.parents.append(row)
                plan.rests.append(tokens[group.shared : -1])
    return plan


def _score(model: Any, plan: _TwoPasses, scores: list[NDArray[np.float64]]) -> None:
    device = input_device(model)
    if not plan.rests:
        # padding behind the text is never looked at, so neither a mask nor positions are needed
        plan.first.run(model, scores, input_ids=_padded(plan.prefixes, device)[0], use_cache=False)
        return
    cache = DynamicCache(config=model.config)
    ids, mask = _padded(plan.prefixes, device, in_front=True)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    plan.first.run(model, scores, **_inputs(model, ids, mask, positions), past_key_values=cache, use_cache=True)
    parents = torch.tensor(plan.parents, device=device)
    cache.reorder_cache(parents)
    ids, rest_mask = _padded(plan.rests, device)
    positions = positions[parents, -1:] + 1 + torch.arange(ids.shape[1], device=device)
    mask = torch.cat([mask[parents], rest_mask], dim=1)
    plan.second.run(model, scores, **_inputs(model, ids, mask, positions), past_key_values=cache, use_cache=True)


def _inputs(model: Any, ids: Tensor, mask: Tensor, positions: Tensor) -> dict[str, Tensor]:
    inputs = {"input_ids": ids, "attention_mask": mask}
    # models without a table of positions (ALiBi) read them off the mask
    return inputs | (
        {"position_ids": positions} if "position_ids" in inspect.signature(model.forward).parameters else {}
    )


def _padded(rows: Sequence[Sequence[int]], device: torch.device, *, in_front: bool = False) -> tuple[Tensor, Tensor]:
    """(batch, longest) ids and mask (1 = a real token). Token 0 fills: it is masked or stands behind the text."""
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        span = slice(longest - len(row), longest) if in_front else slice(len(row))
        ids[index, span], mask[index, span] = row, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
