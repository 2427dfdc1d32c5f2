"""axe-core finds nothing on any kind of page: light, dark, 320 px and at 200 % zoom."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from many import many_results
from visits import Visit

from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.report import write_report

pytestmark = pytest.mark.browser

# 200 % zoom of a window of 1280 by 900 is a window of 640 by 450 in which a CSS pixel is two
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "320 px": {"width": 320, "height": 640},
    "200 %": {"width": 640, "height": 450, "device_scale_factor": 2},
}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed, which brings axe-core")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(visit: Visit, axe: str, without: str = "") -> list[tuple[str, list[str]]]:
    visit.page.evaluate(axe)  # through the developer tools, which the page's policy does not bind
    where = {"include": [["html"]], "exclude": [[without]] if without else []}
    found = visit.page.evaluate("([where, rules]) => axe.run(where, rules)", [where, RULES])
    assert len(found["passes"]) > 10
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:5]) for rule in found["violations"]]


@pytest.fixture(scope="module")
def selection(tmp_path_factory) -> Path:
    """The folder of the shipped audit after New York City's local law 144, on its made-up people."""
    folder = tmp_path_factory.mktemp("ll144") / "out"
    write_report(folder, run_audit(find_plan("ll144"), Target(), out=folder))
    return folder


@pytest.fixture(params=["demo", "many", "selection", "publication"])
def path(request, tmp_path) -> Path:
    if request.param == "many":
        return write_report(tmp_path, many_results(10_000))
    if request.param == "demo":
        return write_report(tmp_path, request.getfixturevalue("demo"))
    name = {"selection": "index.html", "publication": "publication.html"}[request.param]
    return request.getfixturevalue("selection") / name


def test_nothing_is_amiss(browser, path, axe):
    for look, options in LOOKS.items():
        visit = Visit(browser, path, **options)
        if path.name != "publication.html":  # which has no scripts
            visit.drawn()
        visit.open_details()
        # the marks inside figures have the colours of the wide page, and weighing each of them takes seconds
        assert violations(visit, axe, without="" if "color_scheme" in options else ".plot svg") == [], look
        assert visit.sideways() <= 0, look
        visit.context.close()


def test_axe_would_say_so(browser, tmp_path, axe, ratios):
    visit = Visit(browser, write_report(tmp_path, ratios))
    visit.drawn()
    visit.page.evaluate("document.documentElement.removeAttribute('lang'); document.title = ''")
    assert {"html-has-lang", "document-title"} <= {rule for rule, _ in violations(visit, axe)}
    visit.context.close()


def test_the_page_can_be_used_by_keyboard_alone(browser, tmp_path):
    visit = Visit(browser, write_report(tmp_path, many_results(400)))
    visit.drawn()
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#all summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("claim")
    assert page.locator("#all [role=status]").inner_text() == "4 rows, page 1 of 1"
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")  # "Previous" is off on the first page
    assert page.evaluate("document.activeElement.textContent") == "Next"
    page.keyboard.press("Enter")
    assert page.locator("#all [role=status]").inner_text() == "400 rows, page 2 of 4"
    page.keyboard.press("Tab")  # a table that scrolls can be scrolled by keyboard
    assert page.evaluate("document.activeElement.className") == "scroll"
    visit.context.close()
