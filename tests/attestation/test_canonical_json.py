"""RFC 8785 by its own examples and its table of numbers."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.artifacts import canonical_json, sorted_json
from rlhf_fair.errors import SettingsError

# RFC 8785, appendix B: bits of an IEEE 754 double -> its text
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_of_the_standard(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value) == text.encode()


def test_the_example_of_the_standard() -> None:
    # RFC 8785, section 3.2.2 and 3.2.3
    given = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(given) == expected.encode()


def test_keys_are_sorted_by_utf_16_as_the_standard_has_it() -> None:
    # RFC 8785, section 3.2.3: an emoji is a surrogate pair (0xd83d) and so comes before U+FB33
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical_json(dict.fromkeys(keys, 0)))) == [
        *("\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33")
    ]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 10**20 + 1, 10**21, 10**400])
def test_integers_that_a_double_cannot_hold_are_refused_by_name(value: int) -> None:
    with pytest.raises(SettingsError, match=r"audit\.rows\.1\.seed cannot be written"):
        canonical_json({"audit": {"rows": [{"seed": 1}, {"seed": value}]}})


def test_the_largest_integers_that_are_exact_are_written() -> None:
    assert canonical_json([2**53 - 1, 1 - 2**53]) == b"[9007199254740991,-9007199254740991]"


def test_a_large_float_stays_what_it_was_though_python_parses_it_as_an_integer() -> None:
    written = canonical_json([6.65749967627143e16, 2.0**53])
    assert written == b"[66574996762714300,9007199254740992]"
    assert canonical_json(json.loads(written)) == written


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(SettingsError, match="name cannot be written"):
        canonical_json({"name": "\ud800"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_nan_and_infinity_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abäß€\U0001f600", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_parsed_and_written_again_gives_the_same_bytes_and_the_same_value(value: object) -> None:
    written = canonical_json(value)
    assert json.loads(written, parse_int=float) == value
    assert canonical_json(json.loads(written)) == written


def test_state_that_python_reads_again_keeps_its_floats() -> None:
    assert sorted_json({"b": 1.0, "a": -0.0}) == b'{"a":-0.0,"b":1.0}'
