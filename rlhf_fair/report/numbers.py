"""Numbers as a reader sees them: one rounding per family of estimates, typographic minus, and no NaN shown as 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

MINUS = "\N{MINUS SIGN}"
MISSING = "not measured"


def finite(value: float | None) -> bool:
    """True for a number that was measured."""
    return value is not None and math.isfinite(value)


def decimals(intervals: Iterable[tuple[float, float]], values: Iterable[float] = ()) -> int:
    """Decimal places, 0 to 4, that keep one to two digits of the median half-width of the intervals.

    Without any interval the median absolute value decides, to two or three digits.

    >>> decimals([(0.22, 0.40), (0.1, 0.3)])
    2
    >>> decimals([(-0.004, 0.004)])
    3
    """
    half_widths = [(high - low) / 2 for low, high in intervals if finite(low) and finite(high) and high > low]
    sizes = [abs(value) for value in values if finite(value) and value != 0]
    if half_widths:
        scale = median(half_widths) / 2
    elif sizes:
        scale = median(sizes) / 20
    else:
        return 2
    return min(4, max(0, math.ceil(-math.log10(scale))))


def rounded(value: float, places: int) -> float:
    """``value`` to ``places`` decimals, with -0 as 0."""
    return round(value, places) + 0.0


def shown(value: float, places: int, *, sign: bool = False) -> str:
    """A rounded number in text; NaN reads 'not measured'.

    >>> shown(-0.314, 2), shown(-0.001, 2), shown(0.2, 2, sign=True)
    ('−0.31', '0.00', '+0.20')
    """
    if not finite(value):
        return MISSING
    number = rounded(value, places)
    text = f"{abs(number):,.{places}f}"
    if number < 0:
        return MINUS + text
    return f"+{text}" if sign and number > 0 else text


def interval(low: float, high: float, places: int) -> str:
    """``[low, high]``, or a dash where there is none."""
    if not (finite(low) and finite(high)):
        return "–"
    return f"[{shown(low, places)}, {shown(high, places)}]"


def significant(value: float, digits: int = 3) -> str:
    """A number to significant digits without an exponent where it stays short; NaN reads 'not measured'.

    >>> significant(0.1), significant(-12.3456), significant(1234567)
    ('0.1', '−12.3', '1,234,567')
    """
    if not finite(value):
        return MISSING
    size = abs(value)
    # 999.6 would round into an exponent, so whole numbers begin half a unit earlier.
    whole = 10**digits - 0.5 <= size < 1e9 or (size >= 1000 and float(size).is_integer())
    text = f"{size:,.0f}" if whole else f"{size:.{digits}g}"
    return MINUS + text if value < 0 else text


def padded(values: Iterable[float | None], *, share_of_span: float = 0.06) -> tuple[float, float] | None:
    """The range of the values, widened on both sides by a share of its span; None without two different values."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or max(known) == min(known):
        return None
    room = (max(known) - min(known)) * share_of_span
    return round(min(known) - room, 6), round(max(known) + room, 6)


def p_value(p: float) -> str:
    """A p-value to two or three decimals, ``< 0.001`` below that, a dash where no test was made."""
    if not finite(p):
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(number: int) -> str:
    """An integer with thousands separators."""
    return f"{number:,}"


def share(rate: float) -> str:
    """A rate in [0, 1] as a percentage, a dash where there is none."""
    return f"{100 * rate:.1f} %" if finite(rate) else "–"


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 claim``, ``2 claims``."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
