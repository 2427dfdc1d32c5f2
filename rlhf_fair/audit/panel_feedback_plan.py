"""The plan of the audit ``panel-feedback``: where a ratings file keeps what, and which rater groups are claims."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rlhf_fair.audit.plan import Plan, load_plan
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import Settings
from rlhf_fair.stats.agreement import Level

PANEL_FEEDBACK = "panel_feedback"
FEEDBACK_FORMAT = "feedback"


class RatingsPlan(Settings):
    """The ratings table.

    ``files`` are relative to ``--data-dir`` and read one below the other; ``--feedback`` replaces them. Several
    ``item`` columns are joined. ``lists`` names columns whose cells hold aligned lists, one rating per element;
    ``answers`` the one column whose cells hold an object rater -> rating, which become the columns ``annotator`` and
    ``value``. ``keyed``: the file is one JSON object, name -> row, and the names become the column of this name.
    ``values`` maps cell texts to numbers (empty: cells are numbers), ``no_rating`` are texts of raters who did not
    decide, ``missing`` texts that stand for an empty cell in any column. ``low`` and ``high`` are the ends of the
    scale. ``format = "feedback"`` reads the project's own table instead of named columns.
    """

    format: Literal["columns", "feedback"] = "columns"
    files: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    item_is_text: bool = False
    annotator: str = ""
    value: str = ""
    values: dict[str, float] = Field(default_factory=dict)
    no_rating: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    lists: tuple[str, ...] = ()
    answers: str = ""
    keyed: str = ""
    weight: str = ""
    name: str = "mean rating"
    level: Level = "interval"

    @field_validator("item", mode="before")
    @classmethod
    def _one_item_column(cls, item: object) -> object:
        return (item,) if isinstance(item, str) else item

    @model_validator(mode="after")
    def _complete(self) -> RatingsPlan:
        if self.format == FEEDBACK_FORMAT:
            return self
        for name in ("item", "value"):
            if not getattr(self, name):
                raise ValueError(f"key {name!r} is needed: the column that holds it")
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("keys 'low' and 'high' are needed, low < high: the ends of the scale")
        if self.answers and (self.lists or not self.annotator):
            raise ValueError("key 'answers' needs 'annotator', a name for the column of raters, and no 'lists'")
        return self

    @property
    def two_valued(self) -> bool:
        """True where a rating can only be the one or the other end of the scale: a mean score is a rate in percent.

        The plan decides, not the ratings: a scale of five points does not become a rate where all raters choose 1.
        """
        return self.format != FEEDBACK_FORMAT and {*self.values.values()} == {self.low, self.high}


class RatersPlan(Settings):
    """A separate table with one row per rater, joined by ``key`` to the ratings' annotator column.

    ``keyed``: the file is one JSON object, rater -> row, and the names become the column ``key``. ``prefix`` is what
    the ratings write before a rater's key: raters ``Ann7`` and a table with the row ``7`` have the prefix ``Ann``.
    """

    file: str
    key: str
    keyed: bool = False
    prefix: str = ""
    missing: tuple[str, ...] = ()


class ItemTypePlan(Settings):
    """What kind of item was rated. ``fill``: a type that only some rows of an item carry holds for all its rows."""

    column: str
    name: str = "item type"
    reference: str
    levels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    prefixes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    fill: bool = False


class AttributePlan(Settings):
    """One attribute of the raters.

    ``levels``: group -> the spellings that mean it, compared without case and outer spaces; a text that is not listed
    becomes ``other/unmapped``. ``bins``: group -> [low, high) for numbers. Neither: texts are the groups.
    ``prefer_not_to_say`` are refusals, a group of their own; ``missing`` and empty cells are unknown.
    """

    name: str
    column: str
    reference: str
    role: Literal["claim", "exploratory"] = "exploratory"
    levels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    bins: dict[str, tuple[float, float]] = Field(default_factory=dict)
    prefer_not_to_say: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    interaction: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> AttributePlan:
        if self.levels and self.bins:
            raise ValueError(f"attribute {self.name!r} has both 'levels' and 'bins'; allowed: one of them")
        named = [*self.levels, *self.bins]
        if named and self.reference not in named:
            raise ValueError(f"attribute {self.name!r}: reference {self.reference!r} is none of its groups {named}")
        spellings = [text.strip().lower() for texts in self.levels.values() for text in texts]
        repeated = sorted({text for text in spellings if spellings.count(text) > 1})
        if repeated:
            raise ValueError(f"attribute {self.name!r}: {repeated} stand in more than one group")
        for group, (low, high) in self.bins.items():
            if not low < high:
                raise ValueError(f"attribute {self.name!r}: bin {group!r} = [{low:g}, {high:g}) is empty")
        return self


class AgreementPlan(Settings):
    """Agreement inside groups; ``few_raters``: below this many the report warns that little could have been seen."""

    permutations: int = Field(999, ge=99)
    seed: int = 0
    few_raters: int = Field(50, ge=2)


class FeedbackPlan(Plan):
    """The whole plan. Groups with fewer than ``min_raters`` raters are shown as not measured.

    ``records_k``: a rater's attributes are withheld in ``records.parquet`` if fewer raters share all of them; 1 keeps
    all.
    """

    ratings: RatingsPlan
    raters: RatersPlan | None = None
    item_type: ItemTypePlan | None = None
    attributes: tuple[AttributePlan, ...] = ()
    intersections: tuple[tuple[str, ...], ...] = ()
    min_raters: int = Field(10, ge=2)
    records_k: int = Field(5, ge=1)
    agreement: AgreementPlan = AgreementPlan()

    @model_validator(mode="after")
    def _named_things_exist(self) -> FeedbackPlan:
        names = [attribute.name for attribute in self.attributes]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"attribute names {repeated} occur more than once")
        if not names and self.ratings.format != FEEDBACK_FORMAT:
            raise ValueError("no [[attributes]]: name at least one attribute of the raters")
        for crossed in self.intersections:
            for name in crossed:
                if name not in names:
                    raise ValueError(f"intersections name {name!r}; allowed: {names}")
            if len(set(crossed)) < 2:
                raise ValueError(f"intersection {list(crossed)} needs two different attributes")
        if self.raters is not None and not self.ratings.annotator:
            raise ValueError("[raters] needs ratings.annotator, the column to join it by")
        return self

    def attribute(self, name: str) -> AttributePlan:
        """The attribute of that name."""
        return next(attribute for attribute in self.attributes if attribute.name == name)


def load_feedback_plan(plan: str | Path) -> FeedbackPlan:
    """Read and check a plan."""
    settings = load_plan(plan, FeedbackPlan)
    if settings.probe != PANEL_FEEDBACK:
        raise SettingsError(f"plan {plan}: probe = {settings.probe!r}; allowed: {PANEL_FEEDBACK!r}")
    return settings
