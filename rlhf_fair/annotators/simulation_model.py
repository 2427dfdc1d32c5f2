"""The model behind simulated annotators: a TOML file, or these defaults. Effects are in units of the latent scale.

Rater r of group g at their t-th task looks at item i and feels

    y* = u[g, i] + beta_r · x_i + leniency_r(t) + temperature_r(t) · e,    u[g, i] = shift_g + a_i + b[g, i]

with e logistic (the cumulative logit of McCullagh 1980) or standard normal (probit). A *rating* is the number of
thresholds below y*; a *scalar* is y* itself, moved and stretched to its unit. For a *pair*, y* is the lead of response
a over b: a wins above ``tie``, b below ``-tie``, and between them it is a tie. With the logistic e at temperature 1
that is Bradley-Terry with the ties of Rao and Kupper (1967), P(a) = π_a / (π_a + θ π_b) with θ = exp(tie); with ``tie``
0 it is Bradley-Terry itself. Which response is called a means nothing, so there leniency gives way to ``first_shown``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_fair.settings import Settings, read_toml

Spread = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Hazard = Annotated[float, Field(ge=0, lt=1)]
Growth = Annotated[float, Field(ge=-5, le=5)]
Link = Literal["logit", "probit"]
CARELESS_STYLES = ("first_shown", "straight_line", "random", "copy")


class FeatureSettings(Settings):
    """What raters make of the items' column ``feature.NAME`` (for a pair: of a minus b).

    ``mean``: the coefficient of groups not named in ``groups``; ``sd``: between raters of one group.
    """

    mean: Number = 0.0
    sd: Spread = 0.0
    groups: dict[str, Number] = Field(default_factory=dict)


class PreferenceSettings(Settings):
    """``item_sd``: of a_i, what all groups see alike; ``group_item_sd``: of b[g, i], in which groups differ."""

    item_sd: Spread = 1.0
    group_item_sd: Spread = 0.0
    features: dict[str, FeatureSettings] = Field(default_factory=dict)


class AnswerSettings(Settings):
    """The form of an answer.

    Ratings: increasing ``thresholds``, one fewer than ``values`` (default 1, 2, ...). Pairs: ``tie`` >= 0 and, where
    strengths are asked for, ``strengths``: how large a lead must be to be called 2, then 3 (1 is any lead above
    ``tie``). Scalars: ``location + unit · y*``.
    """

    kind: Literal["rating", "pair", "scalar"] = "rating"
    link: Link = "logit"
    thresholds: tuple[Number, ...] = Field(default=(-2.0, -0.7, 0.7, 2.0), min_length=1)
    values: tuple[Number, ...] = ()
    tie: Spread = 0.0
    strengths: tuple[Number, ...] = Field(default=(), max_length=2)
    location: Number = 0.0
    unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> AnswerSettings:
        for name in ("thresholds", "values", "strengths"):
            steps = getattr(self, name)
            if any(low >= high for low, high in pairwise(steps)):
                raise ValueError(f"{name} = {list(steps)}; allowed: increasing numbers")
        if self.values and len(self.values) != len(self.thresholds) + 1:
            raise ValueError(
                f"{len(self.values)} values and {len(self.thresholds)} thresholds; allowed: one value more"
            )
        if self.strengths and self.strengths[0] <= self.tie:
            raise ValueError(f"strengths start at {self.strengths[0]}; allowed: above tie = {self.tie}")
        return self

    @property
    def scale(self) -> tuple[float, ...]:
        """The values of a rating, lowest first."""
        return self.values or tuple(float(step) for step in range(1, len(self.thresholds) + 2))


class RaterSettings(Settings):
    """How raters of one group differ.

    ``leniency_sd``: of leniency_r; ``temperature``: its median, ``temperature_sd``: of its logarithm;
    ``stretch_sd``: of the logarithm of the factor by which a rater's thresholds lie further from (above 1: avoids the
    ends of the scale) or closer to their middle. ``first_shown``: what being shown first adds to a response of a pair,
    with its own standard deviation between raters.
    """

    leniency_sd: Spread = 0.5
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    temperature_sd: Spread = 0.0
    stretch_sd: Spread = 0.0
    first_shown: Number = 0.0
    first_shown_sd: Spread = 0.0


class DriftSettings(Settings):
    """Change over 100 tasks of one rater: of leniency (``leniency_sd`` between raters), of log temperature (fatigue:
    above 0) and of log seconds (practice: below 0)."""

    leniency: Number = 0.0
    leniency_sd: Spread = 0.0
    log_temperature: Growth = 0.0
    log_seconds: Growth = 0.0


class CarelessSettings(Settings):
    """Raters who at times do not read.

    ``share`` of raters; each of them is careless for ``time`` of their tasks, in stretches of ``stretch`` tasks on
    average (a two-state Markov chain). What they do then, one habit a person, drawn by these weights: ``first_shown``
    (the first response; the lowest step; a scalar of 0), ``straight_line`` (always one place or step), ``random``,
    ``copy`` (answer and time of one other rater, where that rater did the item).
    """

    share: Share = 0.0
    time: Annotated[float, Field(gt=0, le=1)] = 1.0
    stretch: Annotated[float, Field(ge=1)] = 20.0
    first_shown: Spread = 1.0
    straight_line: Spread = 1.0
    random: Spread = 1.0
    copy_: Spread = Field(default=0.0, alias="copy")

    @model_validator(mode="after")
    def _possible(self) -> CarelessSettings:
        if sum(self.weights) <= 0:
            raise ValueError(f"weights {list(self.weights)}; allowed: at least one of {CARELESS_STYLES} above 0")
        if self.time < 1 and self.stretch * (1 - self.time) < 1:
            raise ValueError(f"stretch = {self.stretch:g}; allowed: at least 1 / (1 - time) = {1 / (1 - self.time):g}")
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """In the order of `CARELESS_STYLES`."""
        return (self.first_shown, self.straight_line, self.random, self.copy_)


class TimingSettings(Settings):
    """Seconds for an answer, log-normal: medians, and standard deviations of the log between and within raters."""

    median_seconds: Annotated[float, Field(gt=0)] = 20.0
    between_sd: Spread = 0.4
    within_sd: Spread = 0.5
    careless_median_seconds: Annotated[float, Field(gt=0)] = 1.5


class LeavingSettings(Settings):
    """Drop-out: the chance to leave before a task, ``hazard``, times exp(``per_100_done`` · tasks done / 100 +
    ``per_100_assigned`` · tasks assigned / 100), at most 1."""

    hazard: Hazard = 0.0
    per_100_done: Growth = 0.0
    per_100_assigned: Growth = 0.0


class DisclosureSettings(Settings):
    """Shares of raters whose attribute reads ``prefer_not_to_say``, or is empty."""

    prefer_not_to_say: Share = 0.0
    missing: Share = 0.0

    @model_validator(mode="after")
    def _at_most_all(self) -> DisclosureSettings:
        if self.prefer_not_to_say + self.missing > 1:
            raise ValueError(f"prefer_not_to_say + missing = {self.prefer_not_to_say + self.missing:g}; allowed: <= 1")
        return self


class GroupSettings(Settings):
    """One group: ``shift`` of all its views, and what replaces the number that holds for everybody (left out: that)."""

    shift: Number = 0.0
    leniency_sd: Spread | None = None
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    careless_share: Share | None = None
    hazard: Hazard | None = None
    prefer_not_to_say: Share | None = None
    missing: Share | None = None


class AnnotatorModel(Settings):
    """Everything a simulation assumes; a section or group left out keeps its defaults.

    Groups go by the labels of the panel's attribute, crossed ones joined by ``*``.

    >>> AnnotatorModel.model_validate({"groups": {"woman": {"shift": 0.4}}}).groups["woman"].shift
    0.4
    """

    preferences: PreferenceSettings = PreferenceSettings()
    answers: AnswerSettings = AnswerSettings()
    raters: RaterSettings = RaterSettings()
    drift: DriftSettings = DriftSettings()
    careless: CarelessSettings = CarelessSettings()
    timing: TimingSettings = TimingSettings()
    leaving: LeavingSettings = LeavingSettings()
    disclosure: DisclosureSettings = DisclosureSettings()
    groups: dict[str, GroupSettings] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> AnnotatorModel:
        """From a TOML file; an unknown key or a value out of range is an error that names it and what is allowed."""
        return read_toml(path, cls, "annotator model")

    def with_shifts(self, shifts: dict[str, float]) -> AnnotatorModel:
        """The same model with these groups' ``shift``; groups not named keep theirs."""
        own = {name: self.groups.get(name, GroupSettings()) for name in {**self.groups, **shifts}}
        moved = {name: g.model_copy(update={"shift": shifts.get(name, g.shift)}) for name, g in own.items()}
        return self.model_copy(update={"groups": moved})
