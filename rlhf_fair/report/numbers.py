"""Numbers as a reader sees them: one rounding per family of estimates, typographic minus, and no NaN shown as 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

MINUS = "\N{MINUS SIGN}"
MISSING = "not measured"
LIMIT_DIGITS = 6
FINEST = 10
"""Beyond so many decimals a value and a mark count as equal; see `places_apart`."""
LOG_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


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


def places_apart(values: Iterable[float], marks: Iterable[float], *, at_least: int = 0) -> int:
    """The fewest decimals, from ``at_least`` on, that leave every value on its own side of every mark.

    A verdict compares the ends of an interval with thresholds and with the null: an end that lies beyond a mark must
    not be printed as equal to it, or short of it. A value within a billionth of a mark lies on it, and is printed so.

    >>> places_apart([4.7, 12.1], [5.0]), places_apart([5.02, 10.98], [-5.0, 0.0, 5.0]), places_apart([3.0, 9.0], [5.0])
    (1, 2, 0)
    """
    lines = [mark for mark in marks if finite(mark)]
    pairs = [(value, mark) for value in values if finite(value) for mark in lines]
    places = at_least
    while places < FINEST and not all(_same_side(value, mark, places) for value, mark in pairs):
        places += 1
    return places


def _same_side(value: float, mark: float, places: int) -> bool:
    """True where rounding leaves ``value`` above, below or on ``mark``, as it is, also for the mark as printed."""
    number, printed = rounded(value, places), float(f"{mark:.{LIMIT_DIGITS}g}")
    if math.isclose(value, mark, rel_tol=1e-9, abs_tol=1e-9):
        return number == rounded(printed, places) == printed
    return (number > mark and number > printed) if value > mark else (number < mark and number < printed)


def limit(value: float) -> str:
    """A threshold or margin: with all the digits a plan gives it, so that intervals can be held against it.

    >>> limit(5.0), limit(0.8), limit(1 / 0.8), limit(0.1234)
    ('5', '0.8', '1.25', '0.1234')
    """
    return significant(value, LIMIT_DIGITS)


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
    """``[low, high]``, ``[low, no limit]`` where one end is open, or a dash where there is none."""
    if not (finite(low) or finite(high)):
        return "–"
    if not finite(high):
        return f"[{shown(low, places)}, no limit]"
    if not finite(low):
        return f"[no limit, {shown(high, places)}]"
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


def padded_ratio(values: Iterable[float | None]) -> tuple[float, float] | None:
    """`padded` for a log axis: the room on both sides is a factor. Only for positive values."""
    span = padded(math.log(value) for value in values if value is not None and value > 0 and math.isfinite(value))
    return span and (round(math.exp(span[0]), 6), round(math.exp(span[1]), 6))


def ratio_ticks(span: tuple[float, float]) -> tuple[float, ...]:
    """Where a log axis is labelled: 1-2-5 steps and the two sides of four fifths, as far as they fit.

    >>> ratio_ticks((0.45, 2.2))
    (0.5, 0.8, 1.0, 1.25, 2.0)
    """
    inside = tuple(tick for tick in LOG_TICKS if span[0] <= tick <= span[1])
    return inside if len(inside) <= 7 else tuple(tick for tick in inside if tick not in (0.8, 1.25))


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


def behind(number: int, value: float) -> str:
    """How many rows or clusters a number rests on. One that is told rests on some, so none means "not to be told"."""
    return "withheld" if number == 0 and finite(value) else count(number)


def share(rate: float) -> str:
    """A rate in [0, 1] as a percentage, a dash where there is none."""
    return f"{100 * rate:.1f} %" if finite(rate) else "–"


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 claim``, ``2 claims``."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
