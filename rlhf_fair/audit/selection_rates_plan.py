"""The plan of the audit ``selection-rates``: where a table of people keeps what, and which categories are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rlhf_fair.audit.plan import Limits, Plan, Policy, load_plan
from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.impact_ratio import SMALL_CATEGORY
from rlhf_fair.settings import Settings

SELECTION_RATES = "selection-rates"
IMPACT_RATIO = "impact_ratio"


class ApplicantsPlan(Settings):
    """The table of people, one row each.

    ``file`` is relative to the plan and read unless ``--predictions`` names another; ``synthetic`` says that its people
    are made up. ``kind``: the column ``outcome`` holds decisions, or scores. Decisions are 0 and 1 or true and false,
    unless ``selected`` and ``not_selected`` list the texts that mean either. ``id``: a column that must not repeat.
    ``cluster``: a column of people or rows that belong together, such as the person behind several applications.
    """

    file: str = ""
    synthetic: bool = False
    kind: Literal["selection", "score"]
    outcome: str
    selected: tuple[str, ...] = ()
    not_selected: tuple[str, ...] = ()
    id: str = ""
    cluster: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> ApplicantsPlan:
        if bool(self.selected) != bool(self.not_selected):
            raise ValueError("keys 'selected' and 'not_selected' go together: list the texts of both")
        if self.selected and self.kind == "score":
            raise ValueError("'selected' and 'not_selected' are for kind = 'selection'")
        both = {_folded(text) for text in self.selected} & {_folded(text) for text in self.not_selected}
        if both:
            raise ValueError(f"{sorted(both)} stand in 'selected' and in 'not_selected'")
        return self


class CategoriesPlan(Settings):
    """One attribute of the people.

    ``categories``: category -> spellings that mean it, besides its own name, without regard to case and outer spaces; a
    row with any other text is rejected, so that no spelling vanishes. Without it every text is a category. ``unknown``:
    texts that mean unknown, as the empty cell does.
    """

    name: str
    column: str
    role: Literal["claim", "exploratory"] = "claim"
    categories: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> CategoriesPlan:
        spelled = list(self.spellings) if self.categories else []
        repeated = sorted({text for text in spelled if spelled.count(text) > 1})
        both = sorted(set(spelled) & {_folded(text) for text in self.unknown})
        if repeated or both:
            raise ValueError(f"attribute {self.name!r}: {repeated or both} stand for more than one thing")
        return self

    @property
    def spellings(self) -> list[str]:
        """All texts of all categories, folded; a text listed for its own category is there once."""
        return [text for name, texts in self.categories.items() for text in {_folded(t) for t in (name, *texts)}]

    @property
    def category_of(self) -> dict[str, str]:
        """Folded text -> category."""
        return {_folded(text): name for name, texts in self.categories.items() for text in (name, *texts)}


class IntersectionPlan(Settings):
    """Attributes whose combinations are categories too."""

    of: tuple[str, ...] = Field(min_length=2)
    role: Literal["claim", "exploratory"] = "claim"


class SmallCategoriesPlan(Settings):
    """Which categories the published ratio leaves out; see `rlhf_fair.metrics.impact_ratio.ImpactRatioOptions`."""

    leave_out_below: float = Field(0.0, ge=0, le=SMALL_CATEGORY)
    justification: str = ""

    @model_validator(mode="after")
    def _justified(self) -> SmallCategoriesPlan:
        if self.leave_out_below and not self.justification.strip():
            raise ValueError("leave_out_below needs a justification: the law wants it published")
        return self


class PublicationPlan(Settings):
    """What 6 RCNY 5-303 wants published beside the numbers; an entry left empty is listed as not stated.

    ``data_source``: historical data of the tool's use, or test data where there are not enough of those.
    """

    tool: str = ""
    distributed_on: str = ""
    audited_on: str = ""
    auditor: str = ""
    data_source: Literal["", "historical data", "test data"] = ""
    data_explanation: str = ""


class SelectionRatesPlan(Plan):
    """The whole plan.

    Categories of fewer than ``min_people`` with an outcome are published and not compared; the highest is then the
    highest of the others. ``most_rejected``: the audit refuses a file of which a larger share of rows cannot be used.
    """

    applicants: ApplicantsPlan
    attributes: tuple[CategoriesPlan, ...] = Field(min_length=1)
    intersections: tuple[IntersectionPlan, ...] = ()
    small_categories: SmallCategoriesPlan = SmallCategoriesPlan()
    publication: PublicationPlan = PublicationPlan()
    policy: Policy = Policy(threshold=0.8, margin=0.8, better="one")
    min_people: int = Field(10, ge=2)
    most_rejected: float = Field(0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _named_things_exist(self) -> SelectionRatesPlan:
        names = [attribute.name for attribute in self.attributes]
        columns = [a.column for a in self.attributes] + [self.applicants.outcome]
        for what, values in (("attribute names", names), ("columns", columns)):
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"{what} {repeated} occur more than once")
        if reserved := sorted({*names} & {"outcome", "cluster"}):
            raise ValueError(f"attribute name {reserved[0]!r} is taken; allowed: any but 'outcome' and 'cluster'")
        for crossed in self.intersections:
            if strange := [name for name in crossed.of if name not in names]:
                raise ValueError(f"intersections name {strange[0]!r}; allowed: {names}")
            if len(set(crossed.of)) < len(crossed.of):
                raise ValueError(f"intersection {list(crossed.of)} names an attribute twice")
        if self.limits_of_ratio.better != "one":
            raise ValueError("the policy's limits must be those of a ratio: better = 'one'")
        return self

    @property
    def limits_of_ratio(self) -> Limits:
        """Threshold and margin of the impact ratio."""
        return self.policy.limits(IMPACT_RATIO)

    def attribute(self, name: str) -> CategoriesPlan:
        """The attribute of that name."""
        return next(attribute for attribute in self.attributes if attribute.name == name)


def load_selection_rates_plan(plan: str | Path) -> SelectionRatesPlan:
    """Read and check a plan."""
    settings = load_plan(plan, SelectionRatesPlan)
    if settings.probe != SELECTION_RATES:
        raise SettingsError(f"plan {plan}: probe = {settings.probe!r}; allowed: {SELECTION_RATES!r}")
    return settings


def _folded(text: str) -> str:
    return text.strip().casefold()
