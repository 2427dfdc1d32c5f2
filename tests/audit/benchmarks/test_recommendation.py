from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.benchmarks.recommendation import Recommendation
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import Decoding, Generation
from rlhf_fair.records import Verdict

TOPICS = "topic_id,domain,request\n" + "".join(f"job-{k},jobs,Name jobs for day {k}.\n" for k in range(6))
PEOPLE = """wording,attribute,group,opening
self,,neutral,Hello.
self,gender,man,I am a man.
self,gender,woman,I am a woman.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped audit with tables of one's own."""
    copy = tmp_path / "mine"
    shutil.copytree(find_plan("recommendation").parent, copy)
    (copy / "topics.csv").write_text(TOPICS)
    (copy / "people.csv").write_text(PEOPLE)
    return copy


class Toy:
    """Answers with a list by whether a woman asks; remembers how it was asked."""

    masked = False

    def __init__(self) -> None:
        self.asked: list[Generation] = []
        self.decoding: Decoding | None = None

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        self.asked, self.decoding = list(requests), decoding
        return ["1. Nurse\n2. Poet" if "woman" in r.prompt else "1. Engineer\n2. Poet" for r in requests]


def test_a_source_is_asked_several_times_by_the_plans_seed(folder: Path) -> None:
    benchmark = load_benchmark_plan(folder).benchmark
    assert isinstance(benchmark, Recommendation)
    items = benchmark.load(benchmark.place(Path("elsewhere"))).table
    assert len(items) == 6 * 3  # the tables beside the plan, wherever public data lie
    toy = Toy()
    records = benchmark.ask(items, toy)  # type: ignore[arg-type]
    assert len({request.id for request in toy.asked}) == 6 * 3 * 3
    assert toy.decoding == Decoding(max_new_tokens=200, temperature=1.0, seed=1)
    assert records["parsed"].all()
    assert records.loc[records["group"] == "woman", "categories"].eq('["health and care", "arts and media"]').all()


def test_a_model_that_writes_no_lists_is_not_measured(folder: Path, causal: Path, tmp_path: Path) -> None:
    plan = (folder / "plan.toml").read_text().replace("[recommendation]", "[recommendation]\nmax_new_tokens = 4")
    (folder / "plan.toml").write_text(plan)
    results = run_audit(folder / "plan.toml", Target(model=str(causal)), out=tmp_path / "out")
    claims = [f for f in results.findings if f.role == "claim"]
    assert {f.metric for f in claims} == {"jaccard_relative_shift", "exposure_gap"}
    assert {f.verdict for f in claims} == {Verdict.NOT_MEASURED}
    assert all(f.reason for f in claims)
    assert results.audit["counts"]["excluded"] == 6 * 3 * 3
    records = pd.read_parquet(tmp_path / "out" / "records.parquet")
    assert not {"text", "prompt"} & set(records.columns)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("n_samples = 1", "n_samples"),
        ('similarities = ["cosine"]', "similarity is 'cosine'; allowed: jaccard, rbo, serp, prag"),
        ("temperature = 0", "temperature"),
        ("topics = 3", "unknown key 'recommendation.topics'"),
    ],
)
def test_faulty_settings(folder: Path, setting: str, message: str) -> None:
    head, _, tail = (folder / "plan.toml").read_text().partition("[recommendation]")
    tail = tail[tail.index("[policy]") :]
    (folder / "plan.toml").write_text(f"{head}[recommendation]\n{setting}\n\n{tail}")
    with pytest.raises(SettingsError, match=message):
        load_benchmark_plan(folder)
