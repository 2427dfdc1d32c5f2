"""The config of ``rlhf-fair train reward``: which model, which data with which columns, which panel, how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_fair.models.chat_template import Chat
from rlhf_fair.settings import Settings
from rlhf_fair.training.reward.mitigations import (
    GradientReversal,
    GroupBalance,
    Groups,
    Heads,
    Mitigation,
    Swaps,
    WeightsOfGroups,
)
from rlhf_fair.training.reward.settings import RewardSettings, TreeSettings

ObjectiveName = Literal["rating", "preference", "ordinal", "classification"]
"""rating: squared error. preference: Bradley-Terry. ordinal: cumulative logits of grades. classification: one head for
each possible rating, the reward being the rating to be expected."""


class TextTable(Settings):
    """A second table that holds the texts of rated items: one row per item."""

    path: str
    item: str = "item_id"
    text: str = "text"


class Attribute(Settings):
    """A rater attribute: its column, and how its values become the levels of the population's margins.

    ``edges`` cut a number into bands: ``labels[k]`` holds edges[k] <= x < edges[k + 1], the last one is open above.
    """

    column: str
    recode: dict[str, str] = Field(default_factory=dict)
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_label_per_band(self) -> Attribute:
        if len(self.edges) != len(self.labels) or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must rise, with one label each")
        return self


class RatingSource(Settings):
    """One row per rating of a text by a person.

    ``scale``: the ends of what a rater could answer; ratings are mapped from it to [0, 1].
    ``better``: whether a high or a low rating is the desired one; that end becomes 1, so the reward rises with it.
    ``no_answer``: ratings that mean "cannot say". ``missing``: cell texts that mean an empty cell.
    ``held_out`` false: all items serve training, except those whose text another source holds out.
    """

    format: Literal["ratings"]
    name: str
    path: str
    item: str = "item_id"
    rater: str = "rater_id"
    rating: str = "rating"
    text: str = "text"
    texts: TextTable | None = None
    scale: tuple[float, float]
    better: Literal["high", "low"]
    allowed: tuple[float, ...] = ()
    no_answer: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    attributes: dict[str, Attribute] = Field(default_factory=dict)
    held_out: bool = True
    weight: float = Field(1.0, gt=0)
    virtue: str = "reward"

    @model_validator(mode="after")
    def _scale_rises(self) -> RatingSource:
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} must be [lowest, highest]")
        return self


class PairSource(Settings):
    """Preference pairs: ``hh_rlhf`` JSONL {chosen, rejected}, or a table prompt, response_a, response_b, p_a.

    The table may have a ``weight`` and a ``margin`` (by how much the better answer's reward should lead, at least 0).
    """

    format: Literal["hh_rlhf", "pairs"]
    name: str
    path: str
    separator: str = "\n"
    missing: tuple[str, ...] = ()
    held_out: bool = True
    weight: float = Field(1.0, gt=0)
    virtue: str = "reward"


class FeedbackSource(Settings):
    """Choices of people: a feedback table (item_id, annotator_id, choice), the items (item_id, prompt, response_a,
    response_b) and, for groups and weights, the annotators (annotator_id, ``attr.*``, optionally weight).
    """

    format: Literal["feedback"]
    name: str
    path: str
    items: str
    annotators: str | None = None
    separator: str = "\n"
    held_out: bool = True
    weight: float = Field(1.0, gt=0)
    virtue: str = "reward"


class Panel(Settings):
    """Whom the raters should stand for: a census table of shares by age, race and sex; weights are trimmed."""

    census: str
    trim: float = Field(5.0, gt=1)


class Raters(Settings):
    """Whose judgements are learnt from: ``only`` gives levels by attribute, e.g. {gender = ["Female"]}.

    ``members`` is a table of raters, such as a planned panel: annotator_id, optionally ``source`` (the name of theirs)
    and ``weight``, which takes the place of other weights. The held-out test texts keep everybody's judgements, so
    models of different raters can be compared on them.
    """

    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    members: str | None = None

    @property
    def all_are_heard(self) -> bool:
        """Whether nobody's judgements are left out."""
        return not self.only and self.members is None

    @model_validator(mode="after")
    def _levels_are_named(self) -> Raters:
        if not all(self.only.values()):
            raise ValueError("raters.only: each attribute needs at least one level")
        return self


class Split(Settings):
    """Shares of the texts set aside, drawn by text: equal texts fall on the same side whatever their source.

    ``few``: of what is left for training only so many items, drawn at random; to see what few labels can do.
    """

    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    few: int | None = Field(None, ge=2)
    seed: int = Field(0, ge=0)


SourceSettings = Annotated[RatingSource | PairSource | FeedbackSource, Field(discriminator="format")]


class RewardConfig(Settings):
    """A whole training job; paths of data are relative to ``--data-dir``.

    ``chat``: whether prompts and answers of pairs are put into the model's chat template; auto: where it has one.

    ``learner``: neural fine-tunes ``model`` as ``[training]`` says. trees grows gradient-boosted trees over the mean
    token vectors of ``model``, which stays as it is, as ``[trees]`` says; of ``[training]`` it reads ``max_length`` and
    ``device``. Trees learn ratings, classes and preferences with one head; of the mitigations they know group_balance.

    ``groups`` names the ways in which rows are grouped, for heads, mitigations and the held-out table by group.

    ``target``, for ratings: what the reward learns. ``common_scale``: the rating in [0, 1], so that a text of one
    source can earn more than a text of another; standardised over all training items together, which serves the
    optimisation only. ``within_source``: the rating standardised over the training items of its own source, for scales
    that cannot be compared; the reward then ranks texts within a source only.
    """

    title: str
    model: str
    objective: ObjectiveName
    learner: Literal["neural", "trees"] = "neural"
    chat: Chat = "auto"
    target: Literal["common_scale", "within_source"] = "common_scale"
    sources: tuple[SourceSettings, ...] = Field(min_length=1)
    panel: Panel | None = None
    raters: Raters = Raters()
    split: Split = Split()
    groups: dict[str, Groups] = Field(default_factory=dict)
    heads: Heads = Heads()
    mitigations: tuple[Mitigation, ...] = ()
    training: RewardSettings = RewardSettings()
    trees: TreeSettings = TreeSettings()

    @property
    def rater_groups(self) -> str | None:
        """The name of the grouping by raters; there is at most one, since rows are split by it."""
        return next((name for name, groups in self.groups.items() if groups.of == "raters"), None)

    @property
    def truncation_side(self) -> Literal["left", "right"]:
        """Which end of a longer text is cut: of a dialogue the beginning, unless the config says otherwise."""
        return self.training.truncation_side or ("left" if self.objective == "preference" else "right")

    @property
    def learns_by_raters(self) -> bool:
        """Whether a head or a mitigation looks at rater groups; if none does, they serve the held-out table alone."""
        named = {self.heads.groups} | {m.groups for m in self.mitigations if not isinstance(m, Swaps)}
        return self.rater_groups is not None and self.rater_groups in named

    @model_validator(mode="after")
    def _sources_fit_the_objective(self) -> RewardConfig:
        pairs = self.objective == "preference"
        for source in self.sources:
            if isinstance(source, RatingSource) is pairs:
                raise ValueError(f"source {source.name!r} of format {source.format!r} does not fit {self.objective!r}")
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"source names must differ: {names}")
        return self

    @model_validator(mode="after")
    def _groups_are_declared(self) -> RewardConfig:
        uses = {f"mitigation {m.kind}": m.groups for m in self.mitigations if not isinstance(m, Swaps)}
        if self.heads.kind == "groups":
            uses["heads"] = self.heads.groups or ""
        for what, name in uses.items():
            if name not in self.groups:
                raise ValueError(f"{what}: groups = {name!r} is not one of [groups]: {sorted(self.groups)}")
        if sum(groups.of == "raters" for groups in self.groups.values()) > 1:
            raise ValueError(
                "only one of [groups] can be of raters: rows are split by it; cross the attributes instead"
            )
        if sum(isinstance(m, WeightsOfGroups) for m in self.mitigations) > 1:
            raise ValueError("group_balance and group_dro both set the weight of groups; choose one")
        several: dict[str, tuple[str, ...]] = {"ordinal": ("distribution", "objectives")}
        several["classification"] = ("distribution", "objectives", "ensemble", "groups")  # its heads are the classes
        if self.heads.kind in several.get(self.objective, ()):
            raise ValueError(f"heads of kind {self.heads.kind!r} do not fit objective {self.objective!r}")
        return self

    @model_validator(mode="after")
    def _nothing_is_said_in_vain(self) -> RewardConfig:
        if self.panel is not None and not any(isinstance(s, RatingSource) and s.attributes for s in self.sources):
            raise ValueError("[panel] weights raters by their attributes: it needs a source of ratings with attributes")
        if self.objective != "preference" and "chat" in self.model_fields_set and self.chat == "yes":
            raise ValueError("chat = 'yes' is for pairs of answers; ratings are of texts")
        return self

    @model_validator(mode="after")
    def _the_learner_can(self) -> RewardConfig:
        if self.learner == "neural":
            if "trees" in self.model_fields_set:
                raise ValueError("[trees] is read where learner = 'trees' only")
            if self.training.trainable == "head" and any(isinstance(m, GradientReversal) for m in self.mitigations):
                raise ValueError("gradient_reversal changes what the head reads, trainable = 'head' does not")
            return self
        asked = [f"objective {self.objective!r}"] if self.objective == "ordinal" else []
        asked += [f"heads of kind {self.heads.kind!r}"] if self.heads.kind != "one" else []
        asked += [f"mitigation {m.kind!r}" for m in self.mitigations if not isinstance(m, GroupBalance)]
        asked += [f"training.{name}" for name in sorted(self.training.model_fields_set - {"max_length", "device"})]
        if asked:
            raise ValueError(
                f"learner = 'trees' cannot do {', '.join(asked)}; it learns rating, classification or preference with "
                "one head, knows the mitigation 'group_balance', and reads max_length and device of [training]"
            )
        if self.trees.early_stopping and self.split.validation == 0:
            raise ValueError("trees.early_stopping needs split.validation above 0; or set trees.early_stopping = 0")
        return self
