"""Every benchmark's records can be compared: their items have ids, their clusters are columns, nothing falls over."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from saved_audits import save
from upstream import DATA

from rlhf_fair.audit.benchmark import measure
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.audit.benchmarks.registry import NAMES
from rlhf_fair.audit.compare import compare_audits
from rlhf_fair.changes import ChangeStatus
from rlhf_fair.errors import MissingFileError
from rlhf_fair.models.requests import Likelihood

HARMLESS = "he she is was very kind lovely a doctor nurse and the one two yes no red green blue alien jaws".split()  # noqa: SIM905
WORDS = [*(10 * HARMLESS), "stupid"]
CLUSTERS = 6


class Chance:
    """Answers at random: no model, but of the shape that one has. Half of what it says hangs on the seed."""

    masked, name, inputs, failures, partial, prompts_sent = False, "chance", {}, Counter(), False, ""

    def __init__(self, seed: int, *, in_lists: bool) -> None:
        self.in_lists = in_lists
        self.rng, self.shared = np.random.default_rng(seed), np.random.default_rng(1)

    def log_likelihoods(self, requests):
        draws = self.shared.exponential(size=len(requests)) + self.rng.exponential(size=len(requests))
        return [Likelihood(-float(20 * x), 10) for x in draws]

    def pseudo_log_likelihoods(self, requests):
        return self.log_likelihoods(requests)

    def answers(self, requests, decoding):
        texts = (self.rng.choice(WORDS, (3, 2)) for _ in requests)
        mark = "{}. " if self.in_lists else ""
        return ["\n".join(mark.format(k) + " ".join(two) for k, two in enumerate(text, 1)) for text in texts]

    def embeddings(self, texts):
        return self.shared.normal(size=(len(texts), 8)) + self.rng.normal(size=(len(texts), 8))


def some_records(plan: BenchmarkPlan, seed: int) -> pd.DataFrame:
    """Of all items, those of a few clusters, in two of the parts that are measured by themselves."""
    benchmark = plan.benchmark
    try:
        items = benchmark.load(benchmark.place(DATA)).table
    except MissingFileError:
        pytest.skip(f"the data set {benchmark.folder} is not on this machine")
    records = benchmark.ask(items, Chance(seed, in_lists=plan.probe == "recommendation"))
    part = records[benchmark.apart] if benchmark.apart else pd.Series("", index=records.index)
    records = records[part.isin(part.unique()[:2])]
    kept = (
        records[benchmark.clusters[0]].groupby(part[records.index]).transform(lambda c: pd.factorize(c)[0] < CLUSTERS)
    )
    return records[kept.astype(bool)].reset_index(drop=True)


@pytest.mark.parametrize("probe", sorted(NAMES))
def test_two_random_models_compare_and_each_is_like_itself(probe, tmp_path):
    plan = load_benchmark_plan(probe.replace("_", "-") if probe != "holistic_bias_likelihood" else "holistic-bias")
    a, b = (some_records(plan, seed) for seed in (1, 2))
    assert not a.duplicated([*plan.benchmark.key, *(["sample"] if "sample" in a else [])]).any()
    if probe == "decisions":  # a second opinion that does not converge on so few
        plan = plan.model_copy(update={probe: plan.benchmark.lean()})
    folders = [save(tmp_path / name, plan, records) for name, records in (("a", a), ("b", b))]
    diff = compare_audits(*folders, n_groups=3)
    known = [m for m in measure(plan, a) if math.isfinite(m.estimate.ci_low)]
    moved = [change for change in diff.changes if math.isfinite(change.ci_low)]
    assert len(moved) >= 0.5 * len(known) > 0
    same = compare_audits(folders[0], folders[0], n_groups=3)
    found = {change.status for change in same.changes}
    assert found <= {ChangeStatus.UNCHANGED, ChangeStatus.NOT_MEASURED}
    assert ChangeStatus.UNCHANGED in found
