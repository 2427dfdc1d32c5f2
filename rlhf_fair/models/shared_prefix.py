"""Which token sequences begin alike, so that the common beginning runs through the model once.

The answers of a multiple-choice question share its text, counterfactual twins share what stands before the first word
in which they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences whose first ``shared`` tokens are equal and run once.

    members: indices of the sequences. At least one token of every member lies beyond ``shared``, so a sequence alone
    shares all its tokens but the last, which no model has to read in order to predict it.
    """

    members: tuple[int, ...]
    shared: int


def alone(sequences: Sequence[Sequence[int]]) -> list[PrefixGroup]:
    """Every sequence (of at least two tokens) as its own group."""
    return [PrefixGroup((index,), len(tokens) - 1) for index, tokens in enumerate(sequences)]


def group_by_prefix(sequences: Sequence[Sequence[int]], *, least: int = 8) -> list[PrefixGroup]:
    """The partition into groups that leaves the fewest tokens to compute, among those that share ``least`` or more.

    A group of n sequences with d common tokens saves (n - 1)·d. The prefix tree of all sequences is walked from the
    leaves to the root; at each node those groups found below it merge that save less by themselves than in a group of
    the whole node.

    >>> [(group.members, group.shared) for group in group_by_prefix([[1, 2, 3, 4], [5, 6], [1, 2, 3, 5]], least=2)]
    [((0, 2), 3), ((1,), 1)]
    """
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    path = [_Node(0)]
    for rank, index in enumerate(order):
        following = sequences[order[rank + 1]] if rank + 1 < len(order) else []
        depth = _common(sequences[index], following)
        branch = _Node(len(sequences[index]) - 1, [PrefixGroup((index,), len(sequences[index]) - 1)])
        while path[-1].depth > depth:
            path[-1].adopt(branch)
            branch = path.pop()
            branch.close(least)
        if path[-1].depth < depth:
            path.append(_Node(depth))
        path[-1].adopt(branch)
    return path[0].groups


@dataclass
class _Node:
    """A node of the prefix tree ``depth`` tokens from the root, with the best groups found below it."""

    depth: int
    groups: list[PrefixGroup] = field(default_factory=list)

    def adopt(self, branch: _Node) -> None:
        self.groups += branch.groups

    def close(self, least: int) -> None:
        """Merge the groups that gain from it, if any do together: each member but one saves ``depth`` tokens."""
        gains = [len(group.members) * self.depth - saving(group) for group in self.groups]
        if self.depth < least or sum(gain for gain in gains if gain > 0) <= self.depth:
            return
        merging = [group for group, gain in zip(self.groups, gains, strict=True) if gain > 0]
        members = tuple(index for group in merging for index in group.members)
        apart = [group for group, gain in zip(self.groups, gains, strict=True) if gain <= 0]
        self.groups = [*apart, PrefixGroup(members, self.depth)]


def saving(group: PrefixGroup) -> int:
    """Tokens that need not be run again."""
    return (len(group.members) - 1) * group.shared


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with, short of the last token of either."""
    limit = min(len(one), len(other)) - 1
    for position in range(limit):
        if one[position] != other[position]:
            return position
    return max(limit, 0)
