"""Evidence that only people can give: what they state in the context of a report."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_fair.compliance.evidence import Case, Found, Look, State

SECTION = "context"
"""The section of the page with what people state."""


@dataclass(frozen=True)
class Stated:
    """Entries of the context, all of which a kind of evidence wants.

    Of what they describe (``shows``), the description is the evidence. Of what they say is done, it is only their word,
    which is partial at most.
    """

    entries: tuple[str, ...]
    shows: bool

    def __call__(self, case: Case) -> Found:
        """Look for the entries."""
        missing = [entry for entry in self.entries if not case.context.stated(entry)]
        worded = ", ".join(entry.replace(".", " ").replace("_", " ") for entry in missing)
        if len(missing) == len(self.entries):
            return Found(State.ABSENT, f"not stated: {worded}")
        if missing:
            return Found(State.PARTIAL, f"stated in part, missing: {worded}", SECTION)
        if self.shows:
            return Found(State.PRESENT, "stated", SECTION)
        return Found(State.PARTIAL, "stated, which nothing in the results shows", SECTION)


def independent_auditor(case: Case) -> Found:
    """Who audited, declared independent by a yes with its grounds; a no, or no word of it, is no such evidence."""
    declared = case.context.sign_off.independent
    if declared is None:
        return Found(State.ABSENT, "not declared: sign off independent (true or false)")
    if not declared:
        return Found(State.ABSENT, "declared not to be independent")
    return Stated(("sign_off.name", "sign_off.independence", "sign_off.independent"), shows=False)(case)


STATED: dict[str, Look] = {
    "system": Stated(("system.name", "system.version", "system.description"), shows=True),
    "purpose": Stated(("purpose.intended_use", "purpose.out_of_scope"), shows=True),
    "deployer": Stated(("deployer.name", "deployer.role"), shows=True),
    "contact": Stated(("deployer.contact",), shows=True),
    "data_sources": Stated(("data.sources", "data.period", "data.collection"), shows=True),
    "affected_people": Stated(("purpose.affected_people",), shows=True),
    "notice": Stated(("deployer.notice",), shows=False),
    "human_oversight": Stated(("oversight.responsible", "oversight.measures"), shows=False),
    "automation_bias": Stated(("oversight.automation_bias",), shows=False),
    "feedback_loops": Stated(("system.feedback_loops",), shows=False),
    "operation_logs": Stated(("system.operation_logs",), shows=False),
    "independent_auditor": independent_auditor,
    # a name is no signature: `rlhf-fair verify` tells whether there is one, which no page can hold of itself
    "sign_off": Stated(("sign_off.name", "sign_off.role", "sign_off.date"), shows=False),
}
