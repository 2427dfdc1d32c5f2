"""Sections of a reward config that say for whom the model learns: groups, heads, and mitigations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_fair.models.reward_heads import ALLOWED, Combine
from rlhf_fair.settings import Settings


class Groups(Settings):
    """One way to group rows.

    ``of`` raters: by a rater attribute of the sources, or by several crossed; an item then gives one row for each group
    that judged it. ``of`` texts: by whom the text speaks of, with a lexicon of the package (gender, religion, ...), or
    by the axis of the first term that it holds, with a table of ``terms`` (term, axis); texts that name nobody are a
    group of their own. ``of`` sources: by source. Rows of unknown group are learnt from with plain
    weight. ``at_least``: a rater group with fewer rows in training counts as unknown.
    """

    of: Literal["raters", "texts", "sources"] = "raters"
    attributes: tuple[str, ...] = ()
    terms: str | None = None
    at_least: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _named(self) -> Groups:
        n = len(self.attributes)
        if self.of == "texts" and n + (self.terms is not None) != 1:
            raise ValueError("groups of texts take one lexicon in attributes, or a table of terms")
        if self.of != "texts" and self.terms is not None:
            raise ValueError("terms group texts, not " + self.of)
        if self.of != "texts" and (n > 0) is not (self.of == "raters"):
            raise ValueError("groups of raters take one attribute or several, groups of sources none")
        return self


class Heads(Settings):
    """How many outputs, and how they make one reward; see `rlhf_fair.models.reward_heads`.

    ``size``: heads of an ensemble. ``groups``: the grouping that has one head each. ``weights``: of virtues or groups,
    by name. ``penalty``: how much variance costs.
    """

    kind: Literal["one", "ensemble", "groups", "objectives", "distribution"] = "one"
    size: int = Field(5, ge=2)
    groups: str | None = None
    combine: Combine | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    penalty: float = Field(0.5, ge=0)

    @model_validator(mode="after")
    def _can_be_combined(self) -> Heads:
        if self.combine is not None and self.combine not in ALLOWED[self.kind]:
            raise ValueError(f"combine = {self.combine!r} does not fit {self.kind}; allowed: {ALLOWED[self.kind]}")
        combine = self.combine or ALLOWED[self.kind][0]
        needed = {"size": self.kind == "ensemble", "groups": self.kind == "groups"}
        needed |= {"weights": combine == "weighted", "penalty": combine == "mean_less_variance"}
        for name, used in needed.items():
            if name in self.model_fields_set and not used:
                raise ValueError(f"{name} means nothing for heads of kind {self.kind!r} combined by {combine!r}")
        return self


class GroupBalance(Settings):
    """Every group's rows weigh the same in sum: `rlhf_fair.training.reward.group_balance`."""

    kind: Literal["group_balance"]
    groups: str


class GroupDRO(Settings):
    """The worse a group fares, the more it counts: `rlhf_fair.training.reward.group_dro`."""

    kind: Literal["group_dro"]
    groups: str
    step_size: float = Field(0.01, gt=0)
    adjustment: float = Field(0.0, ge=0)


class Swaps(Settings):
    """Text pairs that differ in identity alone: `rlhf_fair.training.reward.identity_swaps`.

    ``lexicons``: in training texts, words of one group are exchanged for those of another. ``terms``: a table (term,
    axis), beside the config or in the data folder, whose terms are put into sentences of ours, against the same
    sentence without a term or with another one. ``neutral``: a table (term) of traits that are no identity, for a third
    of the partners; without them a model may come to price whatever is said of a person, identities excepted.
    """

    lexicons: tuple[str, ...] = ()
    terms: str | None = None
    neutral: str | None = None
    limit: int = Field(20_000, ge=1)

    @model_validator(mode="after")
    def _from_something(self) -> Swaps:
        if not self.lexicons and self.terms is None:
            raise ValueError("name lexicons, a table of terms, or both")
        if self.neutral is not None and self.terms is None:
            raise ValueError("neutral traits are partners of terms: name a table of terms")
        return self


class Counterfactual(Swaps):
    """The same reward whoever is named: `rlhf_fair.training.reward.counterfactual`."""

    kind: Literal["counterfactual"]
    strength: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1)


class GradientReversal(Settings):
    """The head's input shall not tell the group: `rlhf_fair.training.reward.gradient_reversal`."""

    kind: Literal["gradient_reversal"]
    groups: str
    strength: float = Field(1.0, gt=0)
    hidden: int = Field(64, ge=1)


class GapConstraint(Swaps):
    """The mean reward gap at or below a tolerance: `rlhf_fair.training.reward.gap_constraint`."""

    kind: Literal["gap_constraint"]
    tolerance: float = Field(0.05, ge=0)
    rate: float = Field(0.05, gt=0)
    batch_size: int = Field(16, ge=1)


WeightsOfGroups = GroupBalance | GroupDRO
"""Mitigations that set how much a group counts; there can be one of them."""

Mitigation = Annotated[
    GroupBalance | GroupDRO | Counterfactual | GradientReversal | GapConstraint, Field(discriminator="kind")
]
