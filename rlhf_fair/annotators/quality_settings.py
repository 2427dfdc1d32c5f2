"""Thresholds of quality control, declared before the data are looked at: a TOML file, or these defaults.

Every check is about how somebody worked (known answers, time, copies, the place on the screen) and none about whether
they agree with others: there is no key for that on purpose.
"""

from __future__ import annotations

from pydantic import Field

from rlhf_fair.settings import Settings


class GoldSettings(Settings):
    """Items with a known answer. Excluded: true share correct below ``minimum_share`` at level ``alpha``."""

    minimum_answers: int = Field(default=4, ge=1)
    minimum_share: float = Field(default=0.7, gt=0, lt=1)
    alpha: float = Field(default=0.01, gt=0, lt=1)
    tolerance: float = Field(default=0.0, ge=0)
    """A rating this close to the known one is correct."""
    excludes: bool = True


class TimingSettings(Settings):
    """Column ``seconds``. Excluded: more than ``largest_share`` of the answers took less than ``minimum_seconds``."""

    minimum_answers: int = Field(default=5, ge=1)
    minimum_seconds: float = Field(default=1.0, gt=0)
    largest_share: float = Field(default=0.5, gt=0, lt=1)
    alpha: float = Field(default=0.01, gt=0, lt=1)
    excludes: bool = True


class DuplicateSettings(Settings):
    """Copied records: one other id's answers *and* ``seconds``, item by item, or one text pasted about.

    Equal answers alone are no copy. Excluded: at least ``minimum_answers`` copies, more than ``largest_share`` of all.
    """

    minimum_answers: int = Field(default=10, ge=1)
    largest_share: float = Field(default=0.5, gt=0, lt=1)
    shortest_text: int = Field(default=20, ge=1)
    """Texts of fewer characters may well be equal by chance."""
    excludes: bool = True


class StraightLiningSettings(Settings):
    """Pairs (with ``order``): always the same place on the screen. Ratings: always the same value.

    Excluded by place: the true share of the favoured place is above ``largest_share`` at level ``alpha``. A constant
    rating can be an honest opinion, so ratings are only marked for a look (``excludes_ratings``).
    """

    minimum_answers: int = Field(default=10, ge=1)
    largest_share: float = Field(default=0.8, gt=0.5, lt=1)
    alpha: float = Field(default=0.01, gt=0, lt=1)
    excludes: bool = True
    excludes_ratings: bool = False


class QualityAuditSettings(Settings):
    """What the control is held to, and the honest world it is tried on.

    ``largest_gap``: between a group's false-exclusion rate and that of the others. Simulated: ``raters`` honest ones,
    ``minority_share`` of whom prefer the other response on ``contested_share`` of the items (and of the gold items, in
    the scenario of contested gold), ``answers`` each of which ``gold_answers`` are gold; ``attention``: chance that an
    honest rater gets an uncontested item as they mean it; ``minority_speed``: the minority's pace in the scenario of
    fast readers; ``careless`` raters besides, who take what is shown first.
    """

    largest_gap: float = Field(default=0.05, gt=0, lt=1)
    simulations: int = Field(default=100, ge=1)
    raters: int = Field(default=60, ge=4)
    minority_share: float = Field(default=0.2, gt=0, lt=1)
    contested_share: float = Field(default=0.3, ge=0, le=1)
    answers: int = Field(default=40, ge=1)
    gold_answers: int = Field(default=8, ge=0)
    attention: float = Field(default=0.95, gt=0.5, lt=1)
    minority_speed: float = Field(default=3.0, gt=0)
    median_seconds: float = Field(default=8.0, gt=0)
    careless: int = Field(default=15, ge=0)


class QualitySettings(Settings):
    """The sections of a quality file; a section left out keeps its defaults."""

    gold: GoldSettings = GoldSettings()
    timing: TimingSettings = TimingSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    straight_lining: StraightLiningSettings = StraightLiningSettings()
    audit: QualityAuditSettings = QualityAuditSettings()
