"""Every text that the audit ``reward`` scores, part by part, and why a part is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rlhf_fair.artifacts import sha256_file, sha256_tree
from rlhf_fair.audit.reward_audit_feedback import collect_ratings
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.errors import MissingFileError
from rlhf_fair.probes import (
    reward_dialect,
    reward_pairs,
    reward_people,
    reward_preferences,
    reward_ratings,
    reward_selection,
    reward_terms,
)
from rlhf_fair.probes.dialect import load_dialect
from rlhf_fair.probes.reward_feedback import FeedbackFile, read_feedback_file

NO_DATA_DIR = "no --data-dir was given"
NO_FEEDBACK = "no --feedback was given"


@dataclass
class Items:
    """``tables``: probe -> its rows, with ``text`` and where a pair is compared ``base_text``.

    ``missing``: probe -> why there are no rows. ``excluded``: reason -> rows of the files that are not scored.
    ``inputs``: name -> SHA-256 of what was read, ``sources``: name -> what it is. ``told``: sentences for the limits.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=pd.DataFrame)
    told: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Every distinct text, in order of appearance."""
        columns = [table[name] for table in self.tables.values() for name in ("text", "base_text") if name in table]
        return list(pd.unique(pd.concat(columns, ignore_index=True)))


def collect(
    plan: RewardPlan, plan_file: Path, data_dir: Path | None, feedback: Path | None, model: str | None = None
) -> Items:
    """The items of all parts that the plan asks for; ``model``: where the texts it has not seen may be told from.

    Raises
    ------
    MissingFileError, RowError, ColumnError, SettingsError
        A file is missing though its place was named, or cannot be used.
    """
    items = Items()
    people = _people(plan)
    _add_pairs(items, plan, plan_file.parent, people)
    _add_dialect(items, plan, data_dir)
    _add_terms(items, plan, data_dir)
    _add_candidates(items, plan, plan_file.parent, data_dir, people)
    _add_feedback(items, plan, data_dir, feedback, model)
    return items


def _people(plan: RewardPlan) -> list[reward_people.Person]:
    settings = plan.counterfactual
    if settings is None:
        return []
    found = [
        person
        for attribute, terms in settings.terms.items()
        for person in reward_people.people_of(attribute, terms, names=settings.names)
    ]
    return found + reward_people.null_people(settings.traits, names=settings.names)


def _add_pairs(items: Items, plan: RewardPlan, folder: Path, people: list[reward_people.Person]) -> None:
    settings = plan.counterfactual
    if settings is None:
        return
    path = folder / settings.prompts
    items.tables[reward_pairs.PROBE] = reward_pairs.pair_items(
        reward_pairs.read_prompt_pairs(path),
        people,
        per_prompt=settings.per_prompt,
        edits=settings.edits,
        layout=plan.layout,
    )
    items.inputs["prompts"] = sha256_file(path)
    items.sources["prompts with a better and a worse answer"] = f"{settings.prompts}, written for this audit"


def _without_data(items: Items, probe: str, folder: str, data_dir: Path | None) -> bool:
    """Whether a probe has nowhere to read from, which is then noted."""
    if data_dir is None:
        items.missing[probe] = f"{NO_DATA_DIR}: it holds {folder}"
    return data_dir is None


def _add_dialect(items: Items, plan: RewardPlan, data_dir: Path | None) -> None:
    settings, probe = plan.dialect, reward_dialect.PROBE
    if settings is None or _without_data(items, probe, settings.folder, data_dir):
        return
    assert data_dir is not None
    try:
        read = load_dialect(data_dir / settings.folder, settings.pairs)
    except MissingFileError as error:
        items.missing[probe] = str(error)
        return
    items.tables[probe] = reward_dialect.dialect_items(read.table)
    _exclude(items, "unusable row of the dialect pairs", len(read.rejects))
    items.inputs[f"data/{settings.folder}"] = sha256_tree(data_dir / settings.folder)
    items.sources["dialect pairs"] = "Hofmann et al. 2024, MIT"


def _add_terms(items: Items, plan: RewardPlan, data_dir: Path | None) -> None:
    settings, probe = plan.identity_terms, reward_terms.PROBE
    if settings is None or _without_data(items, probe, settings.folder, data_dir):
        return
    assert data_dir is not None
    try:
        table = reward_terms.load_madlibs(data_dir / settings.folder, names=settings.names, seed=plan.seed)
    except MissingFileError as error:
        items.missing[probe] = str(error)
        return
    for reason, n in table.loc[table["excluded"] != "", "excluded"].value_counts().items():
        _exclude(items, str(reason), int(n))
    items.tables[probe] = table[table["excluded"] == ""].drop(columns="excluded").reset_index(drop=True)
    items.inputs[f"data/{settings.folder}"] = sha256_tree(data_dir / settings.folder)
    items.sources["madlibs of identity terms"] = "Dixon et al. 2018; Borkan et al. 2019"


def _add_candidates(
    items: Items, plan: RewardPlan, folder: Path, data_dir: Path | None, people: list[reward_people.Person]
) -> None:
    settings, parts = plan.best_of_n, []
    if settings is None:
        return
    if settings.templates:
        path = folder / settings.templates
        templates = reward_selection.read_templates(path)
        parts.append(reward_selection.candidate_items(templates, people, size=settings.size, layout=plan.layout))
        items.inputs["candidates"] = sha256_file(path)
        items.sources["candidate answers"] = f"{settings.templates}, written for this audit"
    if settings.candidates:
        if data_dir is None:
            items.missing[reward_selection.PROBE] = f"{NO_DATA_DIR}: it holds {settings.candidates}"
        else:
            path = data_dir / settings.candidates
            own, rejects = reward_selection.read_candidates(path, plan.layout)
            parts.append(own)
            _exclude(items, "unusable row of one's own candidates", len(rejects))
            items.inputs["own candidates"] = sha256_file(path)
    if parts:
        items.tables[reward_selection.PROBE] = pd.concat(parts, ignore_index=True)


def _add_feedback(
    items: Items, plan: RewardPlan, data_dir: Path | None, feedback: Path | None, model: str | None
) -> None:
    read = _feedback_file(items, plan, data_dir, feedback)
    if read is None:
        return
    rejects = [read.rows.rejects]
    if "pair" in read.by_kind:
        choices = reward_preferences.choice_items(read, plan.layout)
        items.tables[reward_preferences.PROBE] = choices.table
        rejects.append(choices.rejects)
        items.missing.pop(reward_preferences.PROBE, None)
    if "rating" in read.by_kind:
        rated = collect_ratings(read, plan, model)
        items.tables[reward_ratings.PROBE] = rated.table
        rejects.append(rated.rejects)
        items.missing.pop(reward_ratings.PROBE, None)
        for reason, n in rated.left_out.items():
            _exclude(items, reason, n)
        items.told.append(rated.told)
        if rated.items_file is not None:
            items.inputs["items"] = sha256_file(rated.items_file)
    for kind, n in read.others.items():
        _exclude(items, f"row of the feedback of kind {kind}: neither a choice nor a rating", n)
    items.rejects = pd.concat([part for part in rejects if len(part)] or rejects[:1], ignore_index=True)
    for code, n in items.rejects["code"].value_counts().items():
        _exclude(items, f"row of the feedback: {str(code).replace('_', ' ')}", int(n))
    items.inputs["feedback"] = sha256_file(read.path)
    items.sources["judgements of raters"] = read.path.name


def _feedback_file(items: Items, plan: RewardPlan, data_dir: Path | None, feedback: Path | None) -> FeedbackFile | None:
    """The file of ``--feedback``, else that of the plan; what is not there is noted as missing."""
    asked = plan.ratings is not None and plan.ratings.file != ""
    if feedback is not None:
        items.missing[reward_preferences.PROBE] = f"{feedback.name} holds no choices"
        items.missing[reward_ratings.PROBE] = f"{feedback.name} holds no ratings"
    elif not asked:
        items.missing[reward_preferences.PROBE] = NO_FEEDBACK
    if feedback is not None:
        return read_feedback_file(feedback)
    if plan.ratings is None or not asked or _without_data(items, reward_ratings.PROBE, plan.ratings.file, data_dir):
        return None
    assert data_dir is not None
    settings = plan.ratings
    return read_feedback_file(data_dir / settings.file, columns=settings.columns, missing_values=settings.missing)


def _exclude(items: Items, reason: str, n: int) -> None:
    if n:
        items.excluded[reason] = items.excluded.get(reason, 0) + n
