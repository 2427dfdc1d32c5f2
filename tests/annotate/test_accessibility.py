"""Every page in every state: no violation that axe-core knows, and what it does not look at."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_fair.annotate.questions import MAX_REMARK, CannotJudge, Submission
from rlhf_fair.annotate.records import Time
from tests.annotate.conftest import Screen, Study

pytestmark = pytest.mark.browser

NAMELESS = """Array.from(document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a, progress"))
  .filter((e) => !((e.labels && e.labels.length && e.labels[0].textContent.trim())
    || e.getAttribute("aria-labelledby")
    || e.textContent.trim())).map((e) => e.outerHTML)"""

SMALL = """Array.from(document.querySelectorAll("button, .choices label, .tick label, summary, select, textarea"))
  .filter((e) => e.checkVisibility() && Math.min(e.offsetWidth, e.offsetHeight) < 24).map((e) => e.outerHTML)"""

CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.slice(0, 3).map((c) => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    found.push([ratio(rgb(getComputedStyle(element).color), behind(element)), walk.currentNode.data.trim(), "text"]);
  }
  for (const e of document.querySelectorAll(".choices label, select, textarea")) {
    found.push([ratio(rgb(getComputedStyle(e).borderTopColor), behind(e.parentElement)), e.outerHTML, "border"]);
  }
  return found;
}"""
"""WCAG 2.2: relative luminance L = .2126 R + .7152 G + .0722 B of linear channels, ratio (L1 + .05) / (L2 + .05)."""


def tour(screen: Screen, study: Study) -> Iterator[str]:
    """Walks through a study of three pairs and a text; after each name the browser shows that state."""
    page = screen.page

    def send(button: str = "button[type=submit]") -> None:
        page.evaluate("document.querySelector('form').noValidate = true")
        page.click(button)

    screen.open("/start/x")
    yield "unknown link"
    screen.open(f"/start/{study.tokens['007']}")
    yield "consent"
    send()
    page.wait_for_selector("[role=alert]")
    yield "consent error"
    page.check("#agree")
    page.click("button")
    screen.leads_to("/about")
    yield "about"
    page.click("button")
    yield from _items(screen, study, send)
    screen.open("/about")
    yield "about again"
    screen.open("/nowhere")
    yield "no such page"
    screen.open("/withdraw")
    page.evaluate("document.querySelector('[name=token]').value = 'forged'")
    page.click("button")
    page.wait_for_selector("text=out of date")
    yield "refused form"
    screen.open("/withdraw")
    page.evaluate("document.querySelector('form').enctype = 'text/plain'")
    page.click("button")
    page.wait_for_selector("text=could not be read")
    yield "unreadable form"
    screen.open("/withdraw")
    yield "withdraw"
    page.click("button")
    page.wait_for_selector("text=You have withdrawn")
    yield "withdrawn"
    screen.open("/item/1")
    yield "after withdrawing"


def _items(screen: Screen, study: Study, send) -> Iterator[str]:
    page = screen.page
    asked = {p: study.store.task("007", p).asked for p in range(1, 5)}
    place = [p for p in asked if asked[p] == ("pair",)]
    for position in range(1, 5):
        screen.leads_to(f"/item/{position}")
        if position == place[0]:
            yield "pair"
            send()
            page.wait_for_selector("[role=alert]")
            yield "pair error"
            assert page.locator("fieldset[aria-invalid=true]").get_attribute("aria-describedby") == "p-pair"
            page.click("[role=alert] a")
            assert page.evaluate("document.activeElement.id") == "q-pair"
            page.click(".keys button")
            yield "number keys off"
            page.click("summary")
            page.select_option("#reason", "language")
            yield "cannot judge"
            page.click("[name=cannot_judge]")
        elif asked[position] == ("pair",):
            if position == place[1]:
                yield "pair 2"
            page.check("#pair-2")
            send()
        else:
            yield "texts"
            page.fill("#edit", " ")
            page.evaluate(f"document.querySelector('#comment').value = 'x'.repeat({MAX_REMARK + 1})")
            send()
            page.wait_for_selector("[role=alert]")
            yield "texts error"
            page.fill("#comment", "x")
            page.fill("#edit", "The moon.")
            page.check("#rating-2")
            send()
    screen.leads_to("/done")
    yield "done"
    screen.open(f"/item/{place[0]}")
    yield "pair could not be judged"
    screen.open(f"/item/{place[1]}")
    yield "pair answered"
    texts = next(p for p in asked if asked[p] != ("pair",))
    for position, name in ((texts, "two answers in texts"), (place[1], "two answers to a pair")):
        screen.open(f"/item/{position}")
        task = study.store.task("007", position)  # meanwhile another tab says:
        study.store.save("007", task.item_id, Submission(cannot_judge=CannotJudge("other", "Hm.")), Time(1, 1.0))
        page.fill("#comment", "mine")
        page.click("form > .actions button")
        page.wait_for_selector("text=Just sent, not saved")
        yield name
        screen.tab_to("main button")
        screen.press("Enter")
        screen.leads_to(f"/item/{position + 1}" if position < 4 else "/done")
        assert study.store.task("007", position).sent.comment == "mine"


@pytest.fixture(scope="session")
def axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed, which brings axe-core")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


LOOKS = [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_nothing_is_amiss_on_any_page(browser, full, serve, axe: str, width: int, scheme: str) -> None:
    screen = Screen(browser, serve(full.path).url, width=width, color_scheme=scheme)
    seen = []
    for name in tour(screen, full):
        seen.append(name)
        screen.page.evaluate(axe)  # through the developer tools, which the page's policy does not bind
        found = screen.page.evaluate("axe.run()")
        assert len(found["passes"]) > 10, name
        said = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
        assert said == [], name
        check(screen.page, name)
    assert len(seen) == len(set(seen)) == 23
    screen.context.close()


def check(page, name: str) -> None:
    """What axe-core leaves open: contrast of borders, one of each landmark, no scrolling sideways, room to tap."""
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()
    for landmark in ("header", "main", "footer", "h1"):
        assert page.locator(landmark).count() == 1, (name, landmark)
    assert page.evaluate(NAMELESS) == [], name
    for ratio, text, kind in page.evaluate(CONTRAST):
        assert ratio >= (4.5 if kind == "text" else 3), (name, ratio, text)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, name
    assert page.evaluate(SMALL) == [], name  # WCAG 2.5.8


def test_axe_would_say_so(browser, pairs, serve, axe: str) -> None:
    """The same call on a page made worse on purpose."""
    screen = Screen(browser, serve(pairs.path).url)
    screen.open(f"/start/{pairs.tokens['007']}")
    screen.page.evaluate("document.querySelector('label').remove(); document.documentElement.removeAttribute('lang')")
    screen.page.evaluate(axe)
    found = {rule["id"] for rule in screen.page.evaluate("axe.run()")["violations"]}
    assert {"label", "html-has-lang"} <= found
    screen.context.close()
