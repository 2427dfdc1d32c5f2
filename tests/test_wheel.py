"""What is shipped: the wheel holds all that a command reads and nothing else, and works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import rlhf_fair

ROOT = Path(rlhf_fair.__file__).parent.parent
BUILD = """
import sys
from hatchling.builders.{kind} import {name}
print(next({name}(sys.argv[1]).build(directory=sys.argv[2], versions=["standard"])))
"""


def built(kind: str, name: str, out: Path) -> Path:
    """By the build backend itself, in a process of its own: no network, nothing installed."""
    pytest.importorskip("hatchling", reason="the build backend, of the extra dev, is not installed")
    code = BUILD.format(kind=kind, name=name)
    made = subprocess.run([sys.executable, "-c", code, str(ROOT), str(out)], capture_output=True, text=True, check=True)
    return Path(made.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", "WheelBuilder", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(code: str, site: Path, cwd: Path) -> str:
    """In a process that finds the unpacked wheel first; ``cwd`` is not the checkout."""
    start = f"import sys; sys.path.insert(0, {str(site)!r}); import rlhf_fair; "
    here = f"assert rlhf_fair.__file__.startswith({str(site)!r}), rlhf_fair.__file__; "
    command = [sys.executable, "-I", "-c", start + here + code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_and_every_audit_is_in_the_wheel(unpacked: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    audits = files(ROOT / "audits")
    assert "hiring/plan.toml" in audits
    assert files(unpacked / "rlhf_fair" / "shipped_audits") == audits
    shipped = {name for name in files(unpacked / "rlhf_fair") if not name.startswith("shipped_audits/")}
    assert shipped == files(ROOT / "rlhf_fair")
    assert {"py.typed", "__init__.pyi"} <= shipped
    for needed in ("report/templates/", "annotate/templates/", "compliance/frameworks/", "probes/lexicons/"):
        assert any(name.startswith(needed) for name in shipped), needed
    assert any(name.endswith("results.schema.json") for name in shipped)


def test_nothing_else_is_in_the_wheel(unpacked: Path) -> None:
    assert {path.name.partition("-")[0] for path in unpacked.iterdir()} == {"rlhf_fair"}
    assert len(list(unpacked.iterdir())) == 2  # the package and its metadata: no tests, no data
    metadata = (next(unpacked.glob("*.dist-info")) / "METADATA").read_text(encoding="utf-8")
    assert f"Version: {rlhf_fair.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_source_archive_holds_no_reports(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", "SdistBuilder", tmp_path)) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"rlhf_fair", "audits", "tests", "pyproject.toml", "README.md"} <= top
    assert "reports" not in top


def test_the_unpacked_wheel_works_where_there_is_no_checkout(unpacked: Path, tmp_path: Path) -> None:
    audits = run("from rlhf_fair.audit.plan import shipped_audits; print(*shipped_audits())", unpacked, tmp_path)
    assert {"hiring", "ll144", "bbq", "own-prompts"} <= set(audits.split())
    help_text = run("from rlhf_fair.cli.app import main; sys.argv[1:] = ['--help']; main()", unpacked, tmp_path)
    assert "annotate" in help_text
    frameworks = run("from rlhf_fair.compliance.loading import frameworks; print(*frameworks())", unpacked, tmp_path)
    assert "eu-ai-act" in frameworks
