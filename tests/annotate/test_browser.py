"""The page in Chromium: by keyboard alone, without script, reloaded, by two raters at once, and with hostile texts."""

from __future__ import annotations

import httpx2
import pytest

from rlhf_fair.annotate.guard import BODY_LIMIT
from rlhf_fair.annotate.questions import PAIR_SCALE, CannotJudge
from tests.annotate.conftest import Screen

pytestmark = pytest.mark.browser

FOCUSED = """(() => { const e = document.activeElement;
  return [e.className || e.name || e.type || e.getAttribute("href") || e.localName,
    getComputedStyle(e).outlineStyle]; })()"""


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
    assert study.store.demographics("007") == {"gender": ("prefer_not_to_say",)}
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
        for content in (b"x" * (BODY_LIMIT + 1), iter([b"x" * BODY_LIMIT] * 2)):
            try:
                status = client.post("/consent", content=content).status_code
            except httpx2.TransportError:  # it closed the door while the rest was still being pushed in
                status = 413
            assert status == 413
    assert pairs.count("consents") == 0


MARKUP = '</div><script>document.title = "gone"</script><img src=x onerror=alert(1)> & &amp; "\''
LONG_WORD = "Donaudampfschifffahrt" * 200
LONG_TEXT = ("Lorem ipsum <b>dolor</b> sit.\n" * 700)[:20_000]
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("width", [320, 1280])
def test_hostile_texts_stay_texts(browser, pairs, serve, width: int) -> None:
    texts = [MARKUP, LONG_WORD, LONG_TEXT]
    with pairs.store.writing() as db:
        db.execute("UPDATE items SET prompt = ?, response_a = ?, response_b = ?", texts)
    screen = Screen(browser, serve(pairs.path).url, width=width)
    screen.begin(pairs.tokens["007"])
    assert sorted(screen.page.locator(".card").all_text_contents()) == sorted(texts)
    assert screen.page.locator("main script, main img, main b").count() == 0
    assert screen.page.title().startswith("Item 1 of 20")
    assert screen.page.evaluate(SIDEWAYS) <= 0
    screen.answer(1, "7", "/item/2")
    assert screen.noise == []
    screen.context.close()


SCRIPTS = {
    "ar": ("قمر (Moon)", "right"),
    "he": ("ירח", "right"),
    "ja": ("月は回りますか。", "left"),
    "hi": ("क्या चाँद घूमता है?", "left"),
    "en": ("Moon (قمر)", "left"),
}
LAID_OUT = """Array.from(document.querySelectorAll(".card")).map((e) => {
  const range = document.createRange(); range.selectNodeContents(e);
  const [text, box] = [range.getBoundingClientRect(), e.getBoundingClientRect()];
  return [e.lang, e.textContent, text.left - box.left > box.right - text.right ? "right" : "left"]; })"""


def test_every_script_runs_its_own_way(browser, pairs, serve) -> None:
    screen = Screen(browser, serve(pairs.path).url, width=320)
    screen.begin(pairs.tokens["007"])
    for language, (text, side) in SCRIPTS.items():
        with pairs.store.writing() as db:
            new = (text, text, text, language)
            db.execute("UPDATE items SET prompt = ?, response_a = ?, response_b = ?, language = ?", new)
        screen.page.reload()
        assert screen.page.evaluate(LAID_OUT) == [[language, text, side]] * 3
    screen.context.close()


def test_by_keyboard_without_script(browser, full, serve) -> None:
    """What the page offers by script (number keys) has another way; nothing else needs it."""
    screen = Screen(browser, serve(full.path).url, java_script_enabled=False)
    screen.begin(full.tokens["007"])
    for position in range(1, 5):
        if full.store.task("007", position).asked == ("pair",):
            screen.tab_to("input[type=radio]")
            screen.press("Space", *["ArrowDown"] * position)
        else:
            screen.tab_to("input[type=radio]")
            screen.press("Space")
        screen.tab_to("button[type=submit]")
        screen.press("Enter")
        screen.leads_to(f"/item/{position + 1}" if position < 4 else "/done")
    for position in range(1, 5):
        task = full.store.task("007", position)
        if task.asked == ("pair",):
            side, strength, _ = PAIR_SCALE[position]
            chosen = "tie" if side == "tie" else task.order[side == "second"]
            assert (task.answers["pair"].choice, task.answers["pair"].strength) == (chosen, strength)
    with full.store.reading() as db:  # no clock but the server's
        assert {row[0] for row in db.execute("SELECT visible_seconds FROM judgements")} == {None}
    screen.context.close()


@pytest.mark.parametrize("script", [True, False])
def test_what_cannot_be_judged_is_left_by_keyboard_and_may_be_judged_later(browser, pairs, serve, script) -> None:
    screen = Screen(browser, serve(pairs.path).url, java_script_enabled=script)
    page = screen.page
    screen.begin(pairs.tokens["007"])
    screen.tab_to("summary")
    screen.press("Enter")
    screen.tab_to("#reason")
    page.keyboard.type("I know")  # a list of choices goes to what is typed
    screen.tab_to("#words")
    page.keyboard.type("Never heard of it")
    screen.tab_to("[name=cannot_judge]")
    screen.press("Enter")
    screen.leads_to("/item/2")
    assert pairs.store.task("007", 1).sent.cannot_judge == CannotJudge("knowledge", "Never heard of it")
    assert pairs.count("answers") == 0
    screen.tab_to("a.back")
    screen.press("Enter")
    screen.leads_to("/item/1")
    assert "cannot judge" in page.locator(".note").inner_text()
    assert page.locator("#words").input_value() == "Never heard of it"
    screen.tab_to("input[type=radio]")
    screen.press("Space")
    screen.tab_to("button[type=submit]")
    screen.press("Enter")
    screen.leads_to("/item/2")
    assert pairs.store.task("007", 1).sent.cannot_judge is None
    assert pairs.store.task("007", 1).answers["pair"].strength == 3
    screen.context.close()


def test_an_earlier_answer_is_changed_and_the_way_back_is_short(browser, pairs, serve) -> None:
    screen = Screen(browser, serve(pairs.path).url)
    screen.begin(pairs.tokens["007"])
    assert screen.page.locator("#dealt-with").inner_text() == "0 of 20 done"
    for position in range(1, 8):
        screen.answer(position, "1", f"/item/{position + 1}")
    assert screen.page.locator("#dealt-with").inner_text() == "7 of 20 done"
    screen.open("/item/3")
    assert screen.page.locator("#dealt-with").inner_text() == "7 of 20 done"
    assert "What you save last counts" in screen.page.locator(".note").inner_text()
    screen.press("6", "Enter")
    screen.leads_to("/item/4")
    screen.tab_to("a[href='/']")
    screen.press("Enter")
    screen.leads_to("/item/8")
    assert pairs.store.task("007", 3).answers["pair"].strength == 2
    with pairs.store.reading() as db:
        times = db.execute("SELECT submissions, visible_seconds FROM judgements ORDER BY submissions").fetchall()
    assert [row[0] for row in times] == [1] * 6 + [2]
    assert all(row[1] is not None for row in times)
    screen.context.close()


def test_the_clock_stands_while_the_page_is_in_the_background(browser, pairs, serve) -> None:
    screen = Screen(browser, serve(pairs.path).url)
    screen.begin(pairs.tokens["007"])
    seen = """(state) => { Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
      document.dispatchEvent(new Event("visibilitychange")); }"""
    screen.page.wait_for_timeout(400)
    screen.page.evaluate(seen, "hidden")
    screen.page.wait_for_timeout(1500)
    screen.page.evaluate(seen, "visible")
    screen.page.wait_for_timeout(200)
    screen.answer(1, "2", "/item/2")
    with pairs.store.reading() as db:
        opened, visible = db.execute("SELECT open_seconds, visible_seconds FROM judgements").fetchone()
    assert 0.6 <= visible <= opened - 1.4
    screen.context.close()


def test_a_comment_box_and_several_choices_where_the_study_asks(browser, full, serve) -> None:
    screen = Screen(browser, serve(full.path).url)
    page = screen.page
    screen.open(f"/start/{full.tokens['007']}")
    page.check("#agree")
    page.click("button")
    page.check("text=Asian")
    page.check("text=White")
    page.click("button")
    screen.leads_to("/item/1")
    assert full.store.demographics("007") == {"race": ("asian", "white")}
    page.fill("#comment", "السؤال غريب <b>")
    kind = full.store.task("007", 1).asked[0]
    page.check(f"#{kind}-1")
    page.click("button[type=submit]")
    screen.leads_to("/item/2")
    assert full.store.task("007", 1).sent.comment == "السؤال غريب <b>"
    screen.open("/about")
    assert [box.is_checked() for box in page.locator("input[type=checkbox]").all()] == [True, False, True, False]
    assert screen.noise == []
    screen.context.close()


INJECTED = """() => new Promise((done) => {
  const broken = [];
  document.addEventListener("securitypolicyviolation", (e) => broken.push(e.effectiveDirective));
  const add = (name, set) => { const e = document.createElement(name); set(e); document.body.append(e); };
  add("script", (e) => { e.textContent = "window.owned = true"; });
  add("script", (e) => { e.src = "https://evil.example/x.js"; });
  add("img", (e) => { e.src = "https://evil.example/x.png"; });
  add("iframe", (e) => { e.src = "https://evil.example/"; });
  add("p", (e) => { e.setAttribute("style", "color: red"); });
  fetch("https://evil.example/").catch(() => {});
  setTimeout(() => done([window.owned === undefined, [...new Set(broken)].sort()]), 300);
})"""


def test_the_policy_of_content_stands_and_nobody_else_is_asked(browser, pairs, serve) -> None:
    screen = Screen(browser, serve(pairs.path).url)
    asked: list[str] = []
    screen.context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
    screen.begin(pairs.tokens["007"])
    screen.answer(1, "1", "/item/2")
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((screen.url + "/", "data:"))] == []
    asked.clear()
    unharmed, directives = screen.page.evaluate(INJECTED)
    assert unharmed
    assert directives == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-attr"]
    assert asked == []  # refused in the browser, before anything left it
    screen.context.close()


def test_the_tab_key_goes_down_the_page_and_shows_where_it_is(browser, pairs, serve) -> None:
    server = serve(pairs.path)
    screen = Screen(browser, server.url)
    screen.begin(pairs.tokens["007"])
    screen.answer(1, "1", "/item/2")
    stops = []
    for _ in range(8):
        screen.press("Tab")
        stop, outline = screen.page.evaluate(FOCUSED)
        stops.append(stop)
        assert outline != "none", stop
    assert stops == ["skip", "pair", "submit", "back", "quiet", "summary", "/about", "/withdraw"]
    screen.page.reload()
    screen.press("Tab", "Enter")  # the skip link
    assert screen.page.evaluate("document.activeElement.id") == "main"
    screen.context.close()
