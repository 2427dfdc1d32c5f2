"""Whatever a file holds, its reader returns or says in one of our errors what is wrong with which file.

A few damaged files for each reader here; ``RLHF_FAIR_FUZZ=10000`` tries so many (see README.md).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from fuzz.catalogue import READERS
from fuzz.damage import damaged
from fuzz.reader import fault_of, put

EXAMPLES = int(os.environ.get("RLHF_FAIR_FUZZ", "0"))


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", READERS)
def test_reads_the_sound_file(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    put(tmp_path / "folder", reader.files(), reader.mode)
    reader.read(tmp_path / "folder")


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_told_and_nothing_is_lost(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    reader, folder = READERS[name], tmp_path_factory.mktemp("fuzz") / "in-folder"
    files = dict(reader.files())
    put(folder, files, reader.mode)
    cases = st.sampled_from(reader.targets).flatmap(lambda file: st.tuples(st.just(file), damaged(file, files[file])))

    @settings(
        max_examples=EXAMPLES or (2 if reader.slow else 4),
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,  # the reader's own CPU time is limited
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def holds(case: tuple[str, bytes]) -> None:
        file, content = case
        put(folder, {file: content}, reader.mode)
        fault = fault_of(reader, folder, file)
        put(folder, {file: files[file]}, reader.mode)
        note(f"{file}: {content[:500]!r}")
        assert fault is None, fault

    holds()
