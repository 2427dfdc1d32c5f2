"""An audit's plan: the question and the thresholds, fixed before anything is measured.

A plan is a folder with a ``plan.toml``, the file itself, or the name of an audit that ships with the package.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

import rlhf_fair
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.probes.missing import REFUSALS, UNMEASURED
from rlhf_fair.records import Better
from rlhf_fair.settings import Settings, read_toml, read_toml_table
from rlhf_fair.stats.equivalence import check_limits

PLAN_NAME = "plan.toml"


class Limits(Settings):
    """Where a metric exceeds and where it is within, fixed before anything is measured; in the unit of the metric.

    ``better = "zero"`` (a gap): an interval wholly beyond ``threshold`` exceeds, one wholly inside ``margin`` is
    within. ``"one"`` (a ratio): the same on both sides of 1, as in 0.8 and 1/0.8. ``"high"``, ``"low"``: exceeds on the
    wrong side of ``threshold``, within on the right side of ``margin``. See `rlhf_fair.stats.equivalence`.
    """

    threshold: float
    margin: float
    better: Better = "zero"

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        try:
            check_limits(threshold=self.threshold, margin=self.margin, better=self.better)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self


GAPS_IN_ANSWERS = {name: Limits(threshold=0.05, margin=0.05) for name in (REFUSALS, UNMEASURED)}
"""Metric -> limits where a plan names none: five of a hundred answers more are refused, or not measured."""


class Judging(Settings):
    """What counts as a finding: limits for each metric (``[policy.metrics.NAME]``); ``rationale`` says why these.

    ``min_measured``: a number that a smaller share of the compared rows entered, in either group, is never within: it
    speaks for those that were measured only, and what the others say is unknown. 0 lets everything pass.
    ``minimum_n``: a number from fewer rows is inconclusive, whichever way it points. ``correction``: of the p-values of
    claims; there is one so far, and a policy may name it. ``owner`` answers for the policy, which wants a fresh look
    after ``expires``.
    """

    alpha: float = Field(0.05, gt=0, lt=0.5)
    power: float = Field(0.8, gt=0.5, lt=1)
    min_measured: float = Field(0.9, ge=0, le=1)
    minimum_n: int = Field(0, ge=0)
    correction: Literal["holm"] = "holm"
    rationale: str = ""
    owner: str = ""
    expires: date | None = None
    metrics: dict[str, Limits] = Field(default_factory=dict)

    def expired(self, today: date) -> bool:
        """Whether the policy wants a fresh look on ``today``."""
        return self.expires is not None and self.expires < today

    def limits(self, metric: str) -> Limits:
        """The limits of one metric, which must have some."""
        return self.metrics[metric] if metric in self.metrics else GAPS_IN_ANSWERS[metric]

    def judges(self, metric: str) -> bool:
        """Whether a metric has limits."""
        return metric in self.metrics or metric in GAPS_IN_ANSWERS


class Policy(Judging, Limits):
    """Limits at the top hold for every metric that has none of its own."""

    def limits(self, metric: str) -> Limits:
        """The limits of one metric."""
        return self.metrics.get(metric, GAPS_IN_ANSWERS.get(metric, self))

    def judges(self, metric: str) -> bool:
        """All do."""
        return True


class Plan(Settings):
    """The part that every audit's plan has; an audit with settings of its own extends this class."""

    title: str
    question: str
    probe: str
    policy: Policy
    limits: tuple[str, ...] = ()


P = TypeVar("P", bound=Plan)


def shipped_audits() -> dict[str, Path]:
    """Name -> plan file of the audits that come with the package.

    A folder's ``plan.toml`` goes by the folder's name; another plan in it, ``crehate.toml``, by ``folder/crehate``.
    """
    package = Path(rlhf_fair.__file__).parent
    for root in (package / "shipped_audits", package.parent / "audits"):
        if root.is_dir():
            folders = [folder for folder in sorted(root.iterdir()) if (folder / PLAN_NAME).is_file()]
            return {name: file for folder in folders for name, file in _plans_in(folder).items()}
    return {}


def _plans_in(folder: Path) -> dict[str, Path]:
    others = [path for path in sorted(folder.glob("*.toml")) if path.name != PLAN_NAME]
    # a folder may hold other settings too, such as a training config; only a plan names its probe
    plans = {f"{folder.name}/{path.stem}": path for path in others if "probe" in read_toml_table(path, "plan")}
    return {folder.name: folder / PLAN_NAME} | plans


def find_plan(plan: str | Path) -> Path:
    """The ``plan.toml`` that ``plan`` (folder, file or shipped name) stands for."""
    path = Path(plan)
    if path.is_file():
        return path
    if (path / PLAN_NAME).is_file():
        return path / PLAN_NAME
    shipped = shipped_audits()
    if str(plan) in shipped:
        return shipped[str(plan)]
    raise MissingFileError(plan, "audit plan", f"a folder with {PLAN_NAME}, a file, or one of: {', '.join(shipped)}")


def report_name(plan_file: Path) -> str:
    """The folder of an audit below that of the reports: ``hiring``, or ``panel-feedback-crehate`` for ``crehate.toml``.

    A plan file given without a folder goes by its own name. Never one inside another: a manifest speaks for all that
    lies below it.
    """
    if plan_file.name == PLAN_NAME:
        return plan_file.resolve().parent.name
    folder = plan_file.parent.name
    return f"{folder}-{plan_file.stem}" if folder else plan_file.stem


def load_plan(plan: str | Path, model: type[P]) -> P:
    """Read and check a plan; see `find_plan` for what ``plan`` may be."""
    return read_toml(find_plan(plan), model, "plan")
