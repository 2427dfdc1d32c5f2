"""A saved audit as it is compared: verified against its manifest, read again, and refused where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import RESULTS_NAME, read_results, sha256_file, verify_manifest
from rlhf_fair.audit.benchmark import RECORDS_NAME
from rlhf_fair.changes import ComparedAudit
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.records import Results
from rlhf_fair.tables import read_table

WORDS_ONLY = ("title", "question", "limits", "rationale")
"""Keys of a plan that decide no number."""

SEEDS = ("seed",)
"""Two audits may draw with seeds of their own."""

WHO = ("plan", "model", "endpoint", "predictions", "reward_model")
"""Digests in the manifest's inputs that may differ: who answered, and the plan's file with its words."""

SHOWN = 4


@dataclass(frozen=True)
class SavedAudit:
    """One of the two audits, before items are matched."""

    folder: Path
    results: Results
    records: pd.DataFrame

    @property
    def probe(self) -> str:
        """What was asked."""
        return str(self.plan.get("probe", ""))

    @property
    def plan(self) -> Mapping[str, Any]:
        """The plan as the audit had it."""
        found = self.results.audit.get("plan")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        """Who was audited."""
        models = self.results.audit.get("models")
        if not isinstance(models, Mapping):
            return ""
        reward = models.get("reward_model")
        return str(models.get("audited") or (reward.get("name", "") if isinstance(reward, Mapping) else ""))

    def account(self, problems: pd.Series) -> ComparedAudit:
        """The audit's records and why some hold no measured answer; ``problems``: "" where one is there."""
        counts = problems[problems != ""].value_counts()
        return ComparedAudit(
            name=self.name,
            folder=self.folder.resolve().name,
            n_records=len(self.records),
            measured=int((problems == "").sum()),
            problems={str(reason): int(n) for reason, n in counts.items()},
            digests={name: sha256_file(self.folder / name) for name in (RESULTS_NAME, RECORDS_NAME)},
        )


def read_audit(folder: Path) -> SavedAudit:
    """Results and records, once the folder matches its manifest.

    Raises
    ------
    IntegrityError
        A file was changed, added or removed since the audit.
    MissingFileError
        There is no such folder, or it has no manifest or no records.
    """
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    verify_manifest(folder)
    results = read_results(folder)
    if not (folder / RECORDS_NAME).is_file():
        raise MissingFileError(folder / RECORDS_NAME, "records of single items", "the audit kept none")
    return SavedAudit(folder, results, read_table(folder / RECORDS_NAME))


def check_comparable(a: SavedAudit, b: SavedAudit) -> None:
    """Refuse audits that did not ask the same: plans that differ in what decides the numbers, or other data."""
    for one in (a, b):
        if "sequential" in one.results.audit:
            raise SettingsError(
                f"{one.folder} stopped as soon as it was decisive: how many items it asked depends on the answers, and "
                "no paired interval holds for that; allowed: audits of a fixed number of items"
            )
    plans = [_leaves(_deciding(one.plan)) for one in (a, b)]
    inputs = [_leaves({name: d for name, d in _inputs(one).items() if name not in WHO}) for one in (a, b)]
    for what, (first, second) in (("plans", plans), ("data", inputs)):
        keys = [key for key in dict.fromkeys(["probe", *first, *second]) if first.get(key) != second.get(key)]
        if keys:
            told = "; ".join(f"{key}: {_told(first, key)} in A, {_told(second, key)} in B" for key in keys[:SHOWN])
            more = f"; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            raise SettingsError(f"the two audits cannot be compared, their {what} differ: {told}{more}")


def _inputs(audit: SavedAudit) -> Mapping[str, Any]:
    found = audit.results.manifest.get("inputs")
    return found if isinstance(found, Mapping) else {}


def _deciding(plan: Any) -> Any:
    if not isinstance(plan, Mapping):
        return plan
    return {key: _deciding(value) for key, value in plan.items() if key not in (*WORDS_ONLY, *SEEDS)}


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every leaf of nested tables; lists are leaves."""
    if isinstance(value, Mapping):
        inner = ((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
        return {key: leaf for path, item in inner for key, leaf in _leaves(item, path).items()}
    return {name: value}


def _told(leaves: Mapping[str, Any], key: str) -> str:
    text = repr(leaves[key]) if key in leaves else "absent"
    return text if len(text) <= 60 else text[:57] + "…"
