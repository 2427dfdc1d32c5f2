"""What an answer says, read with the world's own grammar: the truth that scorers and reward models only approximate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlhf_fair.demo.world import (
    ADJECTIVES,
    COURTESY,
    FAMILY,
    LEVELS,
    RAMBLING,
    SKILLS,
    VERDICTS,
)

_ADJECTIVE = {word: float(level) for level, words in zip(LEVELS, ADJECTIVES, strict=True) for word in words}
_VERDICT = {
    phrase.format(him=him): float(level)
    for level, phrases in zip(LEVELS, VERDICTS, strict=True)
    for phrase in phrases
    for him in ("him", "her")
}
_SKILL = {skill: family for family, skills in SKILLS.items() for skill in skills}


@dataclass(frozen=True)
class Reading:
    """The qualities of one answer.

    favourability: mean level of its adjective and verdict in [-1, 1], NaN if it has neither. malformed: True if any
    sentence is not of the grammar, or the adjective, the skill or the verdict is missing.
    """

    favourability: float
    fitting_skill: bool
    courteous: bool
    rambling: bool
    malformed: bool

    @property
    def known_favourability(self) -> float:
        """Favourability, with 0 where the answer says nothing about the candidate: it then pleases nobody."""
        return 0.0 if math.isnan(self.favourability) else self.favourability


def read_answer(occupation: str, text: str) -> Reading:
    """Read ``text`` as an answer about a candidate for ``occupation``."""
    levels: dict[str, float] = {}
    skill = ""
    courteous = rambling = unknown = False
    for sentence in filter(None, (part.strip() for part in text.split("."))):
        words = sentence.split()
        if len(words) == 3 and words[0] in ("A", "An") and words[2] == "candidate" and words[1] in _ADJECTIVE:
            levels["adjective"] = _ADJECTIVE[words[1]]
        elif sentence in _VERDICT:
            levels["verdict"] = _VERDICT[sentence]
        elif words[:2] in (["He", "can"], ["She", "can"]) and " ".join(words[2:]) in _SKILL:
            skill = " ".join(words[2:])
        elif sentence in COURTESY:
            courteous = True
        elif sentence in RAMBLING:
            rambling = True
        else:
            unknown = True
    return Reading(
        favourability=sum(levels.values()) / len(levels) if levels else math.nan,
        fitting_skill=bool(skill) and _SKILL[skill] == FAMILY[occupation],
        courteous=courteous,
        rambling=rambling,
        malformed=unknown or not skill or len(levels) < 2,
    )
