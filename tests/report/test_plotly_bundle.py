"""A smaller bundle: named by its hash, kept inside the page, refused where it cannot draw; and one that is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from visits import Visit

from rlhf_fair.cli.app import app
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.report import write_report
from rlhf_fair.report.bundle import Bundle, bundle_of, installed_bundle, read_bundle
from rlhf_fair.report.data import page as page_data
from rlhf_fair.report.embed import PLOTLY_ID, unpack_block
from rlhf_fair.report.folder import render_again
from rlhf_fair.report.html import render
from rlhf_fair.report.rendering import read_rendering

SMALL = """var modules=[{moduleType:"trace",name:"scatter"},{moduleType:"trace",name:"bar"}];
var Plotly={react:(element,data)=>{element.dataset.traces=data.length;}};"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "plotly-small.min.js"
    path.write_text(SMALL)
    return path


@pytest.fixture
def folder(tmp_path: Path, demo) -> Path:
    """An audit's folder without a manifest, as `write_report` and the results alone make it."""
    folder = tmp_path / "audit"
    write_report(folder, demo)
    (folder / "results.json").write_text(demo.model_dump_json())
    return folder


def test_the_installed_bundle_draws_what_plotly_lists():
    found = installed_bundle().traces
    assert {"scatter", "bar", "waterfall", "heatmap", "pie"} <= found
    assert len(found) > 40


def test_a_bundle_handed_in_is_named_and_used_again(folder, small):
    before = (folder / "index.html").read_bytes()
    runner = CliRunner()
    assert runner.invoke(app, ["report", str(folder), "--plotly-js", str(small)]).exit_code == 0
    digest = hashlib.sha256(SMALL.encode()).hexdigest()
    assert json.loads((folder / "rendering.json").read_text())["plotly_js"] == digest
    page = folder / "index.html"
    made = page.read_bytes()
    assert unpack_block(made.decode(), PLOTLY_ID, most_bytes=10**6) == SMALL.encode()
    assert len(made) < len(before) / 5
    small.unlink()
    assert runner.invoke(app, ["report", str(folder)]).exit_code == 0  # the page itself still has it
    assert page.read_bytes() == made
    assert runner.invoke(app, ["report", str(folder), "--plain"]).exit_code == 0
    assert page.read_bytes() == before
    assert not (folder / "rendering.json").exists()


def test_another_bundle_in_the_page_than_the_one_named_is_refused(folder, small):
    rendering = read_rendering(folder).model_copy(update={"plotly_js": read_bundle(small).sha256})
    render_again(folder, rendering, read_bundle(small))
    page = folder / "index.html"
    page.write_text(render(page_data(_results(folder)), bundle=Bundle(SMALL + "//", "another")))
    with pytest.raises(SettingsError, match="--plotly-js FILE, or render with --plain"):
        bundle_of(page, rendering.plotly_js)
    assert bundle_of(page, "") is None


def _results(folder: Path):
    from rlhf_fair.records import Results

    return Results.model_validate_json((folder / "results.json").read_text())


def test_a_bundle_without_a_needed_trace_is_refused(demo):
    only_bars = Bundle('[{moduleType:"trace",name:"bar"}]', "plotly-bars.js")
    with pytest.raises(SettingsError, match=r"plotly-bars\.js cannot draw scatter, .* it draws bar"):
        render(page_data(demo), bundle=only_bars)


@pytest.mark.parametrize(("content", "said"), [(b"alert(1)", "declares no trace type"), (b"\xff\xfe", "no UTF-8 text")])
def test_what_is_no_bundle_is_refused(tmp_path, folder, content, said):
    path = tmp_path / "x.js"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        read_bundle(path)
    before = (folder / "index.html").read_bytes()
    result = CliRunner().invoke(app, ["report", str(folder), "--plotly-js", str(path)])
    assert isinstance(result.exception, SettingsError)
    assert (folder / "index.html").read_bytes() == before
    with pytest.raises(MissingFileError):
        read_bundle(tmp_path / "none.js")


def test_a_byte_order_mark_does_not_change_the_hash(tmp_path, small):
    marked = tmp_path / "marked.js"
    marked.write_bytes(b"\xef\xbb\xbf" + small.read_bytes())
    assert read_bundle(marked).sha256 == read_bundle(small).sha256


@pytest.mark.browser
def test_the_policy_lets_a_bundle_handed_in_run_and_nothing_else(browser, folder, small):
    rendering = read_rendering(folder).model_copy(update={"plotly_js": read_bundle(small).sha256})
    visit = Visit(browser, render_again(folder, rendering, read_bundle(small)))
    assert visit.drawn() == visit.page.locator(".plot[data-traces]").count() > 0
    visit.page.evaluate(
        "document.head.append(Object.assign(document.createElement('script'), {textContent: 'pwned(1)'}))"
    )
    assert visit.page.evaluate("hits") == []
    assert visit.page.evaluate("violations").count("script-src-elem") == 1
    assert [line for line in visit.noise if "Content Security Policy" not in line] == []
    visit.context.close()
