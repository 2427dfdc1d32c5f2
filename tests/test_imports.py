"""Imports run one way. Imports inside functions count too: they are imports all the same, only later."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rlhf_fair

ROOT = Path(rlhf_fair.__file__).parent

BASE = {"errors", "disk", "json_cells", "records", "changes", "artifacts", "settings", "attestation", "disclosure"}
STATS = BASE | {"tables", "stats"}
AUDIT = STATS | {"metrics", "models", "probes", "audit"}
TRAINING = STATS | {"metrics", "models", "probes", "annotators", "training"}
PIPELINE = AUDIT | TRAINING | {"stages", "pipeline_stages", "pipeline", "pipeline_audit"}
REPORT = {"report", "compliance"}

ALLOWED: dict[str, set[str]] = {
    "rlhf_fair": set(),  # names its modules in `rlhf_fair.PUBLIC` and imports them on first use
    "errors": set(),
    "json_cells": set(),
    "records": set(),
    "disk": {"errors"},
    "changes": {"records"},
    "settings": {"errors"},
    "disclosure": {"errors", "records"},
    "artifacts": {"errors", "disk", "records", "disclosure"},
    "attestation": {"errors", "records", "changes", "artifacts"},
    "table_files": BASE,
    "tables": BASE | {"table_files"},
    "stats": BASE | {"tables"},
    "metrics": STATS,
    "models": STATS | {"metrics"},
    "probes": STATS | {"metrics", "models"},
    "audit": AUDIT,
    "annotators": STATS,
    "annotate": BASE | {"tables", "annotators"},
    "training": TRAINING,
    "backends": BASE | {"training"},  # and of training the fairness shaping alone, see below
    "compliance": BASE,
    "report": BASE | {"compliance"},
    "exchange": BASE | {"report"},
    "integrity": AUDIT | REPORT,
    "monitoring": AUDIT | REPORT,
    "stages": BASE,
    "audit_callback": AUDIT,
    "pipeline_stages": TRAINING,
    "pipeline": PIPELINE,
    "pipeline_audit": PIPELINE,
    "demo": PIPELINE | REPORT,
    "mitigations": PIPELINE | REPORT | {"demo"},
    "rounds": PIPELINE | REPORT | {"demo", "mitigations"},
    "cli": PIPELINE
    | REPORT
    | {"annotate", "backends", "demo", "exchange", "integrity", "mitigations", "monitoring", "rounds"},
}
"""Part of the package -> the parts it may import besides itself."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(name: str, path: Path) -> set[str]:
    """The modules of this package that a module's text imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return {target for target in found if target in MODULES} - {name}


IMPORTS = {name: imported(name, path) for name, path in MODULES.items()}


def part(module: str) -> str:
    """``rlhf_fair.stats.power`` -> ``stats``."""
    return [*module.split("."), ""][1] or "rlhf_fair"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    allowed = ALLOWED[part(module)] | {part(module), "rlhf_fair"}
    assert {part(target) for target in IMPORTS[module]} <= allowed


def test_no_cycles() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError naming the modules


def test_backends_stand_on_the_fairness_shaping_alone() -> None:
    used = {target for name in MODULES if part(name) == "backends" for target in IMPORTS[name]}
    fairness = "rlhf_fair.training.fairness"
    training = {target for target in used if part(target) == "training"}
    assert all(target == fairness or target.startswith(f"{fairness}.") for target in training)


def test_the_fairness_shaping_stands_on_nothing_that_backends_may_not_have() -> None:
    fairness = "rlhf_fair.training.fairness"
    used = {target for name in MODULES if f"{name}.".startswith(f"{fairness}.") for target in IMPORTS[name]}
    assert all(part(target) in BASE or f"{target}.".startswith(f"{fairness}.") for target in used)


def test_the_rules_notice_a_lazy_import(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "def f():\n    from rlhf_fair.stats import power\n    import rlhf_fair.records\n"
    )
    assert imported("x", tmp_path / "module.py") == {"rlhf_fair.stats.power", "rlhf_fair.records"}


@pytest.mark.parametrize("module", ["rlhf_fair", "rlhf_fair.cli.app", "rlhf_fair.training.fairness"])
def test_start_up_loads_no_heavy_library(module: str) -> None:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    assert "rlhf_fair" in loaded
    assert not loaded & {"torch", "transformers", "pandas", "sklearn", "statsmodels", "plotly"}


def test_a_report_renders_without_torch() -> None:
    code = "import sys, rlhf_fair.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
