"""The page in Chromium: by keyboard alone, reloaded, by two raters at once, and readable by everybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"

NAMELESS = """Array.from(document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a, progress"))
  .filter((e) => !((e.labels && e.labels.length && e.labels[0].innerText.trim()) || e.getAttribute("aria-label")
    || e.innerText.trim())).map((e) => e.outerHTML)"""

SMALL = """Array.from(document.querySelectorAll("button, .choices label, select, textarea"))
  .filter((e) => e.checkVisibility() && Math.min(e.offsetWidth, e.offsetHeight) < 24).map((e) => e.outerHTML)"""

FOCUSED = """(() => { const e = document.activeElement;
  return [e.className || e.name || e.type || e.getAttribute("href"), getComputedStyle(e).outlineStyle]; })()"""

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


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("uvicorn", reason="the extra 'annotate' is not installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield running
        running.close()


class Screen:
    """One rater's browser. Noise is what it asks of anybody but the server, and what it complains about."""

    def __init__(self, browser, url: str, *, width: int = 1280, **options) -> None:
        self.url = url
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.noise: list[str] = []
        self.page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _request(self, url: str) -> None:
        if not url.startswith((self.url + "/", "data:")):
            self.noise.append(f"request: {url}")

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, selector: str) -> None:
        """Tab until an element has the focus, as somebody without a mouse does."""
        for _ in range(40):
            if self.page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
            self.press("Tab")
        raise AssertionError(f"the Tab key never gets to {selector}")

    def leads_to(self, path: str) -> None:
        self.page.wait_for_url(self.url + path)

    def begin(self, token: str) -> None:
        """Through consent and the questions about oneself, by keyboard."""
        self.open(f"/start/{token}")
        self.tab_to("#agree")
        self.press("Space")
        self.tab_to("button")
        self.press("Enter")
        self.leads_to("/about")
        self.tab_to("button")
        self.press("Enter")
        self.leads_to("/item/1")

    def answer(self, position: int, key: str, following: str) -> None:
        assert f"Item {position} of" in self.page.locator("h1").inner_text()
        self.press(key, "Enter")
        self.leads_to(following)


def order_of(study, rater: str, position: int) -> str:
    return study.store.task(rater, position).order


def test_twenty_pairs_by_keyboard_with_a_reload_half_way(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screen = Screen(browser, server.url)
    screen.begin(pairs.tokens["007"])
    for position in range(1, 21):
        if position == 8:  # without number keys: arrows choose, as everywhere
            screen.tab_to("input[type=radio]")
            screen.press("Space", "ArrowDown", "ArrowDown")
            screen.tab_to("button[type=submit]")
            screen.press("Enter")
            screen.leads_to("/item/9")
            continue
        if position == 11:
            screen.page.reload()
            screen.leads_to("/item/11")
            screen.open("/")  # and from the start
            screen.leads_to("/item/11")
        screen.answer(position, str(1 + position % 7), f"/item/{position + 1}" if position < 20 else "/done")
    assert "Thank you" in screen.page.locator("h1").inner_text()
    assert screen.noise == []
    assert pairs.count("answers") == 20
    for position in range(1, 21):
        (kept,) = pairs.store.task("007", position).answers.values()
        place = 3 if position == 8 else 1 + position % 7
        side = "tie" if place == 4 else order_of(pairs, "007", position)[0 if place < 4 else 1]
        assert (kept.choice, kept.strength) == (side, abs(place - 4))

    screen.tab_to("a.back")
    screen.press("Enter")
    screen.leads_to("/item/20")
    assert screen.page.locator("input:checked").get_attribute("value") == "7"  # 1 + 20 % 7
    screen.press("4", "Enter")
    screen.leads_to("/done")
    (kept,) = pairs.store.task("007", 20).answers.values()
    assert kept.choice == "tie"
    screen.context.close()


def test_number_keys_can_be_switched_off_and_stay_off(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screen = Screen(browser, server.url)
    screen.begin(pairs.tokens["p"])
    screen.tab_to(".keys button")
    screen.press("Space")
    for _ in range(2):
        assert screen.page.locator(".keys button").get_attribute("aria-pressed") == "false"
        screen.press("3")
        assert screen.page.locator("input:checked").count() == 0
        screen.page.reload()
    screen.context.close()


def test_two_raters_at_once(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screens = {name: Screen(browser, server.url) for name in pairs.tokens}
    for name, screen in screens.items():
        screen.begin(pairs.tokens[name])
    for position in range(1, 6):
        for key, screen in zip("26", screens.values(), strict=True):
            screen.answer(position, key, f"/item/{position + 1}")
    for key, (name, screen) in zip("26", screens.items(), strict=True):
        assert screen.noise == []
        for position in range(1, 6):
            (kept,) = pairs.store.task(name, position).answers.values()
            assert (kept.choice, kept.strength) == (order_of(pairs, name, position)[key == "6"], 2)
        screen.context.close()


def test_it_works_without_script(browser, study, serve) -> None:
    server = serve(study.path)
    screen = Screen(browser, server.url, java_script_enabled=False)
    screen.open(f"/start/{study.tokens['007']}")
    screen.page.check("#agree")
    screen.page.click("button")
    screen.page.select_option("#about-gender", "prefer_not_to_say")
    screen.page.click("button")
    for position in range(1, 22):
        screen.leads_to(f"/item/{position}")
        if study.store.task("007", position).asked == ("pair",):
            screen.page.check("#pair-5")
        else:
            screen.page.check("#rating-2")
            screen.page.fill("#edit", "The moon\nand the sun.")
        screen.page.click("button[type=submit]")
    screen.leads_to("/done")
    assert screen.noise == []
    kept = {row["kind"]: row for row in study.answers("007") if row["item_id"] == "t0"}
    assert (kept["rating"]["value"], kept["edit"]["text"]) == (2, "The moon\nand the sun.")
    assert kept["revised_instruction"]["text"] == "Explain tides."
    assert study.store.demographics("007") == {"gender": "prefer_not_to_say"}
    screen.context.close()


def test_a_forged_link_and_a_body_too_large_are_refused(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screen = Screen(browser, server.url)
    screen.open("/start/" + pairs.tokens["007"].swapcase())
    assert "do not know this link" in screen.page.locator("h1").inner_text()
    screen.open("/item/1")
    assert "do not know this link" in screen.page.locator("h1").inner_text()
    screen.context.close()
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        client.get(f"/start/{pairs.tokens['007']}")
        for content in (b"x" * 600_000, iter([b"x" * 300_000] * 2)):
            try:
                status = client.post("/consent", content=content).status_code
            except httpx2.TransportError:  # it closed the door while the rest was still being pushed in
                status = 413
            assert status == 413
    assert pairs.count("consents") == 0


def test_hostile_texts_stay_texts(browser, study, serve) -> None:
    with study.store.writing() as db:
        db.execute(
            """UPDATE items SET prompt = '</div><script>document.title = "gone"</script><img src=x onerror=alert(1)>'"""
        )
    server = serve(study.path)
    screen = Screen(browser, server.url)
    screen.begin(study.tokens["007"])
    assert "<img src=x" in screen.page.locator(".card").first.inner_text()
    assert screen.page.title().startswith("Item 1 of 21")
    assert screen.noise == []
    screen.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")])
def test_every_page_can_be_read_and_found_through(browser, study, serve, width: int, scheme: str) -> None:
    server = serve(study.path)
    screen = Screen(browser, server.url, width=width, color_scheme=scheme)
    page = screen.page
    seen = []

    def check(name: str) -> None:
        seen.append(name)
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.title()
        for landmark in ("header", "main", "footer", "h1"):
            assert page.locator(landmark).count() == 1, (name, landmark)
        assert page.evaluate(NAMELESS) == [], name
        ids = page.evaluate("Array.from(document.querySelectorAll('[id]')).map((e) => e.id)")
        assert len(ids) == len(set(ids)), name
        for ratio, text, kind in page.evaluate(CONTRAST):
            assert ratio >= (4.5 if kind == "text" else 3), (name, ratio, text)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, name
        small = page.evaluate(SMALL)
        assert small == [], name  # WCAG 2.5.8

    screen.open("/start/x")
    check("unknown link")
    screen.open(f"/start/{study.tokens['007']}")
    check("consent")
    page.check("#agree")
    page.click("button")
    screen.leads_to("/about")
    check("about")
    page.click("button")
    for position in range(1, 22):
        screen.leads_to(f"/item/{position}")
        if position == 2:
            page.evaluate("document.querySelector('form').noValidate = true")
            page.click("button[type=submit]")
            page.wait_for_selector("[role=alert]")
            check("error")
            assert page.locator("fieldset[aria-invalid=true]").get_attribute("aria-describedby") == "p-pair"
            page.click("[role=alert] a")
            assert page.evaluate("document.activeElement.id") == "q-pair"
        if study.store.task("007", position).asked == ("pair",):
            page.check("#pair-2")
            if position < 3:
                check(f"pair {position}")
        else:
            page.check("#rating-2")
            check("texts")
        page.click("button[type=submit]")
    screen.leads_to("/done")
    check("done")
    screen.open("/withdraw")
    check("withdraw")
    page.click("button")
    page.wait_for_selector("text=You have withdrawn")
    check("withdrawn")
    assert {"error", "texts"} <= set(seen)
    screen.context.close()


def test_the_tab_key_goes_down_the_page_and_shows_where_it_is(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screen = Screen(browser, server.url)
    screen.begin(pairs.tokens["007"])
    screen.answer(1, "1", "/item/2")
    stops = []
    for _ in range(7):
        screen.press("Tab")
        stop, outline = screen.page.evaluate(FOCUSED)
        stops.append(stop)
        assert outline != "none", stop
    assert stops == ["skip", "pair", "submit", "back", "quiet", "/about", "/withdraw"]
    screen.page.reload()
    screen.press("Tab", "Enter")  # the skip link
    assert screen.page.evaluate("document.activeElement.id") == "main"
    screen.context.close()
