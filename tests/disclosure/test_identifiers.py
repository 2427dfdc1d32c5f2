"""Identifiers by published examples of each form, and texts that hold none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.disclosure.identifiers import iban, luhn, redacted

FOUND = {
    "[e-mail]": (
        "jane.doe@example.com",  # RFC 2606 names
        "o'brien+ratings@mail.example.co.uk",
        "jane (at) example.com",
        "jane[at]example[dot]org",
        "jane%40example.net",
        "jane&#64;example.net",
        "ｊａｎｅ＠example.org",
        "jane\u200b@\u200bexample.org",
        "Jürgen@müller.example.de",
    ),
    "[phone]": (
        "+44 20 7946 0958",  # Ofcom's numbers for drama
        "020 7946 0958",
        "07700 900123",
        "+1 (555) 010-0199",  # 555-01xx: the North American plan's numbers for fiction
        "(555) 010-0199",
        "555-010-0199",
        "555.010.0199",
        "0049 30 23125 000",
        "+49-30-23125-000",
        "01 99 00 12 34",  # Arcep's numbers for fiction
        "+33199001234",
        "03023125000",
    ),
    "[card]": (
        "4111 1111 1111 1111",  # test numbers of the card networks
        "4111111111111111",
        "5555-5555-5555-4444",
        "378282246310005",
        "6011000990139424",
    ),
    "[IBAN]": (
        "GB82 WEST 1234 5698 7654 32",  # examples of the IBAN registry
        "DE89370400440532013000",
        "FR1420041010050500013M02606",
        "NO9386011117947",
    ),
    "[SSN]": ("078-05-1120",),  # the one printed on a wallet's sample card, withdrawn
    "[IP address]": ("8.8.8.8", "2001:4860:4860::8888"),
    "[secret]": (
        "sk-proj-" + "a1B2" * 8,
        "hf_" + "AbCd" * 8,
        "ghp_" + "x1Y2" * 9,
        "AKIAIOSFODNN7EXAMPLE",  # the example in the documentation of AWS
        "AIza" + "Sy1_" * 9,
        "xoxb-123456789012-abcdefghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w",  # the shape of RFC 7515, A.1
        "api_key=0123456789abcdef",
        "password=hunter2hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ),
}
NOTHING_FOUND = (
    *("2026-11-21", "2026-11-21T21:37:32Z", "3,072 of 10,000", "0.123 456", "21:37:32", "1 000 000", "0 to 100"),
    *("127.0.0.1", "http://192.168.0.1:8000/v1", "::1", "torch 2.13.0", "meta-llama/Llama-3.1-8B-Instruct"),
    *("ab" * 32, "sha256:" + "0123456789" * 6 + "abcd", "reward_model/identity/gap", "4111 1111 1111 1112"),
    *("GB83 WEST 1234 5698 7654 32", "woman & Black", "[0.12, 0.34]", "the plan asks for 10", "ratings-2024.csv"),
)
CASES = [(mark, text) for mark, texts in FOUND.items() for text in texts]


@pytest.mark.parametrize(("mark", "text"), CASES)
def test_every_form_is_found_alone_and_in_a_sentence(mark, text):
    assert redacted(text) == mark
    told = redacted(f"Row 7: call {text}, please.")
    assert mark in told
    assert text not in told
    assert told.startswith("Row 7: call ")
    assert told.endswith(", please.")


@pytest.mark.parametrize("text", NOTHING_FOUND)
def test_what_only_looks_alike_stays(text):
    assert redacted(text) == text


def test_what_stands_around_a_secret_stays():
    assert redacted("https://ana:pw12345@api.example.com/v1") == "https://[secret]@api.example.com/v1"
    assert redacted("https://x.example.com/a?token=abcdef0123&page=2") == "https://x.example.com/a?[secret]&page=2"
    assert redacted("Authorization: Bearer abcdef0123456789") == "Authorization: Bearer [secret]"
    assert redacted("/home/ana.silva/ratings.csv") == "/home/[user]/ratings.csv"
    assert redacted("C:\\Users\\Ana Silva\\ratings.csv") == "C:\\Users\\[user]\\ratings.csv"


@given(st.lists(st.one_of(st.sampled_from([text for _, text in CASES]), st.text(max_size=12)), max_size=5))
def test_redacting_twice_changes_nothing_more(parts):
    once = redacted(" ".join(parts))
    assert redacted(once) == once


@given(st.integers(10**11, 10**18 - 1))
def test_luhn_sees_every_single_wrong_digit(number):
    check = next(d for d in range(10) if luhn(f"{number}{d}"))
    assert [d for d in range(10) if luhn(f"{number}{d}")] == [check]  # ISO/IEC 7812-1: one digit fits
    wrong = f"{(number // 10) * 10 + (number + 1) % 10}{check}"
    assert not luhn(wrong)


def test_iban_sees_swapped_neighbours():
    good = "GB82WEST12345698765432"
    swapped = [good[:i] + good[i + 1] + good[i] + good[i + 2 :] for i in range(4, len(good) - 1)]
    assert iban(good)
    assert not any(iban(text) for text in swapped if text != good)


def test_one_endless_word_hides_no_address_behind_it() -> None:
    word = "x" * 300_000
    assert redacted(f"{word} jane.doe@example.com") == f"{word} [e-mail]"
    made = redacted(f"{'a.' * 300}jane.doe@example.com")  # longer than any address
    assert "jane" not in made
    assert made.endswith("a[e-mail]")
