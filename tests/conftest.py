"""Puts this folder on the import path, so that tests in any subfolder can use `tiny`; settings that all tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models run faster on one thread
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else it warns in a forked process

from pathlib import Path

import pytest
from hypothesis import settings

# no time limit for one example: machines differ
settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _answers_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of whoever runs it."""
    monkeypatch.setenv("RLHF_FAIR_CACHE", str(tmp_path / "cache"))
