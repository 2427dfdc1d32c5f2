"""What a further round does, and how far anything may drift from one round to the next."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rlhf_fair.annotators.selection_coverage import AtLeast
from rlhf_fair.annotators.selection_heads import HeadSettings
from rlhf_fair.errors import SettingsError
from rlhf_fair.pipeline import QUICK_PIPELINE, PipelineSettings
from rlhf_fair.settings import Settings


class SelectionSettings(Settings):
    """Which of a round's new pairs are judged.

    ``candidates`` pairs are written and ``budget`` of them judged. ``strategy``: ``fisher`` (information about the
    reward model's last layer), ``disagreement`` (of heads that fit the labels so far) or ``random``. ``at_least``:
    minimums for groups of prompts in the form of ``panel select``, over the columns ``groups``: ``0.1`` gives every
    group a tenth of the budget at least. ``explore``: share of the budget that is drawn at random all the same.
    """

    candidates: int = Field(6_000, ge=2)
    budget: int = Field(3_000, ge=2)
    strategy: Literal["fisher", "disagreement", "random"] = "disagreement"
    groups: tuple[str, ...] = ("gender", "ethnicity")
    at_least: tuple[str, ...] = ("0.1",)
    explore: float = Field(0.1, ge=0, le=1)
    logit_sd: float = Field(2.0, gt=0)
    members: int = Field(16, ge=2)

    @property
    def rules(self) -> tuple[AtLeast, ...]:
        """The minimums, read."""
        return tuple(AtLeast.parse(text) for text in self.at_least)

    @property
    def heads(self) -> HeadSettings:
        """The prior of the heads that selection reasons with."""
        return HeadSettings(self.logit_sd, self.members)

    @field_validator("at_least")
    @classmethod
    def _are_minimums(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                AtLeast.parse(text)
            except SettingsError as error:
                raise ValueError(str(error).removeprefix("--")) from error
        return texts

    @model_validator(mode="after")
    def _fit_together(self) -> SelectionSettings:
        if self.budget > self.candidates:
            raise ValueError(f"budget = {self.budget} is more than the {self.candidates} candidates")
        if self.at_least and not self.groups:
            raise ValueError("at_least needs groups, the columns whose groups it is about")
        if self.strategy == "random" and "explore" in self.model_fields_set and self.explore:
            raise ValueError("explore is for fisher and disagreement: random draws all of the budget")
        return self


class DriftLimits(Settings):
    """How far a change may go before it counts; each limit serves as threshold and as margin.

    ``gap`` (growth of an absolute gap) and ``level`` (mean certifying score, either way) are in the plan's unit; None
    takes the plan's threshold. ``accuracy``: loss on old pairs. ``length``: tokens, either way. ``refusals``: share of
    answers, either way. ``kl``: growth of the divergence from the SFT model, nats per answer.
    """

    gap: float | None = Field(None, gt=0)
    level: float | None = Field(None, gt=0)
    accuracy: float = Field(0.03, gt=0)
    length: float = Field(4.0, gt=0)
    refusals: float = Field(0.02, gt=0)
    kl: float = Field(3.0, gt=0)


class RoundSettings(Settings):
    """Rounds after the first, which is the plain pipeline.

    ``count``: rounds in all. ``panel``: ``kept`` asks the first round's members again, ``planned`` draws new ones from
    the same pool.

    ``window``: the reward model of a round learns from the preferences of so many latest rounds; None: of all.
    ``ageing``: weight of a judgement relative to one a round younger; 1 weighs all alike, less forgets.

    ``reference``: from where PPO prices the KL divergence. ``sft`` holds all rounds together to one distance from the
    model that was vetted: right where the reward model is what cannot be trusted far from home, and where a certificate
    is about SFT. ``last`` gives every round a distance of its own: right where each round's pairs come from the policy
    itself, so that its reward model knows the new place, and the first distance is used up; then it is the alarm on the
    KL divergence from SFT that says how far all rounds together have gone.

    ``ppo_steps``: of a later round; None: as many as the first. ``on_alarm``: ``stop`` starts no further round after
    one in which a change exceeds its limit. ``since_first``: changes are judged against the first round too, since
    small steps add up.

    ``spending``: how the error rate is shared out over rounds, see `rlhf_fair.stats.alpha_spending`.
    """

    count: int = Field(2, ge=1)
    selection: SelectionSettings = SelectionSettings()
    panel: Literal["kept", "planned"] = "planned"
    window: int | None = Field(None, ge=1)
    ageing: float = Field(1.0, gt=0, le=1)
    reference: Literal["sft", "last"] = "sft"
    ppo_steps: int | None = Field(None, ge=1)
    on_alarm: Literal["go on", "stop"] = "go on"
    since_first: bool = True
    spending: Literal["open", "even"] = "open"
    limits: DriftLimits = DriftLimits()


class RoundsConfig(Settings):
    """World, audit, sizes of the first round, and what further rounds do.

    ``bias`` scales what is planted in the world. ``plan`` is the audit that measures every stage of every round: its
    names, templates and scorer take no part in training.
    """

    world: Literal["demo"] = "demo"
    bias: float = Field(1.0, ge=0)
    plan: str = "hiring"
    pipeline: PipelineSettings = PipelineSettings()
    rounds: RoundSettings = RoundSettings()

    def made_of(self) -> dict[str, Any]:
        """What the trained stages depend on, as plain JSON: not how many rounds there are or how they are judged."""
        judged = {"count", "on_alarm", "since_first", "spending", "limits"}
        return self.model_dump(mode="json", exclude={"rounds": judged})


QUICK: dict[str, Any] = {
    "pipeline": QUICK_PIPELINE,
    "selection": SelectionSettings(candidates=64, budget=32, members=4),
}
"""Sizes with which everything runs within a minute and nothing is learnt: to try a command, never to read numbers."""
