"""A framework is a law or standard, a clause one of its demands: where it stands, as of when, and from which source."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from rlhf_fair.settings import Settings

STALE_AFTER_DAYS = 180
"""Law moves: what was checked longer ago than this wants checking again."""


class Status(StrEnum):
    """What a clause was when it was last checked."""

    IN_FORCE = "in_force"
    NOT_YET_APPLICABLE = "not_yet_applicable"
    VOLUNTARY = "voluntary"
    DRAFT = "draft"
    REPEALED = "repealed"
    REPLACED = "replaced"


ENDED = (Status.REPEALED, Status.REPLACED)
"""Clauses that ask for nothing any more."""


class Clause(Settings):
    """One demand. ``asks`` is in our words, ``evidence`` the kinds of `rlhf_fair.compliance.evidence` that bear on it.

    ``as_of``: when status and number were last checked against a source. ``secondary``: that source was not the
    instrument itself; ``check`` says what to look up before relying on the entry. ``at_most``: an earlier clause on
    whose outcome this one rests, so that there is no more evidence for this one than for that.
    """

    id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    asks: str = Field(min_length=1)
    status: Status
    applies_from: date | None = None
    replaced_by: str = ""
    as_of: date
    source: str = Field(min_length=1)
    secondary: bool = False
    check: str = ""
    evidence: tuple[str, ...]
    at_most: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.status in ENDED and self.evidence:
            raise ValueError(f"clause {self.id!r} is {self.status.value}: no evidence can be asked for")
        if self.status not in ENDED and not self.evidence:
            raise ValueError(f"clause {self.id!r} names no evidence")
        if (self.status == Status.REPLACED) != bool(self.replaced_by):
            raise ValueError(f"clause {self.id!r}: replaced_by goes with status = 'replaced', and only with that")
        if self.secondary and not self.check:
            raise ValueError(f"clause {self.id!r} rests on a secondary source: check must say what to look up")
        if self.applies_from and self.status == Status.IN_FORCE and self.applies_from > self.as_of:
            raise ValueError(f"clause {self.id!r} is in force as of {self.as_of}, but applies from {self.applies_from}")
        if self.applies_from and self.status == Status.NOT_YET_APPLICABLE and self.applies_from <= self.as_of:
            raise ValueError(f"clause {self.id!r} was to apply from {self.applies_from}, before {self.as_of}")
        return self

    @property
    def ended(self) -> bool:
        """Whether the clause asks for nothing any more."""
        return self.status in ENDED

    def is_stale(self, today: date) -> bool:
        """Whether the entry was last checked more than `STALE_AFTER_DAYS` days before ``today``."""
        return (today - self.as_of).days > STALE_AFTER_DAYS

    def standing(self, today: date) -> str:
        """What the clause is on ``today``, in words; a date that has passed since it was checked changes no status."""
        start = self.applies_from
        if self.status == Status.REPLACED:
            return f"replaced by {self.replaced_by}"
        if self.status == Status.NOT_YET_APPLICABLE and start is not None and start <= today:
            return f"was to apply from {start}, which has passed since the entry was checked"
        if self.status == Status.NOT_YET_APPLICABLE:
            return "not yet applicable" + (f"; from {start}" if start else "")
        if self.status == Status.IN_FORCE and start is not None:
            return f"in force since {start}" if start <= today else f"not yet applicable; from {start}"
        return self.status.value.replace("_", " ")


class Framework(Settings):
    """A law or standard with the clauses that an audit of bias can bear on; ``aliases`` are other names it goes by."""

    id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    instrument: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    clauses: tuple[Clause, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [clause.id for clause in self.clauses]
        if repeated := next((name for name in ids if ids.count(name) > 1), None):
            raise ValueError(f"clause id {repeated!r} occurs more than once")
        for place, clause in enumerate(self.clauses):
            if clause.at_most and clause.at_most not in [c.id for c in self.clauses[:place] if not c.ended]:
                raise ValueError(f"clause {clause.id!r}: at_most = {clause.at_most!r} is no clause before it")
        return self

    @property
    def newest(self) -> date:
        """When an entry of the framework was last checked."""
        return max(clause.as_of for clause in self.clauses)

    def stale(self, today: date) -> tuple[Clause, ...]:
        """The clauses whose entry is too old on ``today``."""
        return tuple(clause for clause in self.clauses if clause.is_stale(today))


def framework_summary(framework: Framework, today: date) -> dict[str, Any]:
    """What stands in a framework on ``today``, as plain data."""
    clauses = [
        {
            "id": clause.id,
            "title": clause.title,
            "status": clause.status.value,
            "standing": clause.standing(today),
            "as_of": str(clause.as_of),
            "stale": clause.is_stale(today),
            "secondary_source": clause.secondary,
        }
        for clause in framework.clauses
    ]
    return {
        "title": framework.title,
        "instrument": framework.instrument,
        "aliases": list(framework.aliases),
        "clauses": clauses,
        "stale": len(framework.stale(today)),
    }
