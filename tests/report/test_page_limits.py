"""Sizes, filter and print of a page with 12 plots and of one with 10,000 findings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from many import LABEL, many_results
from visits import Visit

from rlhf_fair.artifacts import canonical_json, read_results, sha256_bytes, write_results
from rlhf_fair.attestation.renderer import renderer
from rlhf_fair.integrity.pages import check_pages
from rlhf_fair.report import write_report
from rlhf_fair.report.bundle import Bundle
from rlhf_fair.report.data import page as page_data
from rlhf_fair.report.display import FIRST_ROWS, LONG_ROWS
from rlhf_fair.report.embed import unpack_results
from rlhf_fair.report.html import render

MANY = 10_000


@pytest.fixture(scope="module")
def many():
    return many_results(MANY)


@pytest.fixture(scope="module")
def path(many, tmp_path_factory) -> Path:
    return write_report(tmp_path_factory.mktemp("many"), many)


def test_a_page_with_twelve_plots_stays_under_its_size(demo):
    content = page_data(demo)
    assert sum(len(chart.plots) for section in content.sections for chart in section.charts) >= 12
    assert len(render(content).encode()) <= 2_300_000
    tiny = Bundle('[{moduleType:"trace",name:"scatter"}]', "tiny")
    # plotly-basic.min.js 3.7.0 packs to 497,000 bytes: what is left of 800,000 for all else
    assert len(render(content, bundle=tiny).encode()) <= 303_000


def test_a_long_table_costs_little(path):
    """Plotly is 1.96 MB of it; the findings in full precision, 0.9 MB, stay beside the page."""
    assert path.stat().st_size <= 2_700_000


def test_very_many_findings_stay_beside_the_page_with_their_hash(many, path, tmp_path):
    held = json.loads(unpack_results(path.read_text(), most_bytes=10**7))
    findings = [finding.model_dump(mode="json") for finding in many.findings]
    assert held["findings"] == []
    assert held["findings_beside"] == {"n": MANY, "sha256": sha256_bytes(canonical_json(findings))}
    assert "stand in its table as they are shown" in path.read_text()
    write_results(tmp_path, many)
    write_report(tmp_path, read_results(tmp_path))
    assert [check.outcome for check in check_pages(tmp_path, {"renderer": renderer()})] == ["agrees", "agrees"]
    changed = many.findings[5].model_copy(update={"estimate": 0.5})
    write_results(tmp_path, many.model_copy(update={"findings": (*many.findings[:5], changed, *many.findings[6:])}))
    assert [check.outcome for check in check_pages(tmp_path, {"renderer": renderer()})] == ["disagrees"]


def test_a_long_table_is_written_in_part_and_claims_first(many):
    (table,) = (t for section in page_data(many).sections for t in section.tables if t.id == "all-table")
    assert len(table.rows) == MANY
    assert table.written[:FIRST_ROWS] == table.rows[:FIRST_ROWS]
    assert FIRST_ROWS < len(table.written) <= LONG_ROWS
    # one in a hundred is a claim: 99 of them stand behind the first hundred rows
    assert table.written[FIRST_ROWS:] == table.rows[100::100]


@pytest.mark.browser
def test_many_rows_are_filtered_by_what_is_typed(browser, path):
    visit = Visit(browser, path)
    assert visit.drawn() >= 1
    visit.page.locator("#all summary").click()
    rows = visit.page.locator("#all-table tbody tr")
    for query, shown in (("g", True), ("nothing has this", False), ("", True), ("01234", True)):
        visit.page.locator("#all input").first.fill(query)
        assert (rows.count() > 0) == shown
        assert all(query in text.lower() for text in rows.all_inner_texts())
    assert rows.count() == 1
    assert "group 01234" in rows.first.inner_text()
    assert visit.noise == []
    assert visit.page.evaluate("violations") == []
    visit.context.close()


@pytest.mark.browser
def test_built_rows_are_like_written_ones(browser, path):
    """The first page is in the file as HTML, and the script builds it anew from the packed rows."""
    html = "Array.from(document.querySelectorAll('#all-table tbody tr')).slice(0, 100).map((row) => row.innerHTML)"
    visit = Visit(browser, path, java_script_enabled=False)
    written = [row.inner_html() for row in visit.page.locator("#all-table tbody tr").all()[:FIRST_ROWS]]
    note = visit.page.locator("#all .alone")
    visit.page.locator("#all summary").click()
    assert note.is_visible()
    assert f"{MANY:,}" in note.inner_text()
    visit.context.close()
    visit = Visit(browser, path)
    visit.drawn()
    plain = [_attributes_sorted(row) for row in visit.page.evaluate(html)]
    assert plain == [_attributes_sorted(row) for row in written]
    visit.page.locator("#all summary").click()
    assert not visit.page.locator("#all .alone").is_visible()
    visit.context.close()


def _attributes_sorted(row: str) -> str:
    named = re.compile('[-a-z]+="[^"]*"')
    sort = lambda tag: " ".join(["<td", *sorted(named.findall(tag.group(1))), ">"])  # noqa: E731
    return re.sub("<td([^>]*)>", sort, row).replace("\n", "")


@pytest.mark.browser
def test_paper_has_every_row(browser, path):
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed, which reads PDF")
    visit = Visit(browser, path)
    visit.drawn()
    visit.page.locator("#all summary").click()
    visit.page.locator("#all input").fill("nothing has this")  # a filter is for the screen
    made = visit.page.pdf(tagged=True)  # as browsers print: with the structure that screen readers use
    assert visit.page.locator(".printed div").count() == 0  # and nothing of it stays
    visit.context.close()
    assert len(made) <= 2_000_000
    document = pdfium.PdfDocument(made)
    text = " ".join(page.get_textpage().get_text_range() for page in document)
    assert {LABEL.format(at) for at in range(MANY)} <= set(re.findall(r"group \d{5}", text))


@pytest.mark.browser
def test_paper_has_every_row_of_short_tables_and_every_plot(browser, tmp_path, demo):
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed, which reads PDF")
    visit = Visit(browser, write_report(tmp_path, demo), color_scheme="dark")
    visit.drawn()
    visit.page.locator("#all summary").click()
    visit.page.locator("#all input").fill("nothing has this")
    document = pdfium.PdfDocument(visit.page.pdf())
    visit.context.close()
    text = re.sub(r"\s+", " ", " ".join(page.get_textpage().get_text_range() for page in document))
    for section in page_data(demo).sections:
        assert section.heading in text
    groups = {finding.group for finding in demo.findings}
    assert all(text.count(group) >= sum(f.group == group for f in demo.findings) for group in groups)
