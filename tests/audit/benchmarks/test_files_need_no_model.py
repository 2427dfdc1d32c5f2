"""A file of predictions gives all scores and loads neither torch nor transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from benchmark_runs import table_rows
from upstream import DATA, needs

from rlhf_fair.artifacts import read_results
from rlhf_fair.probes.bbq import load_bbq
from rlhf_fair.probes.stereoset import TEXTS, load_stereoset

PROGRAM = """
import sys
from rlhf_fair.cli.app import main
code = None
try:
    main()
except SystemExit as end:
    code = end.code
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "tokenizers"})
print(code, *loaded)
"""


def bbq_answers(folder: Path) -> Path:
    items = load_bbq(DATA / "bbq" / "data").table
    file = folder / "answers.jsonl"
    rows = items.assign(prediction=[f"({'abc'[label]})" for label in items["label"]])
    rows[["example_id", "category", "prediction"]].to_json(file, orient="records", lines=True)
    return file


def stereoset_scores(folder: Path) -> Path:
    items = load_stereoset(DATA / "stereoset").table
    rows = [
        {"id": item[f"{text}_id"], "score": (n * 7 + 3 * k) % 5}
        for n, item in enumerate(items.to_dict("records"))
        for k, text in enumerate(TEXTS)
    ]
    file = folder / "scores.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("plan", "write", "items", "metrics"),
    [
        pytest.param("bbq", bbq_answers, 17628, {"bias", "cost", "accuracy"}, marks=needs("bbq")),
        pytest.param("stereoset", stereoset_scores, 4229, {"stereotype", "language", "icat"}, marks=needs("stereoset")),
    ],
)
def test_a_file_of_predictions(plan: str, write: object, items: int, metrics: set[str], tmp_path: Path) -> None:
    assert callable(write)
    file = write(tmp_path)
    arguments = ["audit", plan, "--predictions", str(file), "--data-dir", str(DATA), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--quiet"], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    code, *loaded = done.stdout.split()
    assert code in ("0", "1", "3")
    assert loaded == []
    results = read_results(tmp_path / "out")
    assert results.audit["counts"] == {"input": items, "reported": items, "excluded": 0, "unknown": 0}
    found = [f.metric for f in results.findings] + [row["metric"] for row in table_rows(results, "also measured")]
    assert metrics <= {metric.split("_")[1] for metric in found}
