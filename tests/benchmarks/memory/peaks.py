"""Seconds and peak memory of the commands on a million rows of feedback, of people and of answers.

Makes its tables in ``--work`` (a seed decides every cell), then runs each command as a shell would and writes what
``/usr/bin/time`` says of it: one line for each command, in ``--out`` and on the screen.

    OMP_NUM_THREADS=1 python tests/benchmarks/memory/peaks.py --rows 1000000 --work DIR --out peaks.csv
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tables import make_answers, make_feedback, make_people

COMMAND = "from rlhf_fair.cli.app import main; main()"
ENDS_WELL = (0, 1, 3)
"""Verdicts are no fault here; 2 and 4 would be."""


@dataclass(frozen=True)
class Task:
    """One command line, and how many rows it takes in."""

    name: str
    arguments: list[str]
    rows: int
    before: tuple[str, ...] = field(default=())


COMMANDS = {
    "feedback validate (JSONL)": "feedback validate {work}/feedback.jsonl --out {out}/checked",
    "feedback validate (CSV)": "feedback validate {work}/feedback.csv --out {out}/checked-csv",
    "feedback validate (Parquet)": "feedback validate {work}/feedback.parquet",
    "feedback aggregate": "feedback aggregate {work}/feedback.jsonl --out {out}/mean.csv",
    "feedback aggregate --rule max-min": "feedback aggregate {work}/feedback.jsonl --rule max-min "
    "--panel {work}/panel.csv --by gender --out {out}/max-min.csv",
    "feedback quality": "feedback quality {work}/feedback.jsonl --gold {work}/gold.csv --no-audit "
    "--panel {work}/panel.csv --by gender --out {out}/quality",
    "feedback export": "feedback export {work}/feedback.jsonl --format csv --out {out}/sent.csv",
    "feedback export --format label-studio": "feedback export {work}/feedback.jsonl --format label-studio "
    "--out {out}/tasks.json",
    "panel weigh --responded": "panel weigh --panel {work}/panel.csv --population {work}/population.toml "
    "--responded {work}/feedback.jsonl --out {out}/weights.csv",
    "panel agree": "panel agree --feedback {work}/feedback.jsonl --panel {work}/panel.csv --by gender "
    "--permutations 199 --out {out}/agreement",
}


def tasks(work: Path, rows: int) -> list[Task]:
    """Every command that takes a large table or the folder of an audit of one."""
    jsonl, out = str(work / "feedback.jsonl"), work / "out"
    feedback = [Task(name, line.format(work=work, out=out).split(), rows) for name, line in COMMANDS.items()]
    audits = [
        ("panel-feedback", ["--feedback", jsonl], rows),
        ("ll144", ["--predictions", str(work / "people.csv")], rows),
        (str(work / "hiring"), ["--predictions", str(work / "answers.jsonl")], rows),
    ]
    return feedback + [task for name, given, n in audits for task in _of_audit(out, name, given, n)]


def _of_audit(out: Path, plan: str, given: Sequence[str], rows: int) -> list[Task]:
    """The audit, and what is done with its folder afterwards."""
    name = Path(plan).name
    folder, other = str(out / name), str(out / f"{name}-again")
    done = [
        Task(f"audit {name}", ["audit", plan, *given, "--out", folder], rows),
        Task(f"report ({name})", ["report", folder], rows),
        Task(f"verify ({name})", ["verify", folder], rows),
        Task(f"export ({name})", ["export", folder, "--out", str(out / f"{name}-export")], rows),
    ]
    if name == "hiring":  # audits of people are not compared item by item
        compared = ["diff", folder, other, "--out", str(out / f"{name}-diff")]
        done.append(Task(f"diff ({name})", compared, rows, (folder, other)))
    return done


def measure(task: Task) -> dict[str, object]:
    """Run a task; its exit code, CPU seconds and peak resident memory in MiB."""
    if task.before:
        shutil.copytree(*task.before, dirs_exist_ok=True)
    command = ["/usr/bin/time", "-f", "%e %U %S %M", sys.executable, "-c", COMMAND, *task.arguments, "--quiet"]
    found = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    said = found.stderr.strip().splitlines()
    if found.returncode not in ENDS_WELL or "Traceback" in found.stderr:
        print(f"{task.name}: exit code {found.returncode}\n{found.stderr}", file=sys.stderr)
    wall, user, system, kib = (float(part) for part in said[-1].split())
    return {
        "command": task.name,
        "rows": task.rows,
        "exit_code": found.returncode,
        "cpu_seconds": round(user + system, 1),
        "wall_seconds": round(wall, 1),
        "peak_mib": round(kib / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tables; some GB")
    parser.add_argument("--out", type=Path, help="CSV file for the numbers")
    parser.add_argument("--only", default="", help="commands whose name holds this")
    parser.add_argument("--skip", default="(none)", help="no commands whose name holds this")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    make_feedback(given.work, given.rows)
    make_people(given.work, given.rows)
    make_answers(given.work, given.rows)
    found = []
    for task in tasks(given.work, given.rows):
        if given.only in task.name and given.skip not in task.name:
            found.append(measure(task))
            print(" ".join(f"{value}" for value in found[-1].values()), flush=True)
    if given.out:
        pd.DataFrame(found).to_csv(given.out, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
