"""What no measurement can tell and people must state: the system, its purpose, who deploys it, who signs.

A ``context.toml`` has these sections; every entry may be missing, and a report lists those that are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date as Day
from typing import Annotated, NamedTuple

from pydantic import Field, Strict, StringConstraints

from rlhf_fair.settings import Settings

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
Texts = Annotated[tuple[Text, ...], Field(max_length=50)]


class System(Settings):
    """``[system]``: what was audited. ``operation_logs``: which events the running system records."""

    name: Text = ""
    version: Text = ""
    description: Text = ""
    operation_logs: Text = ""
    feedback_loops: Text = ""


class Purpose(Settings):
    """``[purpose]``: what the system is meant for, what not, and whom it may affect (and how they were asked)."""

    intended_use: Text = ""
    out_of_scope: Text = ""
    affected_people: Text = ""


class Deployer(Settings):
    """``[deployer]``: who puts the system to use, how they can be reached, and how people are told of its use."""

    name: Text = ""
    role: Text = ""
    contact: Text = ""
    notice: Text = ""


class Data(Settings):
    """``[data]``: where the data come from, from when, and how they were collected."""

    sources: Texts = ()
    period: Text = ""
    collection: Text = ""


class Oversight(Settings):
    """``[oversight]``: who watches over the system, with which powers, and what is done against automation bias."""

    responsible: Text = ""
    measures: Text = ""
    automation_bias: Text = ""


class SignOff(Settings):
    """``[sign_off]``: who answers for the report. A name is no signature.

    ``independent``: whether the auditor is, as the law at hand means it; ``independence``: on what grounds.
    """

    name: Text = ""
    role: Text = ""
    date: Day | None = None
    independent: Annotated[bool, Strict()] | None = None
    independence: Text = ""


class Context(Settings):
    """The content of ``context.toml``."""

    system: System = System()
    purpose: Purpose = Purpose()
    deployer: Deployer = Deployer()
    data: Data = Data()
    oversight: Oversight = Oversight()
    sign_off: SignOff = SignOff()

    def entries(self) -> Iterator[Entry]:
        """All entries in the order above."""
        for section in type(self).model_fields:
            part = getattr(self, section)
            for name in type(part).model_fields:
                yield Entry(section, name, _worded(getattr(part, name)))

    def stated(self, entry: str) -> str:
        """The text of ``"section.name"``; "" where it is missing."""
        section, _, name = entry.partition(".")
        return _worded(getattr(getattr(self, section), name))


class Entry(NamedTuple):
    """One entry of a context; ``text`` is "" where it is missing."""

    section: str
    name: str
    text: str

    @property
    def label(self) -> str:
        """``Sign off: date``."""
        return f"{self.section.replace('_', ' ').capitalize()}: {self.name.replace('_', ' ')}"


def _worded(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(filter(None, map(str, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
