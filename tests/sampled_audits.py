"""Audits of sampled continuations in tests: plans cut to size, a small model, and prediction files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import byte_pair_tokenizer, tiny_language_model
from upstream import DATA

from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.records import Finding, Results

NO_CACHE = Access(cache=None)

FOLDERS = {
    "bold": "bold",
    "regard": "nlg-bias",
    "honest": "honest",
    "honest/queer": "honest",
    "real-toxicity": "real-toxicity-prompts",
    "representation": "",
    "representation/bold": "bold",
}
"""Shipped plan -> the folder of its data set; "" where it needs none."""


def skip_without(plan: str) -> None:
    """Skip the test where the plan's data set is not on this machine."""
    if not (DATA / FOLDERS[plan]).is_dir():
        pytest.skip(f"the data set {FOLDERS[plan]} is not on this machine")


def smaller(name: str, folder: Path, **settings: object) -> Path:
    """A copy of a shipped plan, and of the prompts beside it, with other values for settings of its probe's section."""
    source = find_plan(name)
    lines = source.read_text(encoding="utf-8").splitlines()
    probe = next(line.split('"')[1] for line in lines if line.startswith("probe ="))
    kept = [line for line in lines if not any(line.startswith(f"{setting} =") for setting in settings)]
    said = [f"{setting} = {_toml(value)}" for setting, value in settings.items()]
    place = kept.index(f"[{probe}]") + 1
    folder.mkdir(parents=True, exist_ok=True)
    for beside in source.parent.glob("*.csv"):
        (folder / beside.name).write_bytes(beside.read_bytes())
    (folder / "plan.toml").write_text("\n".join([*kept[:place], *said, *kept[place:]]), encoding="utf-8")
    return folder / "plan.toml"


def save_model(folder: Path, *, window: int = 1024) -> Path:
    """An untrained causal model that reads any text, as a folder."""
    tokenizer = byte_pair_tokenizer()
    tiny_language_model(tokenizer, max_position_embeddings=window).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def items_of(plan_file: Path) -> pd.DataFrame:
    """What the plan asks."""
    benchmark = load_benchmark_plan(plan_file).benchmark
    return benchmark.load(benchmark.place(DATA)).table


def answered_by(plan_file: Path, out: Path, say: Callable[[Any, int], str | None]) -> Results:
    """Audit a prediction file in which item (a row) and sample are answered by ``say``; None is a row without text."""
    n_samples: int = load_benchmark_plan(plan_file).benchmark.n_samples  # type: ignore[attr-defined]
    rows = [
        {"item_id": item.item_id, "sample": sample, "text": say(item, sample)}
        for item in items_of(plan_file).itertuples()
        for sample in range(n_samples)
    ]
    return audited(plan_file, out, pd.DataFrame(rows))


def audited(plan_file: Path, out: Path, predictions: pd.DataFrame) -> Results:
    """Audit a table of predictions."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "answers.jsonl"
    predictions.to_json(file, orient="records", lines=True)
    return run_audit(plan_file, Target(predictions=file), data_dir=DATA, out=out, access=NO_CACHE)


def finding(results: Results, **wanted: str) -> Finding:
    """The one finding with these fields."""
    (found,) = [f for f in results.findings if all(getattr(f, name) == value for name, value in wanted.items())]
    return found


def numbers(results: Results) -> list[dict[str, Any]]:
    """All that findings say, in a form that compares NaN as equal."""
    return [f.model_dump(mode="json") for f in results.findings]


def accounted(counts: Mapping[str, int]) -> bool:
    """Input = reported + excluded + unknown."""
    return counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]


def plan_of(plan_file: Path) -> BenchmarkPlan:
    """The plan, read."""
    return load_benchmark_plan(plan_file)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
