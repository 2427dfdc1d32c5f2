"""Pages rendered again: what another renderer excuses, in folders whose hashes, log and statement are made to match."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_fair.artifacts import LOG_NAME, MANIFEST_NAME, canonical_json
from rlhf_fair.attestation import sealing
from rlhf_fair.cli.app import app
from rlhf_fair.integrity.checks import Check, Verification
from rlhf_fair.integrity.likeness import likeness
from rlhf_fair.integrity.verify import examine_folder
from rlhf_fair.report import embed
from rlhf_fair.report.bundle import Bundle
from rlhf_fair.report.html import render

OTHER = "0" * 64


@pytest.fixture(scope="module")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "audit"
    CliRunner().invoke(app, ["audit", "ll144", "--out", str(out), "--quiet"])
    return out


@pytest.fixture
def published(_published: Path, tmp_path: Path) -> Path:
    """The audit of selection rates, which has a table to publish."""
    return Path(shutil.copytree(_published, tmp_path / "audit"))


def resealed(folder: Path, monkeypatch: pytest.MonkeyPatch, *, renderer: str = OTHER) -> Verification:
    """Hashes, log and statement made to match whatever the folder now holds, as of another renderer."""
    inputs = json.loads((folder / MANIFEST_NAME).read_bytes())["inputs"]
    (folder / LOG_NAME).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(sealing, "renderer", lambda: renderer)
        sealing.seal(folder, inputs=inputs, seeds={})
    return examine_folder(folder, recompute=False)


def rendered(found: Verification) -> Check:
    return next(check for check in found.checks if check.name == "page, rendered again")


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def other_number(text: str) -> str:
    return text.replace(".35", ".95")


@pytest.mark.parametrize("names", [("summary.md", "publication.csv", "publication.html"), ("publication.csv",)])
def test_other_numbers_disagree_whatever_renderer_is_named(
    published: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        edit(published / name, other_number)
    found = resealed(published, monkeypatch)
    assert found.problems == (rendered(found),)
    assert all(name in rendered(found).detail for name in names)


def test_other_words_of_another_renderer_are_not_proven_and_not_signed(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(published / "summary.md", lambda text: text.replace("impact ratio", "ratio of rates"))
    found = resealed(published, monkeypatch)
    assert (found.problems, found.unproven) == ((), (rendered(found),))
    assert "summary.md (other words from line" in rendered(found).detail
    run = CliRunner().invoke
    told = run(app, ["verify", str(published), "--no-recompute", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["matches"]) == (3, False)
    run(app, ["keys", "new", "--out", str(tmp_path / "keys"), "--no-passphrase"])
    signed = run(app, ["sign", str(published), "--key", str(tmp_path / "keys" / "signing-key.pem")])
    assert "is not proven" in str(signed.exception)
    assert signed.exit_code != 0
    assert not (published / "attestation.dsse.json").exists()


def test_other_words_of_this_renderer_disagree(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(published / "summary.md", lambda text: text.replace("impact ratio", "ratio of rates"))
    assert resealed(published, monkeypatch, renderer=sealing.renderer()).problems


@pytest.mark.parametrize("name", ["summary.md", "publication.csv"])
def test_a_file_that_is_missing_or_not_to_be_there_does_not_pass(
    published: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (published / name).unlink()
    assert f"{name} (missing)" in rendered(resealed(published, monkeypatch)).detail
    shutil.copy(published / "publication.html", published / "clauses.csv")
    found = resealed(published, monkeypatch, renderer=sealing.renderer())
    assert "clauses.csv (not to be there)" in rendered(found).detail
    assert found.problems


def test_the_same_bytes_agree_whatever_renderer_is_named(unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resealed(unsigned, monkeypatch)
    assert rendered(found).outcome == "agrees"
    (unsigned / "index.html").unlink()
    found = resealed(unsigned, monkeypatch)
    assert [(check.outcome, check.name) for check in found.checks[-2:]] == [
        ("not done", "page, data inside"),
        ("agrees", "page, rendered again"),
    ]


def repacked(page: str, change: Callable[[bytes], bytes] = lambda data: data, id: str = '[^"]+') -> str:
    """Every block of the page unpacked, changed, and packed by another encoder."""

    def block(match: re.Match[str]) -> str:
        data = change(gzip.decompress(base64.b64decode(match[2])))
        return match[1] + base64.b64encode(gzip.compress(data, compresslevel=1, mtime=0)).decode()

    return re.sub(rf'(<script type="application/octet-stream" id="{id}">)([A-Za-z0-9+/=]+)', block, page)


def test_another_zlib_packs_the_same_content(unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(unsigned / "index.html", repacked)
    for renderer in (OTHER, sealing.renderer()):
        check = rendered(resealed(unsigned, monkeypatch, renderer=renderer))
        assert (check.outcome, "index.html: the same content, packed otherwise" in check.detail) == ("agrees", True)


def test_other_numbers_in_a_plot_disagree(unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = embed.unpack_block((unsigned / "index.html").read_text(), "figures-data", most_bytes=10**7)
    assert figures is not None
    number = next(re.finditer(rb"\d+\.\d", figures))[0]
    edit(
        unsigned / "index.html", lambda page: repacked(page, lambda d: d.replace(number, b"7" + number), "figures-data")
    )
    assert resealed(unsigned, monkeypatch).problems


def test_another_plotly_is_named_and_all_else_compared(unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlhf_fair.artifacts import read_results
    from rlhf_fair.report.data import page

    swapped = Bundle('var Plotly={react(){}};[{moduleType:"trace",name:"scatter"}]', "swapped")
    (unsigned / "index.html").write_text(render(page(read_results(unsigned)), bundle=swapped))
    found = resealed(unsigned, monkeypatch)
    assert rendered(found).outcome == "agrees"
    assert swapped.sha256 in found.unproven[0].detail
    assert resealed(unsigned, monkeypatch, renderer=sealing.renderer()).problems


def test_a_page_whose_data_no_version_here_can_render_is_not_proven(
    unsigned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unsigned / "rendering.json").write_bytes(canonical_json({"schema_version": "1", "colour": "of later versions"}))
    found = resealed(unsigned, monkeypatch)
    assert "cannot render results.json" in found.unproven[0].detail


@pytest.mark.parametrize(
    ("held", "made", "found"),
    [
        ("0.35 of 1,000", "0.35 of 1,000", "same bytes"),
        ("0.95 of 1,000", "0.35 of 1,000", "other numbers"),
        ("−0.35", "0.35", "other numbers"),
        ("0.35 of 10", "0.35 in 10", "other words"),
    ],
)
def test_likeness_of_texts(held: str, made: str, found: str) -> None:
    assert likeness(held.encode(), made.encode()) == found


def test_a_block_that_unpacks_without_end_is_not_unpacked() -> None:
    block = '<script type="application/octet-stream" id="x">{}</script>'
    bomb = base64.b64encode(gzip.compress(bytes(10**8), mtime=0)).decode()
    small = base64.b64encode(gzip.compress(b"{}", mtime=0)).decode()
    assert likeness(block.format(bomb).encode(), block.format(small).encode()) == "other words"
