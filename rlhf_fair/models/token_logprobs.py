"""ln P(token | the tokens before it) for many token sequences, without computing anything twice or for nothing.

Sequences that begin alike stand in one row as a prefix tree, rows of similar length share a batch, and the head runs at
the positions that predict a scored token, and only there.
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

from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.selected_logits import input_device, logprobs_of, selected_logits
from rlhf_fair.models.shared_prefix import PrefixTree, prefix_tree, tree_rows


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
    most_logits = limits.most_logits(model.config.get_text_config().vocab_size)
    rows = [[index] for index in range(len(sequences))]
    if limits.share_prefixes:
        # a position asks for one row of logits at most, so a tree within both limits never needs more than one pass
        most = min(limits.tokens, most_logits)
        shared = tree_rows(sequences, width=model.get_input_embeddings().weight.shape[1], most=most)
        trees = [prefix_tree([sequences[index] for index in row]) for row in shared if len(row) > 1]
        if trees and reads_trees(model, trees):
            rows = shared
    for batch in _batches([_Row.of(row, sequences, starts) for row in rows], limits.tokens, most_logits):
        _score(model, batch, scores)
        if on_done is not None:
            on_done([index for row in batch for index in row.members])
    return scores


def reads_trees(model: Any, trees: Sequence[PrefixTree]) -> bool:
    """True where a model answers for each path through such trees as if it stood alone.

    It is asked rather than known by its name: the path that is most scattered over its row must get the logits that
    it gets by itself, at its end and behind every gap. Models that count distances along the row (ALiBi, local
    attention) or carry a state along it (Mamba) fail, and so do kernels that take no such mask.
    """
    windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=model.config).layers]
    deepest = max(len(path) for tree in trees for path in tree.paths)
    if (
        getattr(model.config, "_attn_implementation", None) not in {"sdpa", "eager"}
        or "position_ids" not in inspect.signature(model.forward).parameters
        or any(window is not None and window < deepest for window in windows)  # it would have to be in the mask
    ):
        return False
    tree, path = max(((tree, path) for tree in trees for path in tree.paths), key=lambda at: at[1][-1] - len(at[1]))
    behind_gaps = np.flatnonzero(np.diff(path) > 1) + 1
    depths = torch.from_numpy(np.union1d(behind_gaps, len(path) - 1))
    rows, nodes = torch.zeros_like(depths), torch.from_numpy(path)[depths]
    plain = selected_logits(model, rows, depths, input_ids=_padded([tree.tokens[path]], model), use_cache=False)
    try:
        found = selected_logits(model, rows, nodes, **_tree_inputs(model, [tree]))
    except (RuntimeError, ValueError, TypeError, IndexError):  # it takes no mask for each pair of tokens
        return False
    rounding = 1e-4 if found.dtype == torch.float32 else 3e-2
    return bool((found.float() - plain.float()).abs().max() <= rounding * plain.float().abs().max())


@dataclass(frozen=True)
class _Row:
    """A tree and what is asked of it: token ``targets[i]`` behind node ``nodes[i]``, member after member."""

    members: list[int]
    tree: PrefixTree
    nodes: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, members: list[int], sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> _Row:
        tree = prefix_tree([sequences[index] for index in members])
        nodes = [path[starts[index] - 1 :] for index, path in zip(members, tree.paths, strict=True)]
        targets = [np.array(sequences[index][starts[index] :], dtype=np.int64) for index in members]
        return cls(members, tree, np.concatenate(nodes), np.concatenate(targets))


def _batches(rows: Sequence[_Row], most_tokens: int, most_logits: int) -> Iterator[list[_Row]]:
    """Rows of similar length together; single sequences apart from trees, since they need no mask."""
    batch: list[_Row] = []
    logits = 0
    for row in sorted(rows, key=lambda row: (len(row.members) > 1, len(row.tree.tokens), row.members)):
        wanted = len(np.unique(row.nodes))
        if batch and (
            (len(row.members) > 1) != (len(batch[0].members) > 1)
            or (len(batch) + 1) * len(row.tree.tokens) > most_tokens  # sorted, so this row is the longest so far
            or logits + wanted > most_logits
        ):
            yield batch
            batch, logits = [], 0
        batch.append(row)
        logits += wanted
    if batch:
        yield batch


def _score(model: Any, batch: Sequence[_Row], scores: list[NDArray[np.float64]]) -> None:
    """One pass through the model; its answers go to their places in ``scores``."""
    trees = [row.tree for row in batch]
    if len(batch[0].members) == 1:
        # padding behind the text is never looked at, so neither a mask nor positions are needed
        inputs: dict[str, Any] = {"input_ids": _padded([tree.tokens for tree in trees], model), "use_cache": False}
    else:
        inputs = _tree_inputs(model, trees)
    width = inputs["input_ids"].shape[1]
    asked = np.concatenate([row.nodes + width * index for index, row in enumerate(batch)])
    cells, index = np.unique(asked, return_inverse=True)
    logits = selected_logits(model, torch.from_numpy(cells // width), torch.from_numpy(cells % width), **inputs)
    targets = torch.from_numpy(np.concatenate([row.targets for row in batch]))
    values = logprobs_of(logits, torch.from_numpy(index), targets).double().cpu().numpy()
    members = [member for row in batch for member in row.members]
    for member, found in zip(members, np.split(values, np.cumsum([len(scores[m]) for m in members])[:-1]), strict=True):
        scores[member][:] = found


def _tree_inputs(model: Any, trees: Sequence[PrefixTree]) -> dict[str, Any]:
    """Tokens, positions and an additive mask (batch, 1, query, key), in which a token sees itself and its ancestors."""
    ids, positions, ends = (
        _padded([getattr(tree, name) for tree in trees], model) for name in ("tokens", "depths", "ends")
    )
    at = torch.arange(ids.shape[1], device=ids.device)
    # padding has no end: it sees itself, or its softmax would be that of nothing
    hidden = (at[:, None] < at) | (at[:, None] >= torch.maximum(ends, at + 1)[:, None, :])
    dtype = model.get_input_embeddings().weight.dtype
    mask = torch.zeros(hidden.shape, dtype=dtype, device=ids.device).masked_fill_(hidden, torch.finfo(dtype).min)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask[:, None], "use_cache": False}


def _padded(rows: Sequence[NDArray[np.int64]], model: Any) -> Tensor:
    """(batch, longest), filled with 0 at the end."""
    padded = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded).to(input_device(model))
