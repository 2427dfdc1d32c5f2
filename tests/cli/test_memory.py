"""What a row costs: peak memory of a command on many rows less that on few, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FEW, MANY = 5_000, 55_000
MOST_BYTES = 2_048
"""Of a row: a million rows then fit into 2 GiB with the libraries. Measured: tests/benchmarks/memory/README.md."""
RUN_AND_TELL = """
import sys
from pathlib import Path
from rlhf_fair.cli.app import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def peak_bytes(line: str) -> int:
    """The most that the process of a command held at once."""
    command = [sys.executable, "-c", RUN_AND_TELL, *line.split(), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1, 3), done.stderr
    return int(done.stderr.splitlines()[-1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    "line",
    [
        "feedback validate {rows}.jsonl --out {rows}-checked",
        "feedback export {rows}.jsonl --format label-studio --out {rows}.json",
    ],
)
def test_a_row_of_feedback_costs_two_kilobytes_at_most(line: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for rows in (FEW, MANY):
        row = np.arange(rows)
        table = pd.DataFrame({"item_id": [f"item-{k // 10:07d}" for k in row]})
        table["annotator_id"] = [f"rater-{k % 10}-{k // 2_000:04d}" for k in row]
        table["kind"], table["value"] = "rating", rng.integers(1, 6, rows)
        table["seconds"] = np.round(rng.exponential(20, rows), 1)
        table["attr.gender"] = rng.choice(["woman", "man"], rows)
        table.to_json(tmp_path / f"{rows}.jsonl", orient="records", lines=True)
    few, many = (peak_bytes(line.format(rows=tmp_path / str(rows))) for rows in (FEW, MANY))
    assert 0 < (many - few) / (MANY - FEW) < MOST_BYTES
