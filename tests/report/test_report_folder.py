"""Rendering again and verifying: any changed byte, added or missing file is noticed."""

from __future__ import annotations

import json

import pytest

from rlhf_fair.artifacts import write_manifest, write_results
from rlhf_fair.errors import IntegrityError, MissingFileError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.report import write_report
from rlhf_fair.report.folder import render_again


@pytest.fixture
def audited(tmp_path, reward_identity):
    write_results(tmp_path, reward_identity)
    write_report(tmp_path, reward_identity)
    (tmp_path / "records.csv").write_text("item,score\n1,0.5\n")
    write_manifest(tmp_path, inputs={}, seeds={})
    return tmp_path


def test_an_untouched_folder_verifies(audited):
    assert verify_folder(audited).files == 4


@pytest.mark.parametrize("name", ["results.json", "index.html", "summary.md", "records.csv"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_one_flipped_bit_is_noticed(audited, name, where):
    path = audited / name
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=f"changed: {name}"):
        verify_folder(audited)


def test_an_added_file_is_noticed(audited):
    (audited / "note.txt").write_text("hello")
    with pytest.raises(IntegrityError, match=r"not in the manifest: note\.txt"):
        verify_folder(audited)


def test_a_removed_file_is_noticed(audited):
    (audited / "records.csv").unlink()
    with pytest.raises(IntegrityError, match=r"missing: records\.csv"):
        verify_folder(audited)


def test_a_page_of_other_results_is_noticed_even_under_a_fresh_manifest(audited, reward_identity):
    write_report(audited, reward_identity.model_copy(update={"findings": reward_identity.findings[:-1]}))
    write_manifest(audited, inputs={}, seeds={})
    with pytest.raises(IntegrityError, match=r"differ from results\.json"):
        verify_folder(audited)


@pytest.mark.parametrize("change", [lambda s: s.replace('id="results-data"', 'id="x"'), lambda s: s + s])
def test_a_page_without_exactly_one_data_block_is_noticed(audited, change):
    page = audited / "index.html"
    page.write_text(change(page.read_text()))
    write_manifest(audited, inputs={}, seeds={})
    with pytest.raises(IntegrityError, match="differ"):
        verify_folder(audited)


def test_rendering_again_keeps_the_folder_verified(audited):
    before = json.loads((audited / "manifest.json").read_text())
    (audited / "index.html").write_text("old")
    render_again(audited)
    assert verify_folder(audited).files == 4
    assert json.loads((audited / "manifest.json").read_text()) == before


def test_rendering_again_does_not_whitewash_changed_results(audited):
    path = audited / "results.json"
    path.write_text(path.read_text().replace('"seed":null', '"seed":1').replace("English only", "All languages"))
    with pytest.raises(IntegrityError, match="not rendered"):
        render_again(audited)


def test_rendering_leaves_other_tampering_visible(audited):
    (audited / "records.csv").write_text("item,score\n1,0.9\n")
    render_again(audited)
    with pytest.raises(IntegrityError, match=r"changed: records\.csv"):
        verify_folder(audited)


def test_a_manifest_that_lists_nothing_fails(audited):
    (audited / "manifest.json").write_text("[]")
    with pytest.raises(IntegrityError):
        verify_folder(audited)


def test_missing_folder(tmp_path):
    for action in (render_again, verify_folder):
        with pytest.raises(MissingFileError):
            action(tmp_path / "none")
