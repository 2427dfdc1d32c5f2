"""Data sets are read from a folder, or from the hub's cache on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from rlhf_fair.audit.data_folder import data_folder
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import MissingFileError, SettingsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache as its library lays it out, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    copy = tmp_path / "datasets--owner--pairs"
    (copy / "refs").mkdir(parents=True)
    (copy / "refs" / "main").write_text(COMMIT)
    (copy / "snapshots" / COMMIT).mkdir(parents=True)
    (copy / "snapshots" / COMMIT / "pairs.csv").write_text("a\n1\n")
    return tmp_path


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert data_folder(str(tmp_path)) == tmp_path


def test_a_data_set_on_the_hub_is_its_local_copy(hub_cache: Path) -> None:
    assert (data_folder("hub:owner/pairs") / "pairs.csv").read_text() == "a\n1\n"


@pytest.mark.parametrize("name", ["hub:owner/absent", "hub:no such/name!"])
def test_what_cannot_be_had_is_one_line(name: str, hub_cache: Path) -> None:
    with pytest.raises(MissingFileError, match="data set on the hub not found: hub:") as error:
        data_folder(name)
    assert "\n" not in str(error.value)


def test_a_benchmark_without_data_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="give --data-dir, which holds bbq/data"):
        run_audit(find_plan("bbq"), Target(model="owner/name"), out=tmp_path / "out")
