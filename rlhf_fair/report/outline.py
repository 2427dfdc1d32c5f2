"""The parts of a report in their order, which sections each has, and which parts an audit does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_fair.records import Results
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Section

REWARD_STAGE = "reward_model"
QUESTION = "question-"
"""Start of the ids of sections that an audit's own tables make."""


@dataclass(frozen=True)
class Part:
    """``sections``: ids in order; ``name``: what is said where there is none of them."""

    id: str
    name: str
    sections: tuple[str, ...]


PARTS = (
    Part("findings", "findings", ("findings",)),
    Part("data", "data and exclusions", ("data", "bounds")),
    Part("groups", "groups and intersections", ("groups", "agreement")),
    Part("reward", "a reward model", ("reward", "calibration", "words")),
    Part("policy", "a policy and its counterfactuals", ("counterfactuals",)),
    Part("ledger", "a bias ledger, mitigation and who moved", ("ledger", "steps", "moved", "mitigation", "training")),
    Part("robustness", "controls and robustness", ("controls", "power", "recovery", "more")),
    Part("all", "", ("all",)),
    Part("clauses", "clauses (no framework was asked for)", ("clauses",)),
    Part("context", "sign-off (no context file was given)", ("context",)),
    Part("limits", "", ("limits",)),
    Part("provenance", "", ("provenance",)),
)
"""After the verdict and its scope, which every page begins with."""


def arranged(sections: Sequence[Section], results: Results) -> list[Section]:
    """``sections`` in the order of `PARTS`; what an audit's own questions ask stands last in the part it is about.

    Who rated what stands first in an audit of ratings, for a file that names no raters changes all that follows.
    """
    places = {id: (number, place) for number, part in enumerate(PARTS) for place, id in enumerate(part.sections)}
    if about(results) == "groups":
        places["data"] = (-1, 0)
    own = next(number for number, part in enumerate(PARTS) if part.id == about(results))

    def place(section: Section) -> tuple[int, int]:
        if not section.id.startswith(QUESTION):
            return places[section.id]
        asks_of_data = "unknown" in section.heading.lower()
        return (1 if asks_of_data else own), len(sections)

    return sorted(sections, key=place)


def about(results: Results) -> str:
    """The part that an audit's own questions belong to: that of what was audited."""
    if results.training.runs:
        return "ledger"
    stages = {finding.stage for finding in results.findings}
    if stages == {REWARD_STAGE}:
        return "reward"
    return "groups" if stages == {say.FEEDBACK} else "policy"


def left_out(shown: Sequence[Section], results: Results) -> str:
    """In one sentence the parts that a page does not have; empty where it has all."""
    there = {section.id for section in shown}
    own = {about(results)} if any(section.id.startswith(QUESTION) for section in shown) else set()
    stages = {f.stage for f in results.findings} | {row.stage for row in results.ledger}
    own |= {"reward"} if REWARD_STAGE in stages else set()
    own |= {"policy"} if stages - {REWARD_STAGE, say.FEEDBACK} else set()
    missing = [part.name for part in PARTS if part.name and part.id not in own and not there & set(part.sections)]
    return f"Not part of this audit: {'; '.join(missing)}." if missing else ""
