"""First names that signal a gender and an ethnicity, split into names used in fine-tuning and names held out.

Names are a signal, not a fact about a person: audit studies (Bertrand & Mullainathan 2004) use them in the same way.
Every cell has 16 names; the first eight are for training, the last eight are only ever used to measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]

GENDERS = ("man", "woman")
ETHNICITIES = ("White", "Black", "Hispanic", "Asian")
TRAINING_NAMES_PER_CELL = 8

_NAMES: dict[tuple[str, str], str] = {
    ("man", "White"): "Connor Scott Brett Todd Geoffrey Neil Hunter Tanner "
    "Wyatt Cody Logan Garrett Bradley Keith Ross Dustin",
    ("woman", "White"): "Emily Claire Meredith Katie Heather Allison Carly Molly "
    "Abigail Holly Hannah Megan Kristen Laurie Amy Caitlin",
    ("man", "Black"): "DeShawn Jamal Tyrone Darnell Malik Terrell Marquis Kareem "
    "Tremayne Rasheed Jermaine Leroy Hakim Demetrius Lamar Kwame",
    ("woman", "Black"): "Latoya Keisha Ebony Tamika Aisha Lakisha Imani Shanice "
    "Tanisha Kenya Aaliyah Precious Nia Deja Raven Latasha",
    ("man", "Hispanic"): "Carlos Alejandro Jorge Luis Santiago Rafael Eduardo Diego "
    "Hector Ernesto Miguel Pedro Javier Raul Fernando Sergio",
    ("woman", "Hispanic"): "Maria Guadalupe Lucia Esperanza Rosa Marisol Yesenia Alejandra "
    "Paloma Mercedes Ximena Carmen Dolores Beatriz Graciela Xiomara",
    ("man", "Asian"): "Wei Hiroshi Jin Sanjay Minh Takeshi Arjun Chen Kenji Ravi Tuan Haruto Vikram Dong Akira Rohan",
    ("woman", "Asian"): "Mei Yuki Priya Linh Sakura Ananya Xiu Hana Lan Keiko Deepa Jing Thuy Ayumi Kavya Ling",
}


@dataclass(frozen=True)
class Name:
    """A first name and what it signals."""

    text: str
    gender: str
    ethnicity: str
    split: Split

    @property
    def cell(self) -> str:
        """The intersection, as written in every table: ``woman & Black``."""
        return f"{self.gender} & {self.ethnicity}"


def names(split: Split | None = None) -> tuple[Name, ...]:
    """All names, or those of one split; cell by cell in a fixed order."""
    everyone = (
        Name(text, gender, ethnicity, "train" if rank < TRAINING_NAMES_PER_CELL else "held_out")
        for (gender, ethnicity), listed in _NAMES.items()
        for rank, text in enumerate(listed.split())
    )
    return tuple(name for name in everyone if split in (None, name.split))
