"""The same text about somebody of another group: the name is exchanged, and so are the words that tell a gender.

Names come from the prompts that training may see, so no held-out name is learnt from a twin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.probes.counterfactual_text import swap
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.records import INTERSECTION
from rlhf_fair.tables import require_columns

GENDER = "gender"


@dataclass(frozen=True)
class Twin:
    """A prompt and its answer, or several, about a person of ``group``."""

    prompt: str
    answers: tuple[str, ...]
    name: str
    group: str


@dataclass(frozen=True)
class Roster:
    """Names and who bears them. ``people``: one row per name with ``name`` and the columns ``group_by``.

    Groups are those of ``group_by`` crossed, written as in every table: ``woman & Black``.
    """

    people: pd.DataFrame
    group_by: tuple[str, ...]

    @classmethod
    def of(cls, prompts: pd.DataFrame, group_by: Sequence[str]) -> Roster:
        """The distinct names of a table of prompts."""
        require_columns(prompts, ["name", *group_by], "prompts")
        people = prompts[["name", *group_by]].drop_duplicates().sort_values("name").reset_index(drop=True)
        if people["name"].duplicated().any():
            name = people.loc[people["name"].duplicated(), "name"].iloc[0]
            raise RowError(f"prompts: name {name!r} stands for more than one group")
        return cls(people, tuple(group_by))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """All groups, in order of name."""
        return tuple(sorted(self._by_group))

    @cached_property
    def group_of(self) -> dict[str, str]:
        """Name -> group."""
        labels = group_labels(self.people, INTERSECTION.join(self.group_by))
        return dict(zip(self.people["name"], labels, strict=True))

    def find(self, prompt: str) -> str:
        """The name that a prompt is about: the first of the roster's in it."""
        found = self._pattern.search(prompt)
        if found is None:
            raise RowError(f"no name of the roster ({len(self.people)} names) is in the prompt {prompt!r}")
        return found.group()

    def twin(self, prompt: str, answers: Sequence[str], into: str, rng: np.random.Generator) -> Twin:
        """The texts about somebody of group ``into``; about a person of that group they stay as they are."""
        name = self.find(prompt)
        if self.group_of[name] == into:
            return Twin(prompt, tuple(answers), name, into)
        others = self._by_group[into]
        other = others[int(rng.integers(len(others)))]
        pattern = re.compile(rf"\b{re.escape(name)}\b")
        before, after = self._gender.get(name, ""), self._gender.get(other, "")
        # only answers: a prompt names an occupation, which would change with the gender ("waiter")
        turned = [_about(pattern.sub(other, answer), before, after) for answer in answers]
        return Twin(pattern.sub(other, prompt), tuple(turned), other, into)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self.people["name"], key=len, reverse=True)
        return re.compile(r"\b(?:" + "|".join(map(re.escape, longest)) + r")\b")

    @cached_property
    def _by_group(self) -> dict[str, list[str]]:
        by_group: dict[str, list[str]] = {}
        for name, group in self.group_of.items():
            by_group.setdefault(group, []).append(name)
        return by_group

    @cached_property
    def _gender(self) -> dict[str, str]:
        if GENDER not in self.people:
            return {}
        return dict(zip(self.people["name"], self.people[GENDER].astype(str), strict=True))


def _about(text: str, before: str, after: str) -> str:
    """``text`` with the words of one gender exchanged for the other's."""
    if not before or before == after:
        return text
    return _swapped(text, before, after)


@lru_cache(maxsize=100_000)
def _swapped(text: str, before: str, after: str) -> str:
    return swap(text, load_lexicon(GENDER, names=False), before, after, "subject").text
