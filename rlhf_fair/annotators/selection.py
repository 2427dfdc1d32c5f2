"""Choose the next items to have annotated: by design or at random, with least numbers by group and a random part.

Items chosen for what they teach are no random sample: a rate measured on them holds for them alone. So every pick has
the probability it had of being in the batch, given the candidates, the labels so far and the model. Chosen by design:
1. Drawn from the rest with equal chance: drawn / rest. With a random part, weights 1 / probability make the batch stand
for all candidates (Horvitz and Thompson 1952: what is taken for certain, and a simple random sample of the others).
It is the whole batch that does: the random part alone stands for the candidates the design left over, which are those
the model is surest about, and a rate measured on it is too good. Without a random part nothing stands for those left
over, and there are no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.annotators.selection_coverage import Coverage, Slack
from rlhf_fair.annotators.selection_design import GreedyDesign
from rlhf_fair.errors import InfeasibleError, SettingsError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BY_SCORE = "score"
BY_LOT = "random"


@dataclass(frozen=True)
class Selection:
    """``rows``: candidates in the order chosen. The other fields have one entry for each of them.

    ``gain``: information in nats that the pick added when it was made, NaN where it was drawn. ``reason``: ``score``,
    ``random``, or the minimums that brought it in, ``coverage topic=law``. ``known_least``: the rater group whose head
    it was chosen for, "" with one head. ``probability``: of being in the batch, in (0, 1].
    """

    rows: Codes
    gain: Floats
    reason: tuple[str, ...]
    known_least: tuple[str, ...]
    probability: Floats

    def weight(self, candidates: int) -> Floats:
        """(picks,) 1 / probability, how many of the ``candidates`` each pick stands for; NaN where some had no chance.

        All had one where some were drawn from all that was left, or where all candidates were chosen.
        """
        stands = BY_LOT in self.reason or len(self.rows) == candidates
        return 1 / self.probability if stands else np.full(len(self.rows), np.nan)


def random_share(budget: int, explore: float) -> int:
    """How many of the budget are drawn at random; a share above 0 draws at least one."""
    if budget < 1 or not 0 <= explore <= 1:
        raise SettingsError(f"budget {budget}, explore {explore}; allowed: at least 1, and 0 to 1")
    return min(budget, max(round(explore * budget), 1)) if explore > 0 else 0


def select_by_design(
    designs: Mapping[str, GreedyDesign],
    wanted: Coverage,
    budget: int,
    *,
    explore: float = 0.0,
    rng: np.random.Generator,
    on_pick: Callable[[int], None] = lambda done: None,
) -> Selection:
    """Greedy choice within the minimums, then the random part from what is left.

    Parameters
    ----------
    designs
        One for each rater group, or a single one under any name. With several, each pick serves the group that is
        known least: whose head the candidates could still teach most about, in nats.
    wanted
        Minimums by group. The picks made by design meet them all; the random part counts towards none, so that its
        probabilities stay known.
    explore
        Share of the budget that is drawn at random, in [0, 1].
    rng
        Draws the random part. Ties go to the candidate that comes first: shuffle the candidates for other ties.
    on_pick
        Hears how many items were chosen so far.
    """
    n = len(wanted.cell)
    require(n, budget)
    drawn = random_share(budget, explore)
    chosen = _greedy(designs, wanted, budget - drawn, on_pick)
    rest = np.setdiff1d(np.arange(n), np.array([row for row, *_ in chosen], dtype=np.int64))
    lot = rng.permutation(rest)[:drawn]
    return Selection(
        np.array([row for row, *_ in chosen] + lot.tolist(), dtype=np.int64),
        np.array([gain for _, gain, _, _ in chosen] + [np.nan] * drawn),
        (*(reason for _, _, reason, _ in chosen), *[BY_LOT] * drawn),
        (*(group for *_, group in chosen), *[""] * drawn),
        np.array([1.0] * len(chosen) + [drawn / max(len(rest), 1)] * drawn),
    )


def select_at_random(wanted: Coverage, budget: int, *, rng: np.random.Generator) -> Selection:
    """The fewest items that meet the minimums, drawn cell by cell, then the rest of the budget from all that is left.

    In a cell of N candidates of which y are drawn first, R of the L left in all later, each has probability
    y / N + (1 - y / N) R / L.
    """
    n = len(wanted.cell)
    require(n, budget)
    slack = Slack(wanted, budget)
    order = rng.permutation(n)
    first: list[int] = []
    reason: list[str] = []
    for cell in np.flatnonzero(slack.fill).tolist():
        counts = [name for name, inside in zip(wanted.names, wanted.inside[:, cell], strict=True) if inside]
        drawn = order[wanted.cell[order] == cell][: slack.fill[cell]].tolist()
        first += drawn
        reason += [_coverage_reason(counts)] * len(drawn)
    rest = rng.permutation(np.setdiff1d(order, first))  # drawn anew: those left of a cell come late in the old order
    later = rest[: budget - len(first)].tolist()
    rows = np.array(first + later, dtype=np.int64)
    share = slack.fill / np.maximum(slack.available, 1)
    late = len(later) / max(len(rest), 1)
    probability = (share + (1 - share) * late)[wanted.cell[rows]]
    blank = ("",) * budget
    return Selection(rows, np.full(budget, np.nan), (*reason, *[BY_LOT] * len(later)), blank, probability)


def _greedy(
    designs: Mapping[str, GreedyDesign], wanted: Coverage, picks: int, on_pick: Callable[[int], None]
) -> list[tuple[int, float, str, str]]:
    """Row, gain in nats, reason and the group served, pick by pick."""
    slack = Slack(wanted, picks)
    free = np.ones(len(wanted.cell), dtype=bool)
    hoped = {name: design.total_information() for name, design in designs.items()} if len(designs) > 1 else {}
    chosen = []
    for done in range(1, picks + 1):
        group = max(hoped, key=lambda name: hoped[name] - designs[name].information) if hoped else next(iter(designs))
        design = designs[group]
        row = design.best(free & ~slack.closed[wanted.cell])
        while not slack.admits(int(wanted.cell[row])):
            row = design.best(free & ~slack.closed[wanted.cell])
        unforced = not slack.closed.any() or design.best(free) == row
        gain = 0.0
        for name, each in designs.items():
            added = each.add(row) / 2
            gain = added if name == group else gain
        helped = slack.pick(int(wanted.cell[row]))
        free[row] = False
        chosen.append((row, gain, BY_SCORE if unforced else _coverage_reason(helped), group if hoped else ""))
        on_pick(done)
    return chosen


def _coverage_reason(names: Sequence[str]) -> str:
    return "coverage " + ", ".join(names)


def require(candidates: int, budget: int, left_out: str = "") -> None:
    """Raise `InfeasibleError` where more items are asked for than there are; ``left_out``: what others are not."""
    if budget > candidates:
        why = f" ({left_out})" if left_out else ""
        raise InfeasibleError(f"budget {budget}: only {candidates} candidates are left to choose from{why}")
