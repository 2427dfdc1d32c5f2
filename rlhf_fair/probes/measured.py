"""One number that a probe measured, before an audit gives it a threshold and a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_fair.records import NAN, Better, Estimate


@dataclass(frozen=True)
class Measured:
    """``variant`` names the way it was computed, wherever several ways are in use that do not compare.

    ``parse_rate``: share of answers that could be read. ``refusal_rate``: share of answers that refuse.
    ``measured_rate``: share of the compared rows, missing and refused ones included, that entered the estimate; of a
    group and a reference, that of the one with less (`rlhf_fair.probes.missing.measured_rate`). NaN: not applicable.
    """

    metric: str
    estimate: Estimate
    attribute: str
    group: str
    reference: str = ""
    variant: str = ""
    better: Better = "zero"
    unit: str = ""
    parse_rate: float = NAN
    refusal_rate: float = NAN
    measured_rate: float = NAN
