from __future__ import annotations

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE, EndpointSettings, Patience, checked_url, read_key


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.example.test/v1", "https://api.example.test/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("HTTP://[::1]:8000", "HTTP://[::1]:8000"),
    ],
)
def test_urls_that_can_be_asked(url: str, found: str) -> None:
    assert checked_url(url) == found


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8000", "must look like"),
        ("api.example.test/v1", "must look like"),
        ("ftp://example.test/v1", "must look like"),
        ("file:///etc/passwd", "must look like"),
        ("http://", "must look like"),
        ("", "must look like"),
        ("http://host:99999/v1", "malformed"),
        ("http://host:port/v1", "malformed"),
        ("http://[::1/v1", "malformed"),
        ("http://host/v 1", "space"),
        ("http://h\u00f6st/v1", "non-ASCII"),
        ("http://host/\x01", "control"),
    ],
)
def test_urls_that_cannot(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@example.test/v1",
        "https://hunter2@example.test/v1",
        "https://example.test/v1?key=hunter2",
        "https://example.test/v1#hunter2",
        "https://example.test:hunter2/v1",
        "hunter2:x@example.test",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        checked_url(url)
    assert "hunter2" not in str(caught.value) or url.startswith("hunter2")


@given(st.text(st.characters(codec="ascii"), max_size=40), st.sampled_from(["http://", "https://", ""]))
def test_a_url_that_passes_is_one_for_the_client(rest: str, scheme: str) -> None:
    try:
        url = checked_url(scheme + rest)
    except SettingsError:
        return
    parsed = httpx2.URL(url + "/completions")
    assert parsed.scheme in {"http", "https"}
    assert parsed.host
    assert not parsed.userinfo


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"api": "responses"}, "allowed: chat, completions"),
        ({"concurrency": 0}, "concurrency = 0"),
        ({"concurrency": 1.5}, "whole number"),
        ({"max_reply_bytes": True}, "whole number"),
        ({"api": "completions", "system": "Be kind."}, "api = 'chat'"),
        ({"body": {"stream": True}}, "must not set 'stream'"),
        ({"body": {"messages": []}}, "reserved: .*prompt"),
        ({"body": {"top_p": float("nan")}}, "JSON"),
        ({"body": {"stop": {1, 2}}}, "JSON"),
    ],
)
def test_settings_out_of_range_name_value_and_what_is_allowed(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        EndpointSettings(**settings)


@pytest.mark.parametrize(
    "patience", [{"attempts": 0}, {"timeout_s": 0}, {"first_wait_s": -1}, {"longest_wait_s": 1e999}]
)
def test_patience_out_of_range(patience: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(patience))):
        Patience(**patience)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_longest_and_lose_at_most_half(attempt: int, uniform: float) -> None:
    patience = Patience(first_wait_s=0.5, longest_wait_s=60.0)
    full = min(60.0, 0.5 * 2 ** min(attempt, 20))
    assert full / 2 <= patience.wait(attempt, uniform) <= full


def test_the_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-someone-else")
    assert read_key("") is None  # not sent to a server it was not meant for
    monkeypatch.setenv(KEY_VARIABLE, " sk-mine\n")
    key = read_key("")
    assert key is not None
    assert key.get_secret_value() == "sk-mine"
    assert "mine" not in f"{key!r} {key}"
    monkeypatch.setenv("BROKEN", "sk-two\nlines")
    with pytest.raises(SettingsError, match="BROKEN holds characters") as caught:
        read_key("BROKEN")
    assert "sk-two" not in str(caught.value)
