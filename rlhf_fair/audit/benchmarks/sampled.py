"""What the benchmarks of sampled continuations have in common: prompts drawn, k answers to each, scorers, an account.

Records have one row per prompt and sample. They hold scores, flags, ids and groups, and no text that was generated.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rlhf_fair.audit.benchmarks.base import N_UPSTREAM, REASONS, Benchmark
from rlhf_fair.audit.benchmarks.rulers import Ruler, check_rulers
from rlhf_fair.audit.definitions import REFUSAL, gap_between_groups, label_definitions, level_of_group
from rlhf_fair.audit.source import Source
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.generation_scores import Part, Refusals, add_scores, score_columns
from rlhf_fair.probes.generations import generation_records, generation_requests, read_generations
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias_words import Attribute
from rlhf_fair.probes.scorers import ScorerPlan, open_classifier, open_scorer, score_range, scorer_inputs
from rlhf_fair.stats.no_change import Range
from rlhf_fair.tables import Quarantined

SENTIMENT = ScorerPlan(quantity="sentiment", kind="vader")
TOXICITY = ScorerPlan(quantity="toxicity", kind="toxic terms")
UNREAD = "no scorer could read the answer"


class Sampled(Benchmark):
    """``n_samples`` answers to every prompt, or to ``prompts_per_group`` prompts of each group (0: to all).

    Prompts are drawn by the plan's seed, so that a larger number holds the prompts of a smaller one. ``temperature`` 0
    takes the likeliest token, so there is one answer to ask for.
    """

    n_samples: int = Field(1, ge=1)
    max_new_tokens: int = Field(40, ge=1)
    temperature: float = Field(1.0, ge=0)
    prompts_per_group: int = Field(0, ge=0)

    predictions: ClassVar[str] = "item_id, text and, for several samples of an item, sample (from 0)"
    groups: ClassVar[tuple[str, ...]]
    """Columns of the items whose combinations are the groups of ``prompts_per_group``."""

    texts: ClassVar[tuple[str, ...]] = ("prompt",)
    """Columns of the items that records do without."""

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.n_samples > 1 and self.temperature == 0:
            raise ValueError(f"n_samples = {self.n_samples} at temperature 0 would be one answer several times")
        return self

    @abstractmethod
    def upstream(self, folder: Path) -> Quarantined:
        """All items of the benchmark, or of the part of it that the plan asks for."""

    @abstractmethod
    def scored(self, records: pd.DataFrame) -> pd.DataFrame:
        """``records`` with what is measured of each text; ``problem`` says of a text that could not be measured why."""

    def load(self, folder: Path) -> Quarantined:
        found = self.upstream(folder)
        items = drawn(found.table, self.groups, self.prompts_per_group, np.random.default_rng(self._context.seed))
        items.attrs[N_UPSTREAM] = len(found.table) + len(found.rejects)
        return Quarantined(items, found.rejects)

    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        decoding = Decoding(self.max_new_tokens, self.temperature, self._context.seed)
        answers = source.answers(generation_requests(items, self.n_samples), decoding)
        return self._kept(generation_records(items, answers, self.n_samples))

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        found = read_generations(items, table, self.n_samples)
        records = self._kept(found.table)
        codes = found.rejects["code"]
        records.attrs["predictions_without_item"] = int((codes == "unknown_id").sum())
        records.attrs["surplus_predictions"] = int((~codes.isin(["unknown_id", "duplicate"])).sum())
        return records

    def problems(self, records: pd.DataFrame) -> pd.Series:
        return records["problem"].replace(REASONS).astype("str")  # a refusal may have been scored as any other text

    def settings_text(self) -> dict[str, Any]:
        return super().settings_text() | {"prompts_per_group": self.prompts_per_group or "all"}

    def _kept(self, records: pd.DataFrame) -> pd.DataFrame:
        records.attrs = {}
        return self.scored(records).drop(columns=["text", *self.texts])


class Scored(Sampled):
    """``scorers``: what is measured, and by what; see `ScorerPlan`. ``labels``: each label of a classifier is a
    quantity of its own, such as ``regard_negative``. ``part`` and ``refusals``: what of an answer is scored, see
    `Scoring`. ``checked``: the attributes for which the scorers themselves are checked.
    """

    scorers: tuple[ScorerPlan, ...] = Field((SENTIMENT,), min_length=1)
    labels: bool = False
    part: Part = "continuation"
    refusals: Refusals = "left out"
    checked: tuple[Attribute, ...] = ("gender", "ethnicity")

    definitions: ClassVar[Mapping[str, str]] = {"refusal_gap": REFUSAL}
    prompt_column: ClassVar[str] = "prompt"
    """What "prompt" means in ``part``."""

    @model_validator(mode="after")
    def _scorers_differ(self) -> Self:
        names = [(scorer.quantity, scorer.name) for scorer in self.scorers]
        if repeated := [f"{quantity} by {name}" for quantity, name in names if names.count((quantity, name)) > 1]:
            raise ValueError(f"{repeated[0]} is asked for more than once")
        return self

    @property
    def shares(self) -> list[str]:
        """Quantities whose scores have the range [0, 1] by the kind of their scorer."""
        return [scorer.quantity for scorer in self.scorers if scorer.kind == "toxic terms"]

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """Quantity -> the lowest and the highest score by any of its scorers, as far as the plan alone tells."""
        found: dict[str, Range] = {}
        for scorer in self.scorers:
            low, high = score_range(scorer, self._context.folder)
            before = found.get(scorer.quantity, (low, high))
            found[scorer.quantity] = (min(low, before[0]), max(high, before[1]))
            if self.labels and scorer.kind == "classifier":
                found |= {f"{scorer.quantity}_{label}": (0.0, 1.0) for label in scorer.values}
        return found

    @cached_property
    def opened(self) -> Sequence[Ruler]:
        """The scorers, opened once."""
        return [self._open(number, scorer) for number, scorer in enumerate(self.scorers)]

    @property
    def leaves_out_refusals(self) -> bool:
        return self.refusals == "left out"

    def scored(self, records: pd.DataFrame) -> pd.DataFrame:
        for ruler in self.opened:
            records = add_scores(records, ruler.scoring(self.part, self.refusals, self.prompt_column))
        return with_problems(records, self.refusals)

    def rulers(self) -> Sequence[str]:
        return [name for ruler in self.opened for name in ruler.names()]

    def check_rulers(self) -> pd.DataFrame:
        return check_rulers(self.opened, self.checked)

    def inputs(self) -> dict[str, str]:
        folder = self._context.folder
        return {name: digest for scorer in self.scorers for name, digest in scorer_inputs(scorer, folder).items()}

    def finished(self) -> None:
        for number in range(len(self.scorers)):
            if (journal := self._journal(number)) is not None:
                journal.unlink(missing_ok=True)

    def settings_text(self) -> dict[str, Any]:
        said = {f"{scorer.quantity} by": scorer.name for scorer in self.scorers}
        return {name: value for name, value in super().settings_text().items() if name != "scorers"} | said

    def defines(self) -> Mapping[str, str]:
        """Of each quantity its gap and its level, by the rulers of the plan."""
        made = dict(self.definitions)
        for quantity in dict.fromkeys(scorer.quantity for scorer in self.scorers):
            rulers = [scorer for scorer in self.scorers if scorer.quantity == quantity]
            made |= {f"{quantity}_gap": gap_between_groups(rulers), f"mean_{quantity}": level_of_group(rulers)}
            if self.labels and (readers := [scorer for scorer in rulers if scorer.kind == "classifier"]):
                made |= label_definitions(quantity, readers)
        return made

    def in_units(self, measured: Sequence[Measured]) -> list[Measured]:
        """``measured`` with the units that the plan names; labels are measured by their probability."""
        units = {scorer.quantity: scorer.unit for scorer in self.scorers}
        return [replace(m, unit=_unit(m.metric.removesuffix("_gap").removeprefix("mean_"), units)) for m in measured]

    def _open(self, number: int, scorer: ScorerPlan) -> Ruler:
        folder = self._context.folder
        if self.labels and scorer.kind == "classifier":
            return Ruler(scorer.quantity, classifier=open_classifier(scorer, folder), unit="probability")
        opened = open_scorer(scorer, folder, journal=self._journal(number))
        return Ruler(scorer.quantity, scorer=opened, unit=scorer.unit)

    def _journal(self, number: int) -> Path | None:
        kept = self._context.judgements
        return None if kept is None or self.scorers[number].kind != "judge" else kept / f"{number}.jsonl"


def drawn(items: pd.DataFrame, groups: Sequence[str], per_group: int, rng: np.random.Generator) -> pd.DataFrame:
    """``per_group`` items of each group, all where a group has no more (or ``per_group`` is 0); in their old order."""
    if not per_group:
        return items
    place = pd.Series(rng.permutation(len(items)), index=items.index)
    chosen = place.groupby([items[name] for name in groups]).rank() <= per_group
    return items[chosen].reset_index(drop=True)


def with_problems(records: pd.DataFrame, refusals: Refusals) -> pd.DataFrame:
    """``records`` whose ``problem`` also names refusals that were left out, and answers that no scorer could read."""
    scores = records[[score.column for score in score_columns(records)]]
    refused = records["refused"].astype(bool) & (refusals == "left out")
    problem = records["problem"].mask((records["problem"] == "") & refused, "refused")
    unread = scores.isna().all(axis=1)
    return records.assign(problem=problem.mask((problem == "") & unread, UNREAD))


def _unit(quantity: str, units: dict[str, str]) -> str:
    if quantity in units:
        return units[quantity]
    return "probability" if any(quantity.startswith(f"{known}_") for known in units) else ""
