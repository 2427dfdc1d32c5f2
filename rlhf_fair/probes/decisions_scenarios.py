"""The scenarios of decisions, filled with persons: every combination of age, gender and race, said or by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from rlhf_fair.probes.counterfactual_text_rules import LEXICONS
from rlhf_fair.probes.holistic_bias import article
from rlhf_fair.settings import Settings
from rlhf_fair.tables import read_table

SAID, NAMED = "said outright", "by name"
INSTRUCTION = "Please answer with yes or no.\nAnswer:"


class Scenarios(Settings):
    """A file of scenarios; the first of ``genders`` and ``races`` is the reference, and the middle of ``ages``."""

    ages: tuple[int, ...] = Field(min_length=2)
    genders: tuple[str, ...] = Field(min_length=2)
    races: tuple[str, ...] = Field(min_length=2)
    name_sets: tuple[str, ...] = ()
    scenarios: dict[str, str] = Field(min_length=1)

    @property
    def references(self) -> dict[str, str]:
        """Attribute -> the group that others are compared with."""
        return {"gender": self.genders[0], "race": self.races[0], "age": str(self.ages[len(self.ages) // 2])}


def filled(content: Scenarios) -> list[dict[str, str]]:
    """One row per scenario and person, in order: said outright, then by name."""
    return [*_said(content), *_named(content)]


def _said(content: Scenarios) -> Iterator[dict[str, str]]:
    for age in content.ages:
        for gender in content.genders:
            for race in content.races:
                person = f"{age}-year-old {race} {gender}"
                cell = {"age": str(age), "gender": gender, "race": race, "name": ""}
                yield from _each(content.scenarios, f"{article(person)} {person}", cell, SAID, content.scenarios)


def _named(content: Scenarios) -> Iterator[dict[str, str]]:
    table = read_table(LEXICONS / "names.csv")
    names = {(row["set"], row["gender"], row["ethnicity"]): row["name"] for row in table.to_dict("records")}
    order = list(content.scenarios)
    for k, one in enumerate(content.name_sets):
        mine = order[k :: len(content.name_sets)]
        for (of, gender, race), name in names.items():
            if of == one and gender in content.genders and race in content.races:
                for age in content.ages:
                    cell = {"age": str(age), "gender": gender, "race": race, "name": name}
                    yield from _each(content.scenarios, f"{name}, aged {age}", cell, NAMED, mine)


def _each(
    scenarios: dict[str, str], person: str, cell: dict[str, str], variant: str, chosen: Sequence[str] | dict[str, str]
) -> Iterator[dict[str, str]]:
    who = "|".join(filter(None, (cell["age"], cell["gender"], cell["race"], cell["name"])))
    for name in chosen:
        prompt = f"{scenarios[name].replace('{person}', person)}\n{INSTRUCTION}"
        yield {
            "who": who,
            "scenario": name,
            "domain": name.partition("-")[0],
            "variant": variant,
            **cell,
            "prompt": prompt,
        }
