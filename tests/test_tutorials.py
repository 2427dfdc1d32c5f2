"""The ten-minute guides, run as a reader would: files saved, commands given in order, outputs compared line by line.

Numbers are not compared, since they differ from one processor to another; exit codes and wording are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides import Command, Saved, is_printed, steps

ROOT = Path(__file__).parents[1]
GUIDES = tuple(ROOT / name for name in ("audits/README.md", "audits/train-ppo/README.md", "reports/README.md"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has of it: the audits. The guides build on one another, so they share it."""
    folder: Path = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "audits", folder / "audits")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.parent.name)
def test_guide(guide: Path, home: Path) -> None:
    exit_status = 0
    for step in steps(guide):
        if isinstance(step, Saved):
            (home / step.name).write_text(step.text, encoding="utf-8")
        else:
            exit_status = given(step, home, exit_status)


def given(command: Command, home: Path, exit_status: int) -> int:
    """Give a command as the reader's shell would, after one that ended with ``exit_status``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", f"(exit {exit_status}); {command.line}"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 3, 4), f"{command.line}\n{done.stderr}"
    missing = [line for line in command.shown if not is_printed(line, done.stdout)]
    assert not missing, f"$ {command.line}\nnot printed: {missing}\nprinted:\n{done.stdout}\n{done.stderr}"
    if command.line.startswith("echo"):
        assert done.stdout.split() == [word for line in command.shown for word in line.split()]  # a number that counts
    return done.returncode


def test_every_guide_has_commands() -> None:
    for guide in GUIDES:
        assert sum(isinstance(step, Command) for step in steps(guide)) >= 5
