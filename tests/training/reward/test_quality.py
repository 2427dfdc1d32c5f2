from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.cli.train_reward import summary_lines
from rlhf_fair.training.reward.quality import evaluate
from rlhf_fair.training.reward.sources import Source

LEVELS = {"mild": 0.8, "harsh": 0.3}


def held_out(skill: float, n: int = 400) -> tuple[pd.DataFrame, list[Source]]:
    """Two sources of different level, five raters a text; the model knows the level and ``skill`` of the rest."""
    rng = np.random.default_rng(0)
    parts, sources = [], []
    for name, level in LEVELS.items():
        truth = level + 0.1 * rng.standard_normal(n)
        value = truth[:, None] + 0.1 * rng.standard_normal((n, 5))
        ids = [str(k) for k in range(n)]  # the same in both sources
        part = pd.DataFrame({"source": name, "item_id": ids, "split": "test", "rating": value.mean(axis=1)})
        part["key"] = name + part["item_id"]
        part["plain_rating"] = part["rating"]
        noise = 0.1 * np.sqrt(1 - skill**2) * rng.standard_normal(n)
        part["prediction"] = 10 * (level + skill * (truth - level) + noise)
        ratings = pd.DataFrame({"item_id": np.repeat(ids, 5), "value": value.ravel(), "weight": 1.0})
        parts.append(part)
        sources.append(Source(name, part, pd.DataFrame(), 5 * n, ratings))
    return pd.concat(parts, ignore_index=True), sources


def test_a_model_that_only_tells_sources_apart_is_shown_for_what_it_is() -> None:
    quality = evaluate(*held_out(skill=0.0), seed=0)["test"]
    assert quality["pooled"]["pearson_r"]["estimate"] > 0.7
    for found in (quality["pooled"]["pearson_r_within_source"], quality["mild"]["pearson_r"]):
        assert found["ci_low"] < 0 < found["ci_high"]
    alone = quality["pooled"]["pearson_r_of_source_means"]["estimate"]
    assert alone > quality["pooled"]["pearson_r"]["estimate"]


def test_each_number_has_its_n_and_its_ceiling() -> None:
    report = evaluate(*held_out(skill=1.0), seed=0)
    pooled, ceilings = report["test"]["pooled"], report["noise_ceiling"]
    assert {found["n"] for found in pooled.values()} == {800}
    assert report["test"]["harsh"]["pearson_r"]["n"] == 400
    # one source: variance .01 of the truth, .01 / 5 of the mean's noise; the root of .01 / .012 is .913
    expected = np.sqrt(0.01 / 0.012)
    assert ceilings["mild"]["pearson_r"] == pytest.approx(expected, abs=0.03)
    assert ceilings["pooled"]["pearson_r_within_source"] == pytest.approx(expected, abs=0.03)
    # pooled: the levels add .25 ** 2 = .0625 to the truth
    assert ceilings["pooled"]["pearson_r"] == pytest.approx(np.sqrt(0.0725 / 0.0745), abs=0.01)
    # a model that knows the truth reaches the ceiling
    assert pooled["pearson_r_within_source"]["estimate"] == pytest.approx(expected, abs=0.03)


def test_the_summary_prints_every_correlation() -> None:
    report = evaluate(*held_out(skill=0.5), seed=0)
    metrics = report | {"rejects": {}, "items": {}, "seconds": 1.0, "steps": 1, "rows": {"mild": 1, "harsh": 1}}
    lines = [line for line in summary_lines(metrics, Path("rm"), False) if line.startswith("held out")]
    assert len(lines) == sum(len(part) for part in report["test"].values()) == 4 + 2 + 2
    assert sum("within sources" in line for line in lines) == 1
