"""A history: dated audits of one plan in order of time, from folders and from a store of earlier ones.

The store is a Parquet table with a row for every finding of every audit. An audit, known by the SHA-256 of its
``results.json`` and its date, is in it once, however often it is given. The store keeps no records, so audits that are
in it alone are compared by their estimates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import (
    MANIFEST_NAME,
    RESULTS_NAME,
    read_json,
    read_results,
    sha256_file,
    sorted_json,
    verify_manifest,
)
from rlhf_fair.audit.compare_folder import SEEDS, WORDS_ONLY
from rlhf_fair.disclosure.identifiers import redacted
from rlhf_fair.disclosure.results import protected
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.monitoring.dates import date_of, moment_of
from rlhf_fair.records import Finding
from rlhf_fair.tables import read_table, require_columns, write_table

UNDECIDING = (*WORDS_ONLY, *SEEDS, "owner", "expires")
"""Keys of a plan that decide no number and no verdict."""
AUDIT_COLUMNS = ("results_sha256", "date", "date_source", "audit", "title", "alpha", "version", "plan")
SHOWN = 4


@dataclass(frozen=True)
class DatedAudit:
    """One audit. ``folder``: where its records are, None for one that is known from the store alone."""

    name: str
    date: datetime
    date_source: str
    results_sha256: str
    title: str
    alpha: float
    version: str
    plan: str
    findings: tuple[Finding, ...]
    folder: Path | None = None

    @property
    def key(self) -> tuple[str, datetime]:
        """What makes it one audit."""
        return self.results_sha256, self.date

    @property
    def claims(self) -> dict[str, Finding]:
        """Id -> finding, of those that decide the exit code."""
        return {finding.id: finding for finding in self.findings if finding.role == "claim"}


def read_dated(folder: Path, dates: Mapping[str, datetime] | None = None) -> DatedAudit:
    """The audit in ``folder``, which must match its manifest where it has one."""
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    made: Any = {}
    if (folder / MANIFEST_NAME).is_file():
        verify_manifest(folder)
        made = read_json(folder / MANIFEST_NAME, "manifest").get("environment", {})
    results = protected(read_results(folder))
    dated, audit = date_of(folder, dates), results.audit
    alpha = audit.get("alpha", 0.05)
    if not (isinstance(alpha, float) and 0 < alpha < 1):
        raise SettingsError(f"{folder / RESULTS_NAME}: audit.alpha = {alpha!r}; allowed: between 0 and 1")
    try:
        plan = sorted_json(_deciding(audit.get("plan"))).decode()
    except ValueError as error:  # numbers that JSON does not have
        raise SettingsError(f"{folder / RESULTS_NAME}: audit.plan: {error}") from error
    return DatedAudit(
        name=redacted(folder.resolve().name),
        date=dated.moment,
        date_source=dated.source,
        results_sha256=sha256_file(folder / RESULTS_NAME),
        title=str(audit.get("title", "")),
        alpha=alpha,
        version=str(made.get("rlhf-fair", "")) if isinstance(made, Mapping) else "",
        plan=plan,
        findings=results.findings,
        folder=folder,
    )


def in_order(audits: Iterable[DatedAudit]) -> tuple[DatedAudit, ...]:
    """Each audit once, the oldest first; one with a folder stands for its copy from the store.

    Raises
    ------
    SettingsError
        There are fewer than two, two have one date, or their plans or claims differ.
    """
    found: dict[tuple[str, datetime], DatedAudit] = {}
    for audit in audits:
        if audit.key not in found or found[audit.key].folder is None:
            found[audit.key] = audit
    ordered = sorted(found.values(), key=lambda audit: audit.date)
    if len(ordered) < 2:
        raise SettingsError(f"a history needs two audits at least, there is {len(ordered)}")
    for one, other in pairwise(ordered):
        if one.date == other.date:
            raise SettingsError(
                f"{one.name} and {other.name} are two audits of one date, {one.date:%Y-%m-%d %H:%M:%S}: which came "
                "first is not known; name the time too"
            )
    for other in ordered[1:]:
        _check_comparable(ordered[0], other)
    return tuple(ordered)


def _check_comparable(first: DatedAudit, other: DatedAudit) -> None:
    plans = [_leaves(json.loads(audit.plan)) for audit in (first, other)]
    claims = [{id: _limits(claim) for id, claim in audit.claims.items()} for audit in (first, other)]
    for what, (a, b) in (("plans", plans), ("claims", claims)):
        keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
        if keys:
            told = "; ".join(f"{key}: {_told(a, key)} there, {_told(b, key)} here" for key in keys[:SHOWN])
            more = f"; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            raise SettingsError(
                f"{other.name} is no audit of the plan of {first.name}, their {what} differ: {told}{more}"
            )
    if not first.claims:
        raise SettingsError(f"{first.name} makes no claims: there is nothing to watch")


def write_store(path: Path, audits: Sequence[DatedAudit]) -> None:
    """All audits as one table, in place of what is there."""
    rows = [
        {
            "results_sha256": audit.results_sha256,
            "date": audit.date.isoformat(),
            "date_source": audit.date_source,
            "audit": audit.name,
            "title": audit.title,
            "alpha": audit.alpha,
            "version": audit.version,
            "plan": audit.plan,
            **finding.model_dump(mode="python"),
            "verdict": finding.verdict.value,
        }
        for audit in audits
        for finding in audit.findings
    ]
    write_table(path, pd.DataFrame(rows))


def read_store(path: Path) -> list[DatedAudit]:
    """The audits of a store; none where there is no such file yet."""
    from pydantic import ValidationError

    if path.suffix != ".parquet":
        raise SettingsError(f"--store {path}; allowed: a .parquet file")
    if not path.is_file():
        return []
    table = read_table(path)
    names = list(Finding.model_fields)
    require_columns(table, [*AUDIT_COLUMNS, *names], f"store {path}")
    found = []
    for _, rows in table.groupby(["results_sha256", "date"], sort=False, dropna=False):
        head = rows.iloc[0]
        try:
            findings = tuple(Finding.model_validate(row) for row in rows[names].to_dict("records"))
            found.append(
                DatedAudit(
                    name=str(head["audit"]),
                    date=moment_of(str(head["date"])),
                    date_source=str(head["date_source"]),
                    results_sha256=str(head["results_sha256"]),
                    title=str(head["title"]),
                    alpha=float(head["alpha"]),
                    version=str(head["version"]),
                    plan=str(head["plan"]),
                    findings=findings,
                )
            )
        except (ValidationError, ValueError, TypeError) as error:
            raise SettingsError(f"store {path}: audit {head['audit']!r} is not as it was written") from error
    return found


def _limits(claim: Finding) -> tuple[object, ...]:
    return claim.better, claim.threshold, claim.margin, claim.unit


def _deciding(plan: Any) -> Any:
    if isinstance(plan, Mapping):
        return {key: _deciding(value) for key, value in plan.items() if key not in UNDECIDING}
    return plan


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every leaf of nested tables; lists are leaves."""
    if not isinstance(value, Mapping):
        return {name: value}
    inner = ((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
    return {key: leaf for path, item in inner for key, leaf in _leaves(item, path).items()}


def _told(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else text[:57] + "…"
