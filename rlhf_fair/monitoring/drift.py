"""Alarms over a history: every claim against the audit before and against the first, with one error rate.

A look is an audit after the first. The looks share alpha as `rlhf_fair.stats.alpha_spending` parts it (open-ended by
default: how many there will be plays no part), and Holm corrects over the claims and the two comparisons of a look. So
with probability at most alpha any alarm ever rings where nothing got worse. Alarms stay: after a change that is known
and wanted, begin a new history at a later baseline.

=============  ========================================================================================================
alarm          further from what is better: worsening above 0, and its corrected p at most the look's part of alpha
steady         no alarm, and the 1 - alpha interval of the worsening ends below what the plan's margin lets pass
undecided      neither
not measured   one of the two audits has no estimate with an interval
=============  ========================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rlhf_fair.disclosure.identifiers import redacted
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.monitoring.change import Moved, independent, is_steady, paired
from rlhf_fair.monitoring.history import DatedAudit
from rlhf_fair.records import Finding
from rlhf_fair.stats.alpha_spending import Spending, spent
from rlhf_fair.stats.corrections import holm

Heard = Callable[[str, int, int], None]
Pairing = Mapping[str, Moved] | str
"""Claim -> paired change, or why there is none."""


class State(StrEnum):
    """What is known of one change; see the table above."""

    ALARM = "alarm"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"
    STEADY = "steady"


@dataclass(frozen=True)
class Watch:
    """How alarms are judged. ``planned``: looks that an even spending shares alpha among."""

    alpha: float = 0.05
    spending: Spending = "open"
    planned: int = 0
    pair: bool = True


@dataclass(frozen=True)
class Move:
    """One claim at one look. ``since``, ``at``: positions in the history; ``level``: the look's part of alpha."""

    claim: Finding
    since: int
    at: int
    moved: Moved
    level: float
    p_adjusted: float
    state: State
    note: str = ""


@dataclass(frozen=True)
class Drift:
    """All moves of a history, look by look."""

    audits: tuple[DatedAudit, ...]
    watch: Watch
    moves: tuple[Move, ...]

    @property
    def alarms(self) -> tuple[Move, ...]:
        """Those that rang, the first of them first."""
        return tuple(move for move in self.moves if move.state == State.ALARM)

    @property
    def latest(self) -> tuple[Move, ...]:
        """Those of the last look."""
        return tuple(move for move in self.moves if move.at == len(self.audits) - 1)

    @property
    def exit_code(self) -> int:
        """1: an alarm rang. 0: none did, and every claim is steady at the last look. 3: that is open."""
        if self.alarms:
            return 1
        return 0 if all(move.state == State.STEADY for move in self.latest) else 3


def drift_of(audits: Sequence[DatedAudit], watch: Watch, heard: Heard | None = None) -> Drift:
    """Every look of ``audits`` (oldest first, of one plan), judged."""
    moves: list[Move] = []
    for at in range(1, len(audits)):
        if heard:
            heard("looks", at, len(audits) - 1)
        level = spent(watch.spending, watch.alpha, at, watch.planned or len(audits) - 1)
        found = list(_look(audits, at, watch))
        adjusted = holm([moved.worsening.p_value for _, _, moved, _ in found]).tolist()
        moves += [
            Move(claim, since, at, moved, level, p, _state(moved, claim, p, level), note)
            for (claim, since, moved, note), p in zip(found, adjusted, strict=True)
        ]
    return Drift(tuple(audits), watch, tuple(moves))


def _look(audits: Sequence[DatedAudit], at: int, watch: Watch) -> Iterator[tuple[Finding, int, Moved, str]]:
    now = audits[at]
    for since in dict.fromkeys((at - 1, 0)):
        then = audits[since]
        pairing = _paired(then, now) if watch.pair else "pairing was not asked for"
        for id, claim in now.claims.items():
            if not isinstance(pairing, str) and id in pairing:
                yield claim, since, pairing[id], ""
            else:
                note = pairing if isinstance(pairing, str) else "not among the numbers of both"
                yield claim, since, independent(then.claims[id], claim, now.alpha), note


def _paired(then: DatedAudit, now: DatedAudit) -> Pairing:
    if then.folder is None or now.folder is None:
        return "records are not at hand"
    from rlhf_fair.audit.compare import compare_audits

    try:
        diff = compare_audits(then.folder, now.folder)
    except (SettingsError, MissingFileError) as error:
        return redacted(str(error))
    return {change.id: paired(change) for change in diff.changes if math.isfinite(change.p_value)}


def _state(moved: Moved, claim: Finding, p_adjusted: float, level: float) -> State:
    if not math.isfinite(moved.worsening.estimate):
        return State.NOT_MEASURED
    if moved.worsening.estimate > 0 and p_adjusted <= level:
        return State.ALARM
    return State.STEADY if is_steady(moved, claim) else State.UNDECIDED
