"""What the check of a scorer means for its gaps, in sentences for the limits of an audit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_fair.audit.scorers import ScorerPlan
from rlhf_fair.probes.measured import Measured
from rlhf_fair.records import Estimate

ROUNDING = 1e-12


def said_of(planned: ScorerPlan, shifts: Sequence[Measured], *, margin: float) -> list[str]:
    """A sentence for each shift that is seen, or that cannot be told from 0 closely enough; one for all others.

    ``margin``: of the gap that the scorer measures; an interval wholly inside it is close enough.
    """
    who = planned.quantity if planned.name == planned.quantity else f"{planned.quantity} by {planned.name}"
    said, quiet = [], []
    for m in shifts:
        e = m.estimate
        if not math.isfinite(e.estimate):
            said.append(f"The ruler ({who}) could not be checked for {m.group}: {e.reason}.")
        elif moves(e):
            said.append(
                f"The ruler itself moves by {_shown(e, planned.unit)} ({who}) when only the word for {m.group} stands "
                f"in place of that for {m.reference}: of a gap between them, as much may be the ruler's."
            )
        elif _most(e) < margin:
            quiet.append(m)
        else:
            said.append(
                f"The ruler ({who}) may move when only the word for {m.group} stands in place of that for "
                f"{m.reference}: by {_shown(e, planned.unit)} in {e.n:,} pairs of sentences, too few to tell."
            )
    if quiet:
        most = max(_most(m.estimate) for m in quiet)
        size = f"by {most:.2g} {planned.unit} at most" if most > ROUNDING else "in no sentence"
        groups = ", ".join(m.group for m in quiet)
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
    return f"{e.estimate:+.2g}{interval} {unit}"
