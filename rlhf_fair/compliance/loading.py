"""The clause maps that ship with the package, by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlhf_fair.compliance.kinds import KINDS
from rlhf_fair.compliance.models import Framework
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import explain, read_toml_table

FOLDER = Path(__file__).parent / "frameworks"
DEFAULTS = "defaults"
"""A table of a file whose entries hold for every clause that does not say otherwise."""


def read_framework(path: Path) -> Framework:
    """One clause map, checked; raises `SettingsError` naming file, clause and key."""
    content = read_toml_table(path, "clause map")
    try:
        framework = Framework.model_validate(_completed(content))
    except ValidationError as error:
        lines = explain(error, Framework)
        raise SettingsError("\n".join(f"clause map {path}: {line}" for line in lines)) from error
    for clause in framework.clauses:
        if unknown := [kind for kind in clause.evidence if kind not in KINDS]:
            raise SettingsError(
                f"clause map {path}: {clause.id}: evidence = {unknown[0]!r}; allowed: {', '.join(sorted(KINDS))}"
            )
    return framework


@cache
def frameworks() -> dict[str, Framework]:
    """Id -> framework, for all that ship."""
    found = [read_framework(path) for path in sorted(FOLDER.glob("*.toml"))]
    return {framework.id: framework for framework in found}


def find_frameworks(names: Sequence[str]) -> tuple[Framework, ...]:
    """The frameworks of these names or aliases, each once, in the order they are named."""
    known = frameworks()
    by_name = {name: framework for framework in known.values() for name in (framework.id, *framework.aliases)}
    found: dict[str, Framework] = {}
    for name in names:
        if name.strip().lower() not in by_name:
            raise SettingsError(f"framework {name!r} is not known; allowed: {', '.join(known)}")
        framework = by_name[name.strip().lower()]
        found[framework.id] = framework
    return tuple(found.values())


def _completed(content: dict[str, Any]) -> dict[str, Any]:
    defaults, clauses = content.get(DEFAULTS, {}), content.get("clauses", [])
    if not isinstance(defaults, dict) or not isinstance(clauses, list):
        return content
    rest = {key: value for key, value in content.items() if key != DEFAULTS}
    return rest | {"clauses": [_with(defaults, clause) for clause in clauses]}


def _with(defaults: dict[str, Any], clause: Any) -> Any:
    """A clause of another status than the default one does not take over when the others apply from."""
    if not isinstance(clause, dict):
        return clause
    dropped = {"applies_from"} if "status" in clause else set()
    return {key: value for key, value in defaults.items() if key not in dropped} | clause
