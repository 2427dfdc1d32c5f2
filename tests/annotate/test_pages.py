"""The pages by request: who gets in, what is refused, what is stored, what every reply carries."""

from __future__ import annotations

import html
import re
import time

import pytest

from rlhf_fair.annotate.guard import BODY_LIMIT
from rlhf_fair.annotate.limits import Buckets
from rlhf_fair.annotate.tokens import form_token, shown_at

testclient = pytest.importorskip("starlette.testclient", reason="the extra 'annotate' is not installed")

from rlhf_fair.annotate.door import Limits, application  # noqa: E402

ROOMY = Limits(address=(1e6, 10**6), rater=(1e6, 10**6), unknown=(1e6, 10**6))
HIDDEN = r'type="hidden" name="(\w+)" value="([^"]*)"'
FORM = "application/x-www-form-urlencoded"


class Reader:
    """A browser without a screen: keeps cookies, follows redirects, sends a page's form with its token."""

    def __init__(self, study, rater: str | None = None, **options) -> None:
        app = application(study.store, hosts={"localhost"}, limits=options.pop("limits", ROOMY), **options)
        scheme = "https" if options.get("tls") else "http"
        self.client = testclient.TestClient(app, base_url=f"{scheme}://localhost", raise_server_exceptions=False)
        if rater is not None:
            self.start(study.tokens[rater])

    def start(self, token: str):
        return self.client.get(f"/start/{token}")

    def get(self, path: str):
        return self.client.get(path)

    def token(self, path: str) -> str:
        return re.search(r'name="token" value="([^"]+)"', self.get(path).text).group(1)

    def hidden(self, path: str) -> dict[str, str]:
        """What the page's form carries without being asked."""
        return dict(re.findall(HIDDEN, self.get(path).text))

    def send(self, path: str, **fields: str):
        return self.client.post(path, data={**self.hidden(path), **fields})

    def agree(self) -> Reader:
        self.send("/consent", agree="yes")
        return self


def nothing_stored(study) -> bool:
    tables = ("consents", "demographics", "submissions", "judgements", "answers")
    return all(study.count(table) == 0 for table in tables)


def test_consent_comes_before_everything(study) -> None:
    reader = Reader(study, "007")
    for path in ("/", "/about", "/item/1", "/done", "/withdraw"):
        assert reader.get(path).url.path == "/consent"
    token = reader.token("/consent")
    for path in ("/about", "/item/1", "/withdraw"):
        reply = reader.client.post(path, data={"token": token, "pair": "1", "gender": "man"})
        assert (reply.status_code, "without your consent" in reply.text) == (403, True)
    assert reader.send("/consent").status_code == 422
    assert nothing_stored(study)
    assert reader.send("/consent", agree="yes").url.path == "/about"
    assert study.count("consents") == 1


def test_the_consent_text_is_shown_as_text(study) -> None:
    page = Reader(study, "007").get("/consent").text
    assert "You may stop &lt;b&gt;at any time&lt;/b&gt;." in page
    assert "Rice &amp; tides" in page


def test_questions_about_oneself_can_all_be_left_out_and_answered_later(study) -> None:
    reader = Reader(study, "007").agree()
    assert reader.send("/about", gender="", age="").url.path == "/item/1"
    assert study.store.demographics("007") == {}
    assert reader.get("/").url.path == "/item/1"
    reader.send("/about", gender="prefer_not_to_say", age="")
    assert study.store.demographics("007") == {"gender": ("prefer_not_to_say",)}
    assert re.search(r'value="prefer_not_to_say" [^>]* selected>', reader.get("/about").text)


def test_items_come_one_by_one_and_can_be_mended(study) -> None:
    reader = Reader(study, "007").agree()
    reader.send("/about")
    assert reader.get("/item/2").url.path == "/item/1"  # no running ahead
    assert reader.get("/item/0").url.path == "/item/1"
    for position in range(1, 22):
        task = study.store.task("007", position)
        page = reader.get(f"/item/{position}").text
        assert f"Item {position} of 21" in page
        if task.asked == ("pair",):
            shown = [page.index(f">{task.texts[f'response_{name}']}<") for name in task.order]
            assert shown == sorted(shown)
            fields = {"pair": "1"}
        else:
            fields = {"rating": "5", "edit": "The moon.\r\nTwice.", "revised_instruction": "Explain tides!"}
        reply = reader.send(f"/item/{position}", **fields)
        assert reply.url.path == (f"/item/{position + 1}" if position < 21 else "/done")
    assert "Thank you" in reader.get("/").text
    kept = {(row["item_id"], row["kind"]): row for row in study.answers("007")}
    assert len(kept) == 23
    assert kept["t0", "edit"]["text"] == "The moon.\nTwice."
    for rater_task in (study.store.task("007", p) for p in range(1, 22)):
        if rater_task.asked == ("pair",):
            assert kept[rater_task.item_id, "pair"]["choice"] == rater_task.order[0]  # "first" was picked throughout
    pair = next(p for p in range(1, 22) if study.store.task("007", p).asked == ("pair",))
    assert re.search(r'value="1" id="pair-1" required checked', reader.get(f"/item/{pair}").text)
    reader.send(f"/item/{pair}", pair="4")
    assert study.store.task("007", pair).answers["pair"].choice == "tie"


def test_an_incomplete_form_is_shown_again_with_what_was_in_it(study) -> None:
    reader = Reader(study, "007").agree()
    position = next(p for p in range(1, 22) if study.store.task("007", p).item_id == "t0")
    for p in range(1, position):
        reader.send(f"/item/{p}", pair="2")
    before = study.count("answers")
    reply = reader.send(f"/item/{position}", rating="3", edit="</textarea><script>", revised_instruction=" ")
    assert reply.status_code == 422
    assert "<title>Error: " in reply.text
    assert 'role="alert"' in reply.text
    assert "&lt;/textarea&gt;&lt;script&gt;" in reply.text
    assert re.search(r'value="3" id="rating-3" required checked', reply.text)
    assert study.count("answers") == before  # the sound ones are not kept alone


def test_a_form_sent_twice_is_one_answer(study) -> None:
    reader = Reader(study, "007").agree()
    position = next(p for p in (1, 2) if study.store.task("007", p).asked == ("pair",))
    assert position == 1
    form = {"token": reader.token("/item/1"), "pair": "6"}
    first, second = (reader.client.post("/item/1", data=form) for _ in range(2))
    assert first.url.path == second.url.path == "/item/2"
    assert study.count("answers") == 1


def seconds(study, column: str = "open_seconds") -> list[float | None]:
    with study.store.reading() as db:
        return [row[0] for row in db.execute(f"SELECT {column} FROM judgements")]


@pytest.mark.parametrize(
    ("claimed", "visible"), [("", None), ("-5", None), ("1e3", None), ("٣", None), ("120", 0.12), ("999999", "open")]
)
def test_seconds_run_from_showing_to_sending_and_no_page_saw_more(study, claimed: str, visible) -> None:
    reader = Reader(study, "007").agree()
    token = reader.token("/item/1")
    time.sleep(0.3)
    reader.client.post("/item/1", data={"token": token, "pair": "6", "visible_ms": claimed})
    (opened,) = seconds(study)
    assert 0.3 <= opened < 5
    assert seconds(study, "visible_seconds") == [opened if visible == "open" else visible]


def test_a_form_that_came_back_goes_on_counting(study) -> None:
    reader = Reader(study, "007").agree()
    page = reader.send("/item/1", visible_ms="7").text  # no choice made
    assert 'name="visible_ms" value="7"' in page
    token = re.search(r'name="token" value="([^"]+)"', page).group(1)
    time.sleep(0.2)
    reader.client.post("/item/1", data={"token": token, "pair": "6", "visible_ms": "150"})
    assert seconds(study)[0] >= 0.2
    assert seconds(study, "visible_seconds") == [0.15]


@pytest.mark.parametrize("forge", ["", "x", "1.2", "{time}.{zeros}", "{late}.{signature}", "{other}", "{page}"])
def test_a_forged_form_is_refused(study, forge: str) -> None:
    reader, other = Reader(study, "007").agree(), Reader(study, "p").agree()
    shown, _, signature = reader.token("/item/1").partition(".")
    token = forge.format(
        time=shown,
        zeros="0" * 64,
        late=int(shown) + 1,
        signature=signature,
        other=other.token("/item/1"),
        page=reader.token("/withdraw"),
    )
    reply = reader.client.post("/item/1", data={"token": token, "pair": "1"})
    assert reply.status_code == 403
    assert "nothing was saved" in reply.text
    assert study.count("answers") == 0


def test_a_forged_link_is_refused_and_then_slowed(study) -> None:
    reader = Reader(study, limits=Limits(address=(1e6, 10**6), unknown=(0.001, 3)))
    token = study.tokens["007"]
    wrong = [token[:-1] + ("A" if token[-1] != "A" else "B"), "x", "' OR 1=1 --", token.swapcase(), "%00"]
    codes = [reader.start(text).status_code for text in wrong]
    assert codes == [403, 403, 403, 429, 429]
    assert not reader.client.cookies
    reader.client.cookies.set(f"rater-{study.store.study('id')}", wrong[0])
    assert reader.get("/item/1").status_code == 429
    assert reader.start(token).url.path == "/consent"  # who has a link is not held up by those who guess
    assert nothing_stored(study)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x" * (BODY_LIMIT + 1), FORM, 413),
        (b"pair=1", "application/json", 400),
        (b"pair=%ff", FORM, 400),
        (b"pair=\xff", FORM, 400),
        (b"edit=%00", FORM, 400),
        (b"&".join(b"f%d=1" % n for n in range(61)), FORM, 400),
    ],
)
def test_odd_bodies_are_refused(study, content: bytes, kind: str, status: int) -> None:
    reader = Reader(study, "007").agree()
    token = reader.token("/item/1").encode()
    body = content if status == 413 else content + b"&token=" + token
    reply = reader.client.post("/item/1", content=body, headers={"Content-Type": kind})
    assert reply.status_code == status
    chunks = reader.client.post("/item/1", content=iter([body[:9], body[9:]]), headers={"Content-Type": kind})
    assert chunks.status_code == status  # without a length beforehand
    assert study.count("answers") == 0


def test_a_form_from_elsewhere_is_refused(study) -> None:
    reader = Reader(study, "007").agree()
    form = {"token": reader.token("/item/1"), "pair": "1"}
    for origin in ("https://evil.example", "null", "https://localhost", "http://localhost:81"):
        assert reader.client.post("/item/1", data=form, headers={"Origin": origin}).status_code == 403
    for host in ("evil.example", "localhost.evil.example", "[", ""):
        assert reader.client.get("/", headers={"Host": host}).status_code == 400
    assert study.count("answers") == 0
    assert reader.client.post("/item/1", data=form, headers={"Origin": "http://localhost"}).url.path == "/item/2"


def test_too_many_requests_wait(study) -> None:
    reader = Reader(study, "007", limits=Limits(address=(1e6, 10**6), rater=(0.01, 4)))  # 2 of 4 went on the way in
    replies = [reader.get("/consent") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert int(replies[-1].headers["Retry-After"]) > 50
    busy = Reader(study, limits=Limits(address=(0.01, 2)))
    assert [busy.get("/static/page.css").status_code for _ in range(3)] == [200, 200, 429]
    for page in (replies[-1].text, busy.get("/").text):  # a page like the others, for whoever it reads to
        assert '<html lang="en">' in page
        assert "Too many requests. Try again in" in page


def test_buckets_fill_again_and_stay_few() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3, most=2, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]  # 3 at once, then one each half second
    now[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] = 1000.0
    assert [buckets.take("a") for _ in range(4)][-1] == 0.5  # never more than the burst
    buckets.take("b")
    buckets.take("c")  # the third key pushes the oldest out
    assert buckets.take("a") == 0


def test_form_tokens_hold_for_one_reader_page_and_time() -> None:
    token = form_token(b"k", "r", "/item/1", 5)
    assert shown_at(b"k", "r", "/item/1", token) == 5
    for secret, reader, path, text in (
        (b"l", "r", "/item/1", token),
        (b"k", "s", "/item/1", token),
        (b"k", "r", "/item/2", token),
        (b"k", "r", "/item/1", "6" + token[1:]),
        (b"k", "r", "/item/1", token + "\udcff"),
    ):
        assert shown_at(secret, reader, path, text) is None


@pytest.mark.parametrize("path", ["/", "/consent", "/start/x", "/none", "/item/x", "/static/page.js", "/static/..%2f"])
def test_every_reply_is_guarded(study, path: str) -> None:
    reply = Reader(study).get(path)
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    for name, value in {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}.items():
        assert reply.headers[name] == value
    assert "server" not in reply.headers
    assert ("immutable" if path.endswith("page.js") else "no-store") in reply.headers["Cache-Control"]


def test_a_page_opened_earlier_asks_before_it_overwrites(full) -> None:
    reader = Reader(full, "007").agree()
    reader.send("/about")
    position = next(p for p in range(1, 5) if full.store.task("007", p).asked == ("pair",))
    for before in range(1, position):
        reader.send(f"/item/{before}", cannot_judge="yes")
    path = f"/item/{position}"
    blank, newer = reader.hidden(path), reader.hidden(path)
    assert blank["version"] == "0"
    assert reader.client.post(path, data={**newer, "pair": "1", "comment": "<b>first</b>"}).url.path != path
    again = reader.client.post(path, data={**newer, "pair": "1", "comment": "<b>first</b>"})
    assert again.status_code == 200  # the same twice is no conflict
    asked = reader.client.post(path, data={**blank, "pair": "7", "comment": '"second"'})
    assert asked.status_code == 409
    assert all(words in asked.text for words in ("First is much better", "Second is much better", "&lt;b&gt;first"))
    assert full.store.task("007", position).answers["pair"].strength == 3
    assert full.store.task("007", position).sent.comment == "<b>first</b>"
    assert full.count("judgements") == position
    # the form of that page saves the other one, unless a third was saved meanwhile
    form = {name: html.unescape(value) for name, value in re.findall(HIDDEN, asked.text)}
    assert (form["pair"], form["comment"]) == ("7", '"second"')
    reader.send(path, pair="4")
    assert reader.client.post(path, data=form).status_code == 409
    assert full.store.task("007", position).answers["pair"].choice == "tie"
    form["version"] = str(full.store.task("007", position).version)
    assert reader.client.post(path, data=form).status_code == 200
    assert full.store.task("007", position).sent.comment == '"second"'


def test_a_form_with_something_amiss_keeps_the_version_it_was_opened_on(pairs) -> None:
    reader = Reader(pairs, "007").agree()
    reader.send("/about")
    blank = reader.hidden("/item/1")
    reader.send("/item/1", pair="1")
    returned = reader.client.post("/item/1", data=blank)  # nothing chosen
    assert returned.status_code == 422
    form = dict(re.findall(HIDDEN, returned.text))
    assert reader.client.post("/item/1", data={**form, "pair": "7"}).status_code == 409
    for forged in ("x", "-1", "9" * 40):
        assert reader.client.post("/item/1", data={**form, "pair": "7", "version": forged}).status_code == 409


def test_our_own_fault_says_nothing_of_the_inside(study, monkeypatch) -> None:
    reader = Reader(study, "007").agree()
    monkeypatch.setattr(study.store, "task", lambda *_: 1 / 0)
    reply = reader.get("/item/1")
    assert reply.status_code == 500
    assert "division" not in reply.text
    assert "Content-Security-Policy" in reply.headers


@pytest.mark.parametrize("tls", [False, True])
def test_the_cookie_is_out_of_reach_of_scripts_and_of_plain_http(study, tls: bool) -> None:
    reader = Reader(study, tls=tls)
    reply = reader.client.get(f"/start/{study.tokens['007']}", follow_redirects=False)
    name, *flags = reply.headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-rater-" if tls else "rater-")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(flags)
    assert ("Secure" in flags) == tls
    assert ("Strict-Transport-Security" in reply.headers) == tls
    assert reply.headers["Location"] == "/"  # the secret leaves the address bar


def test_withdrawing_asks_first_and_closes_the_door(study) -> None:
    reader = Reader(study, "007").agree()
    reader.send("/about", gender="man")
    reader.send("/item/1", pair="1")
    assert study.count("answers") == 1
    form = {"token": reader.token("/item/2"), "pair": "1"}
    assert "(answers: 1)" in reader.send("/withdraw").text
    assert nothing_stored(study)
    assert reader.client.post("/item/2", data=form).status_code == 403
    assert reader.start(study.tokens["007"]).status_code == 403
    assert nothing_stored(study)


def test_raters_do_not_see_each_other(study) -> None:
    one, two = Reader(study, "007").agree(), Reader(study, "p").agree()
    one.send("/about", gender="man")
    one.send("/item/1", pair="7")
    assert "selected" not in two.get("/about").text
    assert "checked" not in two.get("/item/1").text
    assert two.get("/item/2").url.path == "/about"
