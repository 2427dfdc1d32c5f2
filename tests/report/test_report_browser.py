"""The page in a browser, opened from disk: silent, complete, narrow, in both schemes, and deaf to hostile strings."""

from __future__ import annotations

import pytest
from visits import Visit

from rlhf_fair.report import write_report
from rlhf_fair.report.data import page as page_data

pytestmark = pytest.mark.browser


@pytest.fixture(params=["demo", "reward_identity", "feedback", "ratios"])
def path(request, tmp_path):
    return write_report(tmp_path, request.getfixturevalue(request.param))


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_draws_without_a_request_an_error_or_a_violation(browser, path, width, scheme):
    visit = Visit(browser, path, width=width, color_scheme=scheme)
    expected = visit.page.locator(".plot").count()
    assert visit.drawn() == expected > 0
    assert visit.page.locator(".plot svg.main-svg .scatterlayer .trace").count() >= expected
    assert visit.noise == []
    assert visit.page.evaluate("violations") == []
    visit.open_details()
    assert visit.sideways() <= 0
    visit.context.close()


@pytest.mark.parametrize("kind", ["reward_identity", "feedback", "ratios", "stopped"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_table_of_findings_scrolls_sideways(browser, tmp_path, request, kind, width):
    visit = Visit(browser, write_report(tmp_path, request.getfixturevalue(kind)), width=width)
    visit.drawn()
    visit.open_details()
    scrolling = """Array.from(document.querySelectorAll(".scroll"))
      .filter((box) => box.querySelector("table.stack") && box.scrollWidth > box.clientWidth + 1)
      .map((box) => box.getAttribute("aria-label"))"""
    assert visit.page.evaluate(scrolling) == []
    shown = visit.page.locator("#all-table tbody tr").first.locator("td:visible").count()
    assert shown == visit.page.locator("#all-table thead th").count()  # nothing is hidden to make it fit
    assert visit.sideways() <= 0
    visit.context.close()


def test_plots_follow_the_scheme(browser, tmp_path, demo):
    visit = Visit(browser, write_report(tmp_path, demo), color_scheme="light")
    visit.drawn()
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    light = visit.page.evaluate(ink)
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_timeout(500)
    assert visit.page.evaluate(ink) != light
    assert visit.noise == []
    visit.context.close()


def test_labels_on_a_forest_do_not_overlap(browser, path):
    for width in (390, 1280):
        visit = Visit(browser, path, width=width)
        visit.drawn()
        overlaps = visit.page.evaluate(
            """() => {
              const clash = [];
              for (const plot of document.querySelectorAll(".plot"))
                for (const axis of [".xtick text", ".ytick text"]) {
                  const boxes = Array.from(plot.querySelectorAll(axis), (e) => e.getBoundingClientRect());
                  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
                    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
                      clash.push(plot.id + axis);
                  }));
                }
              return clash;
            }"""
        )
        assert overlaps == []
        visit.context.close()


def test_it_reads_without_scripts(browser, tmp_path, demo):
    visit = Visit(browser, write_report(tmp_path, demo), java_script_enabled=False)
    assert visit.page.locator("#verdict .lead").is_visible()
    assert not visit.page.locator(".plots").first.is_visible()
    summary = visit.page.locator("#all summary")
    summary.click()
    rows = visit.page.locator("#all-table tbody tr")
    assert rows.count() > 50
    assert rows.last.is_visible()
    visit.context.close()


def test_long_tables_filter_and_page(browser, tmp_path, reward_identity):
    visit = Visit(browser, write_report(tmp_path, reward_identity))
    visit.drawn()
    visit.page.locator("#all summary").click()
    visible = visit.page.locator("#all-table tbody tr:visible")
    assert visible.count() == 100
    visit.page.locator("#all input").fill("control")
    # 8 controls by role, none of the descriptors holds the word
    assert visible.count() == sum(finding.role == "control" for finding in reward_identity.findings)
    visit.page.locator("#all input").fill("")
    visit.page.locator("#all button", has_text="Next").click()
    assert "page 2 of" in visit.page.locator("#all [role=status]").inner_text()
    assert visit.noise == []
    visit.context.close()


def test_print_shows_every_row(browser, tmp_path, demo):
    visit = Visit(browser, write_report(tmp_path, demo), color_scheme="dark")
    visit.drawn()
    visit.page.emulate_media(media="print")
    rows = visit.page.locator("#all-table tbody tr")
    assert rows.first.is_visible()
    assert rows.last.is_visible()
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    visit.context.close()


@pytest.mark.parametrize("bypass", [False, True], ids=["policy on", "policy off"])
def test_hostile_strings_run_nothing(browser, tmp_path, hostile, bypass):
    """Escaping alone must hold, so the second pass switches the policy off."""
    visit = Visit(browser, write_report(tmp_path, hostile), bypass_csp=bypass)
    assert visit.drawn() == len([p for s in page_data(hostile).sections for c in s.charts for p in c.plots])
    visit.open_details()
    visit.page.locator(".plot.forest .point").first.hover(force=True)
    assert visit.until("document.querySelectorAll('.hoverlayer .hovertext').length")
    assert visit.page.evaluate("hits") == []
    assert visit.noise == []
    assert visit.page.evaluate("document.querySelectorAll('.plot a, .plot img, main img, main script').length") == 0
    labels = " ".join(visit.page.locator(".plot .ytick text").all_text_contents())
    assert "<img" in labels
    assert visit.sideways() <= 0
    visit.context.close()
