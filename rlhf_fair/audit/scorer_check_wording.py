"""What the check of a scorer means for its gaps, in sentences for the limits of an audit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias import ROUNDING
from rlhf_fair.records import Estimate


def said_of(
    who: str, shifts: Sequence[Measured], *, margin: float, kind: Callable[[Measured], str] = lambda m: "words"
) -> list[str]:
    """A sentence for each shift that is seen, or that cannot be told from 0 closely enough; one for all others.

    ``who``: the ruler. ``margin``: of the shift; an interval wholly inside it is close enough. ``kind``: what was put
    in place of what, words or names.
    """
    said, quiet = [], []
    several = len({kind(m) for m in shifts}) > 1
    for m in shifts:
        e = m.estimate
        exchanged = f"when only the {kind(m)} for {m.group} stand in place of those for {m.reference}"
        if not math.isfinite(e.estimate):
            said.append(f"The ruler ({who}) could not be checked for {m.group}: {e.reason}.")
        elif moves(e):
            said.append(
                f"The ruler itself moves by {_shown(e, m.unit)} ({who}) {exchanged}: of a gap between such groups, as "
                "much may be the ruler's."
            )
        elif _most(e) < margin:
            quiet.append(m)
        else:
            said.append(
                f"The ruler ({who}) may move {exchanged}: by {_shown(e, m.unit)} in {e.n:,} pairs of sentences, too "
                "few to tell."
            )
    if quiet:
        most = max(_most(m.estimate) for m in quiet)
        size = f"by {most:.2g} {quiet[0].unit}".strip() + " at most" if most > ROUNDING else "in no sentence"
        kinds: dict[str, list[str]] = {}
        for m in quiet:
            kinds.setdefault(m.group, []).append(kind(m))
        groups = ", ".join(f"{group} ({' and '.join(of)})" if several else group for group, of in kinds.items())
        said.append(f"The ruler ({who}) was not seen to move when only the group changed, for {groups}: {size}.")
    return said


def moves(e: Estimate) -> bool:
    """0 lies outside the interval; a shift that is the same in every sentence has none, and needs none."""
    if not math.isfinite(e.estimate) or abs(e.estimate) < ROUNDING:
        return False
    return not e.ci_low <= 0 <= e.ci_high


def _most(e: Estimate) -> float:
    """The farthest end of the interval from 0, or the estimate where there is none."""
    return max(abs(end) for end in (e.estimate, e.ci_low, e.ci_high) if math.isfinite(end))


def _shown(e: Estimate, unit: str) -> str:
    interval = f" [{e.ci_low:+.2g}, {e.ci_high:+.2g}]" if math.isfinite(e.ci_low) else ""
    return f"{e.estimate:+.2g}{interval} {unit}".strip()
