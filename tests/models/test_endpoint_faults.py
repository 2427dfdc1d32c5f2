"""Everything that goes wrong between two machines, made to go wrong."""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_server import Reply, echo_upper, in_words, prompt_of, says, serving
from pydantic import SecretStr

from rlhf_fair.errors import EndpointError, SettingsError
from rlhf_fair.models.endpoint import EXHAUSTED_IN_A_ROW, REJECTIONS, Endpoint
from rlhf_fair.models.endpoint_calls import Server
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE, EndpointSettings, Patience
from rlhf_fair.models.requests import Decoding, Generation

GREEDY = Decoding(temperature=0.0)
HASTY = Patience(attempts=4, timeout_s=20.0, first_wait_s=0.01, longest_wait_s=0.05)


@pytest.fixture(autouse=True)
def _no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def items(n: int) -> list[Generation]:
    return [Generation(f"item-{i}", f"prompt {i}") for i in range(n)]


def hasty(url: str, **settings: Any) -> Endpoint:
    return Endpoint(url, "m", EndpointSettings(**({"patience": HASTY} | settings)))


def first_time(reply: Reply) -> Callable[[dict[str, Any], str], Reply]:
    """``reply`` to the first request of each prompt, the answer to every later one."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def behaviour(request: dict[str, Any], path: str) -> Reply:
        with lock:
            seen[prompt_of(request)] += 1
            again = seen[prompt_of(request)] > 1
        return echo_upper(request, path) if again else reply

    return behaviour


def always(reply: Reply) -> Callable[[dict[str, Any], str], Reply]:
    return lambda request, path: reply


def one_bad(bad: Reply) -> Callable[[dict[str, Any], str], Reply]:
    return lambda request, path: bad if prompt_of(request) == "prompt 3" else echo_upper(request, path)


def test_one_request_in_five_fails_and_nothing_is_lost_or_answered_twice() -> None:
    chance, lock = random.Random(5), threading.Lock()
    faults = [
        says({"error": {"message": "slow down"}}, 429, Retry_After="0"),
        says({"error": "overloaded"}, 500),
        Reply(b"", delay_s=4.6),  # past the time limit
    ]

    def flaky(request: dict[str, Any], path: str) -> Reply:
        with lock:
            return chance.choice(faults) if chance.random() < 0.2 else echo_upper(request, path)

    patience = Patience(attempts=12, timeout_s=4.0, first_wait_s=0.01, longest_wait_s=0.1)
    with serving(flaky) as server:
        endpoint = hasty(server.url, patience=patience, concurrency=16)
        answers = endpoint.answers(items(200), GREEDY)
    assert answers == [f"PROMPT {i}" for i in range(200)]
    assert endpoint.failures == {}
    assert set(server.answered.values()) == {1}
    assert sum(server.asked.values()) > 220  # 200 / .8 = 250 expected


@pytest.mark.parametrize(
    "fault",
    [
        *(Reply(b"<html>busy</html>", status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        Reply(b"{not json"),
        Reply(b"[" * 100_000),
        Reply(b'{"choices": [{"mess', declared=5000),
        says({"choices": []}),
        says([]),
        says({"choices": [{"message": {"content": 7}}]}),
        says({"choices": [{"message": None}]}),
        says({"object": "error", "message": "said with status 200"}),
        Reply(gzip.compress(b"{}" * 100_000), headers={"Content_Encoding": "gzip"}),
    ],
)
def test_a_passing_fault_is_asked_again(fault: Reply) -> None:
    with serving(first_time(fault)) as server:
        assert hasty(server.url).answers(items(2), GREEDY) == ["PROMPT 0", "PROMPT 1"]
        assert sum(server.asked.values()) == 4


@pytest.mark.parametrize(
    ("fault", "reason", "asked"),
    [
        (says({"error": {"message": "boom"}}, 500), "status 500: boom (attempts: 4)", 4),
        (Reply(b"{"), "malformed reply: not JSON (attempts: 4)", 4),
        (Reply(b"x" * 300_000), "the reply is larger than 100000 bytes", 1),
        (says({"error": {"message": "too long"}}, 400), "status 400: too long", 1),
        (says({"detail": "no"}, 422), "status 422: no", 1),
        (says({"choices": [{"message": {"content": None}}]}), "the reply holds no text", 1),
        (
            says({"choices": [{"message": {"content": "so"}, "finish_reason": "content_filter"}]}),
            "withheld by the server's content filter",
            1,
        ),
    ],
)
def test_an_item_without_an_answer_is_none_with_its_reason_and_the_others_go_on(
    fault: Reply, reason: str, asked: int
) -> None:
    told: list[int] = []
    with serving(one_bad(fault)) as server:
        endpoint = hasty(server.url, max_reply_bytes=100_000)
        answers = endpoint.answers(items(8), GREEDY, progress=told.append)
        assert answers == [None if i == 3 else f"PROMPT {i}" for i in range(8)]
        assert endpoint.failures == {"item-3": reason}
        assert endpoint.failure_counts == {reason: 1}
        assert server.asked["prompt 3"] == asked
        assert sum(told) == 8
        server.behaviour = echo_upper
        endpoint.answers(items(3), GREEDY)
        assert endpoint.failures == {"item-3": reason}  # not asked for again
        assert endpoint.answers(items(4), GREEDY)[3] == "PROMPT 3"
        assert endpoint.failures == {}


def test_a_reply_that_never_comes_is_given_up() -> None:
    patience = Patience(attempts=2, timeout_s=0.5, first_wait_s=0.01, longest_wait_s=0.01)
    with serving(one_bad(Reply(b"", delay_s=1.0))) as server:
        endpoint = hasty(server.url, patience=patience)
        assert endpoint.answers(items(5), GREEDY)[3] is None
    assert endpoint.failures["item-3"] == "no reply within 0.5 s (attempts: 2)"


def test_retry_after_holds_for_every_request() -> None:
    """One of two connections is told to wait a second; the other, with a reply every tenth, falls silent as well."""
    refusals = iter([says({}, 429, Retry_After="1")])

    def behaviour(request: dict[str, Any], path: str) -> Reply:
        refusal = next(refusals, None)
        time.sleep(0.0 if refusal else 0.1)
        return refusal or echo_upper(request, path)

    patience = Patience(first_wait_s=0.001, longest_wait_s=5.0)
    with serving(behaviour) as server:
        assert None not in hasty(server.url, patience=patience, concurrency=2).answers(items(20), GREEDY)
    assert max(later - earlier for earlier, later in pairwise(server.times)) > 0.75


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-5", "nan", "1e9", ""])
def test_a_retry_after_in_the_past_or_without_sense_is_no_wait(value: str) -> None:
    with serving(first_time(says({}, 503, Retry_After=value))) as server:
        assert hasty(server.url).answers(items(1), GREEDY) == ["PROMPT 0"]


@pytest.mark.parametrize("value", ["3600", "9" * 400, "Wed, 21 Oct 2093 07:28:00 GMT"])
def test_a_server_that_asks_for_too_long_a_pause_is_left(value: str) -> None:
    with serving(always(says({}, 429, Retry_After=value))) as server:
        with pytest.raises(EndpointError, match=r"asks to wait .* longest_wait_s is 0\.05"):
            hasty(server.url).answers(items(1), GREEDY)
        assert sum(server.asked.values()) == 1


@pytest.mark.parametrize("status", [301, 307, 401, 402, 404, 405, 410, 451])
def test_any_other_refusal_is_one_clear_line_at_once(status: int) -> None:
    reply = says({"error": {"message": f"no\nway \x1b[31m{'!' * 500}"}}, status, Location="http://elsewhere.test")
    with serving(always(reply)) as server:
        with pytest.raises(EndpointError) as caught:
            hasty(server.url, concurrency=1).answers(items(50), GREEDY)
        assert sum(server.asked.values()) == 1
    text = str(caught.value)
    assert f"status {status}: no way [31m!!!" in text.replace("\x1b", "")
    assert text.isprintable()
    assert len(text) < 400


def test_a_wrong_key_is_one_line_that_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong-and-secret")
    reply = says({"error": {"message": "Incorrect API key provided: sk-wrong-and-secret."}}, 401)
    with serving(always(reply)) as server, pytest.raises(EndpointError) as caught:
        hasty(server.url, key_variable="MY_KEY").answers(items(5), GREEDY)
    assert str(caught.value) == (
        f"endpoint {server.url}: status 401: Incorrect API key provided: [key]. (the key in $MY_KEY is refused)"
    )


def test_a_missing_key_names_the_variable() -> None:
    with (
        serving(always(says({}, 401))) as server,
        pytest.raises(EndpointError, match=f"put one into \\${KEY_VARIABLE}"),
    ):
        hasty(server.url).answers(items(5), GREEDY)
    with pytest.raises(SettingsError, match="NO_SUCH_VARIABLE is not set"):
        hasty("http://127.0.0.1:1/v1", key_variable="NO_SUCH_VARIABLE").answers(items(1), GREEDY)


def test_no_quota_left_is_not_asked_again_though_its_status_is_429() -> None:
    reply = says({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, 429)
    with serving(always(reply)) as server:
        with pytest.raises(EndpointError, match="no quota left"):
            hasty(server.url, concurrency=1).answers(items(5), GREEDY)
        assert sum(server.asked.values()) == 1


@pytest.mark.parametrize("n", [2, 500])
def test_a_server_that_rejects_everything_is_an_error_soon(n: int) -> None:
    with serving(always(says({"error": {"message": "unknown field 'seed'"}}, 400))) as server:
        with pytest.raises(EndpointError, match="status 400: unknown field 'seed'"):
            hasty(server.url, concurrency=4).answers(items(n), GREEDY)
        assert sum(server.asked.values()) <= REJECTIONS + 2 * 4


def test_rejected_items_alone_are_no_error_where_others_were_answered_before(tmp_path: Path) -> None:
    def picky(request: dict[str, Any], path: str) -> Reply:
        odd = int(prompt_of(request).split()[1]) % 2
        return says({"error": {"message": "no"}}, 403) if odd else echo_upper(request, path)

    with serving(picky) as server:
        first = Endpoint(server.url, "m", journal=tmp_path / "journal").answers(items(80), GREEDY)
        resumed = Endpoint(server.url, "m", journal=tmp_path / "journal")
        assert resumed.answers(items(80), GREEDY) == first
        assert resumed.failure_counts == {"status 403: no": 40}


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The response was filtered", "code": "content_filter"},
        {"message": "This model's maximum context length is 2048 tokens."},
        {"message": "prompt too long", "type": "invalid_request_error"},
    ],
)
def test_items_rejected_for_their_text_never_end_a_run(error: dict[str, str]) -> None:
    with serving(always(says({"error": error}, 400))) as server:
        endpoint = hasty(server.url)
        assert endpoint.answers(items(60), GREEDY) == [None] * 60
        assert endpoint.failure_counts == {f"status 400: {error['message']}": 60}


def test_a_server_that_goes_down_ends_the_run_and_answers_are_kept() -> None:
    def dies(request: dict[str, Any], path: str) -> Reply:
        return echo_upper(request, path) if int(prompt_of(request).split()[1]) < 20 else Reply(b"", 503)

    with serving(dies) as server:
        endpoint = hasty(server.url, concurrency=4)
        with pytest.raises(EndpointError, match=f"{EXHAUSTED_IN_A_ROW} requests in a row .*; 20 answers are kept"):
            endpoint.answers(items(2000), GREEDY)
        assert sum(server.asked.values()) <= 20 + (EXHAUSTED_IN_A_ROW + 4) * HASTY.attempts
        server.behaviour = echo_upper
        assert endpoint.answers(items(100), GREEDY) == [f"PROMPT {i}" for i in range(100)]
        assert all(server.asked[f"prompt {i}"] == 1 for i in range(20))


def test_nobody_listens() -> None:
    with serving() as server:
        url = server.url
    began = time.monotonic()
    with pytest.raises(EndpointError, match=f"^endpoint {url}: no server answers there: connection failed") as caught:
        hasty(url, patience=Patience(attempts=1000, first_wait_s=0.01)).answers(items(200), GREEDY)
    assert time.monotonic() - began < 5  # not a thousand attempts
    assert "\n" not in str(caught.value)


def test_a_server_that_was_reached_and_goes_away_is_waited_for() -> None:
    """Only the first contact is given up early: the item whose connection fails later has all its attempts."""

    def hangs_up(request: dict[str, Any], path: str) -> Reply:
        return Reply(echo_upper(request, path).body, headers={"Connection": "close"})

    with serving(hangs_up) as server:

        def goes_away(answered: int) -> None:
            server.shutdown()
            server.server_close()

        endpoint = hasty(server.url, concurrency=1, patience=Patience(5, 5.0, 0.001, 0.002))
        answers = endpoint.answers(items(2), GREEDY, progress=goes_away)
    assert answers == ["PROMPT 0", None]
    assert "(attempts: 5)" in endpoint.failures["item-1"]


def test_a_fault_of_the_caller_ends_the_run_as_it_is() -> None:
    def breaks(_: int) -> None:
        raise ZeroDivisionError

    with serving() as server, pytest.raises(ZeroDivisionError):
        hasty(server.url).answers(items(20), GREEDY, progress=breaks)


def test_an_unusable_proxy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:secret@proxy.test")
    with pytest.raises(EndpointError, match="proxy") as caught:
        hasty("http://127.0.0.1:1/v1").answers(items(1), GREEDY)
    assert "secret" not in str(caught.value)


def test_texts_of_any_kind_go_there_and_back() -> None:
    texts = ["Ünï 漢字 🙂", "\ud800 half a pair", "\x00\x1b[31m", "", " \n ", '"}]', "x" * 100_000]
    with serving(lambda request, path: in_words(prompt_of(request), path)) as server:
        found = hasty(server.url).answers([Generation(str(i), text) for i, text in enumerate(texts)], GREEDY)
    assert found == [text.replace("\ud800", "\ufffd") for text in texts]


@given(st.text(max_size=300), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_no_line_holds_the_key(around: str, key: str) -> None:
    server = Server("http://127.0.0.1:1", SecretStr(key), EndpointSettings())
    line = server.without_key(around + key + around)
    assert key not in line or key in "[key]" or key in around.replace(key, "")
    assert len(line) <= 200
    assert line.isprintable()
    assert repr(SecretStr(key)) in repr(server)
