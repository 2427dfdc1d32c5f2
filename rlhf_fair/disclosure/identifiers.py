"""Direct identifiers in text, and secrets: found by their form, and replaced by a mark that says what stood there.

=================  ===================================================================================================
``[e-mail]``       addr-spec of RFC 5322 in its common form; also ``%40``, ``&#64;``, ``(at)`` and full-width signs
``[phone]``        international with + or 00, North American 3-3-4, national with a leading 0; 7 to 15 digits (E.164)
``[card]``         13 to 19 digits in groups whose last is the Luhn check digit (ISO/IEC 7812-1)
``[IBAN]``         country code, and the check of ISO 13616: the rearranged number is 1 modulo 97
``[SSN]``          US social security number, 3-2-4 digits with hyphens
``[IP address]``   IPv4 and IPv6 addresses that are reachable from everywhere; loopback and private ones stay
``[secret]``       keys and tokens of known form, JSON web tokens, private keys, credentials in addresses and headers
``[user]``         the user's name in the path of a home folder
=================  ===================================================================================================

Names of people have no form: no pattern finds them. What may hold them (ids of raters, answers, prompts) is kept out
of results instead.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

# What may stand before the sign that counts is bounded: one long word would take the square of its length.
_AT = r"(?:@|%40|&#64;|&#x40;|&commat;|\s?[\[(]\s?at\s?[\])]\s?)"
_EMAIL = rf"[\w.!#$%&'*+^`~-]{{0,254}}\w{_AT}(?:[\w-]+(?:\.|\s?[\[(]\s?dot\s?[\])]\s?))+[^\W\d_]{{2,24}}\b"
_GROUPS = r"(?:[ .\-/]?\(?\d{1,5}\)?)"
_PHONE = (
    rf"(?<![\w.+])(?:\+|00(?=[1-9]))\s?\d{_GROUPS}{{2,7}}(?![\w])"
    r"|(?<![\w.+-])(?:\(\d{3}\)\s?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
    r"|(?<![\w.,+-])\(?0[1-9]\d{0,4}\)?(?:[ /-]\d{2,8}){1,4}(?![\w-])"
    r"|(?<![\w.,+-])0[1-9]\d{8,9}(?![\w.-])"
)
_KEY_FORMS = (
    *(r"sk-[\w-]{16,}", r"(?:sk|pk|rk)_(?:live|test)_\w{10,}", r"hf_[A-Za-z0-9]{16,}", r"gh[pousr]_[A-Za-z0-9]{20,}"),
    *(r"github_pat_\w{20,}", r"glpat-[\w-]{16,}", r"xox[abeprs]-[\w-]{10,}", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    *(r"AIza[\w-]{30,}", r"ya29\.[\w-]{20,}", r"npm_[A-Za-z0-9]{30,}", r"pypi-[\w-]{30,}"),
    r"eyJ[\w-]{8,4000}\.[\w-]{8,16000}\.[\w-]*",
)
_NAMED_SECRET = (
    r"(?i:(?<![A-Za-z])(?:api[_-]?key|apikey|access[_-]?token|auth[_-]?token|client[_-]?secret|token|secret|passw(?:or)?d"
    r"|signature|sig|key)(?:=|%3D))[^\s&\"'<>;,]{6,}"
)
_PRIVATE_KEY = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_IPV6 = r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::|[0-9A-Fa-f]{1,4})(?:[0-9A-Fa-f:]*)(?![\w:])"


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    doubled = [int(d) * (2 if at % 2 else 1) for at, d in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def iban(text: str) -> bool:
    """Whether ``text`` passes the check of ISO 13616: rearranged and with letters as numbers, 1 modulo 97.

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    plain = re.sub(r"\s", "", text).upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    digits = _digits(text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _is_phone(text: str) -> bool:
    return 7 <= len(_digits(text)) <= 15


def _is_public_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _always(text: str) -> bool:
    return True


@dataclass(frozen=True)
class Identifier:
    """One form; ``holds`` looks closer at what ``pattern`` finds. ``mark`` may keep groups of the match.

    ``sign``: a text without it is not searched.
    """

    mark: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = _always
    sign: re.Pattern[str] | None = None

    def replaced(self, text: str) -> str:
        """``text`` with marks. Of numbers in a row, the longest part that holds counts, if it ends at a space."""
        if self.sign and not self.sign.search(text):
            return text
        kept, at = [], 0
        while found := self.pattern.search(text, at):
            cuts = [found.end(), *(found.start() + gap.start() for gap in reversed(list(_GAP.finditer(found.group()))))]
            parts = (self.pattern.match(text, found.start(), cut) for cut in cuts)
            held = next((part for part in parts if part and self.holds(part.group())), None)
            end = held.end() if held else found.start() + 1
            kept += [text[at : found.start()], held.expand(self.mark) if held else text[found.start()]]
            at = end
        return "".join(kept) + text[at:]


_GAP = re.compile(r"\s+")

IDENTIFIERS = (
    Identifier("[secret]", re.compile(_PRIVATE_KEY, re.DOTALL)),
    Identifier(r"\1[secret]@", re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]*:[^\s/@]+@")),
    Identifier(r"\1[secret]", re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/-]{12,}=*")),
    Identifier("[secret]", re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(_KEY_FORMS) + ")")),
    Identifier("[secret]", re.compile(_NAMED_SECRET)),
    Identifier("[e-mail]", re.compile(_EMAIL), sign=re.compile(_AT)),
    Identifier(
        "[IBAN]", re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?!\w)"), iban
    ),
    Identifier("[card]", re.compile(r"(?<![\w.+])\d(?:[ -]?\d){12,18}(?!\w)"), _is_card),
    Identifier("[SSN]", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")),
    Identifier("[IP address]", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), _is_public_address),
    Identifier("[IP address]", re.compile(_IPV6), _is_public_address),
    Identifier("[phone]", re.compile(_PHONE), _is_phone),
    Identifier(r"\1[user]", re.compile(r"(/home/|/Users/)[^/\s\"']+")),
    Identifier(r"\1[user]", re.compile(r"([A-Za-z]:\\Users\\)[^/\\\n\"']+")),
)
"""In this order: what is longer, or says more, first."""

_SUSPECT = re.compile(
    r"@|%40|&#|&commat|[\[(]\s?at\s?[\])]|\d\D{0,3}\d\D{0,3}\d|://|[_:=-]|/home/|Users|(?i:bearer|basic|akia|eyj|ya29)|[^\x00-\x7f]"
)
_HEX = re.compile(r"[0-9a-f]{32,128}")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
"""Characters without a width, which keep a pattern from what a reader sees."""


def redacted(text: str) -> str:
    """``text`` with a mark in place of every identifier; redacting twice changes nothing more.

    A hexadecimal digest stays. Where full-width or unseen characters hide an identifier, the text comes back in the
    compatibility form of Unicode (NFKC) and without them.

    >>> redacted("Write to ana.p@example.org or +44 20 7946 0958; card 4111-1111-1111-1111.")
    'Write to [e-mail] or [phone]; card [card].'
    """
    if not _SUSPECT.search(text) or _HEX.fullmatch(text):
        return text
    made = _marked(text)
    if text.isascii():
        return made
    plain = unicodedata.normalize("NFKC", made.translate(_UNSEEN))
    bare = _marked(plain)
    return bare if bare != plain else made


def reaches_a_person(text: str) -> bool:
    """Whether an e-mail address or a phone number stands in ``text``.

    >>> reaches_a_person("ana.p@example.org"), reaches_a_person("rater-17")
    (True, False)
    """
    made = redacted(text)
    return made != text and any(mark in made for mark in ("[e-mail]", "[phone]"))


def _marked(text: str) -> str:
    for identifier in IDENTIFIERS:
        text = identifier.replaced(text)
    return text
