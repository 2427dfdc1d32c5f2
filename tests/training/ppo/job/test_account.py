from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.training.ppo.job.account import Account, account
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.prompt_table import PromptTable

REWARD = {"kind": "python", "function": "pay.py:kindness"}


def told(effects: np.ndarray, noise: np.ndarray, **clusters: Any) -> Account:
    """The account of held-out rows whose reward was 0 and is the effect of their text and noise.

    effects: (texts,). noise: (texts, copies).
    """
    texts, copies = noise.shape
    text = np.repeat(np.arange(texts), copies)
    rows = pd.DataFrame({"prompt_id": [f"p{k}" for k in range(len(text))], **clusters})
    config = PPOConfig.model_validate(
        {"title": "t", "model": "m", "rewards": [REWARD], "prompts": {"path": "p.csv", "clusters": tuple(clusters)}}
    )
    table = PromptTable(rows, rows.assign(prompt=[f"text {k}" for k in text]), pd.DataFrame(), len(rows), 0)
    before = rows.assign(sample=0, reward=0.0)
    return account(config, table, before, before.assign(reward=effects[text] + noise.ravel()))


def test_copies_of_one_text_are_one_unit_of_an_interval() -> None:
    """20 texts of 20 rows each, a true mean of 0: 95 % intervals hold it 95 times in 100, give or take 1.5 (one SE)."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(200):
        found = told(rng.normal(size=20), rng.normal(size=(20, 20))).compared.level("reward")["change"]
        covered.append(found.ci_low <= 0 <= found.ci_high)
        assert (found.n, found.n_clusters) == (400, 20)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.045)


def test_texts_are_a_clustering_of_their_own_unless_a_cluster_holds_all_copies() -> None:
    """Four texts of two copies: in the same twin, then in two."""
    noise = np.random.default_rng(0).normal(size=(4, 2))
    assert told(np.zeros(4), noise, twin=[0, 0, 1, 1, 2, 2, 3, 3]).compared.clusters == ("twin",)
    assert told(np.zeros(4), noise, twin=[0, 1, 2, 3, 4, 5, 6, 7]).compared.clusters == ("twin", "same prompt text")
    assert told(np.zeros(4), noise).compared.clusters == ("same prompt text",)
