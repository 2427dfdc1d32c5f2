"""Bad input on the real command line: one clear line on stderr, exit code 2, nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf_fair.audit.plan import find_plan

COMMAND = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()"]


def run(*arguments: str | Path, cwd: Path) -> tuple[int, str]:
    """Exit code and stderr."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_unknown_plan_key(tmp_path: Path) -> None:
    shutil.copytree(find_plan("hiring").parent, tmp_path / "plan")
    plan = tmp_path / "plan" / "plan.toml"
    plan.write_text(plan.read_text().replace("\nseed = ", "\nsed = "))
    code, stderr = run("audit", "plan", "--model", "m", cwd=tmp_path)
    assert code == 2
    assert "plan/plan.toml" in stderr
    assert "unknown key 'sed'" in stderr
    assert "seed" in stderr.split("allowed here:")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("audit", "nosuch", "--model", "m"), "audit plan not found: nosuch"),
        (("audit", "hiring", "--predictions", "none.jsonl"), "predictions file not found: none.jsonl"),
        (("audit", "hiring"), "give exactly one of --model, --endpoint and --predictions"),
        (("audit", "hiring", "--model", "./nowhere/at/all"), "no such folder"),
        (("train", "reward", "none.toml"), "not found: none.toml"),
        (("train", "reward", "none.toml", "--only", "women"), "--only 'women': allowed: ATTRIBUTE=LEVEL"),
        (("verify", "nowhere"), "not found"),
        (("report", "nowhere"), "not found"),
    ],
)
def test_missing_things(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    code, stderr = run(*arguments, cwd=tmp_path)
    assert code == 2
    assert said in stderr


def test_malformed_row_names_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt_id": "a", "text": "x"}\n{"prompt_id": "b", "text": \n')
    code, stderr = run("audit", "hiring", "--predictions", "p.jsonl", cwd=tmp_path)
    assert code == 2
    assert "p.jsonl row 2" in stderr


def test_prediction_for_an_unknown_prompt(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt_id": "a", "text": "x"}\n')
    code, stderr = run("audit", "hiring", "--predictions", "p.jsonl", cwd=tmp_path)
    assert code == 2
    assert "p.jsonl row 1: prompt_id 'a' is not in the prompts" in stderr


def test_out_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, stderr = run("demo", "--out", "file/demo", cwd=tmp_path)
    assert code == 2
    assert "cannot write to file/demo" in stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_run_says_so_and_leaves_no_half_stage(name: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--out", "run", "--quiet"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 90
    while not (tmp_path / "run" / "stages" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "interrupted; what was finished is kept" in stderr
    assert "Traceback" not in stderr
    assert [path.name for path in (tmp_path / "run" / "stages").iterdir()] == ["run.json"]
