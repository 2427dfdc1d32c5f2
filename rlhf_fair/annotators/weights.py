"""Weights that make a panel stand for its population, and what they cost in precision.

Four steps, each a factor: the chance of being drawn (`weights_response.design_weights`), who responded, the
population's margins (`weights_raking`) and a cap on single weights (`weights_trimming`). Intervals of whatever is
computed with them come from replicates of all four (`weights_replicates`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.annotators.population import DISAGREEMENT, Population
from rlhf_fair.annotators.weights_raking import (
    Cells,
    FloatArray,
    largest_miss,
    margin_cells,
    out_of_reach,
    rake_cells,
)
from rlhf_fair.annotators.weights_raking import margin_codes as margin_codes  # planning takes these from here
from rlhf_fair.annotators.weights_raking import rake_rows as rake_rows
from rlhf_fair.annotators.weights_replicates import Heard, replicate_groups, replicate_table
from rlhf_fair.annotators.weights_report import (
    conflict_note,
    margin_notes,
    margin_report,
    refuse_conflicts,
    replicate_notes,
    response_notes,
)
from rlhf_fair.annotators.weights_response import (
    Response,
    design_notes,
    design_weights,
    leans,
    read_responded,
    response_classes,
    unreached_share,
)
from rlhf_fair.annotators.weights_trimming import least_error_cap, rake_under_cap
from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.columns import kish_effective_n
from rlhf_fair.tables import require_columns

Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Weighting:
    """How to weigh.

    ``trim``: largest weight as a multiple of the mean weight, > 1; infinite for none, ``auto`` for
    `weights_trimming.least_error_cap`. ``replicates``: how many replicate weights, 0 or >= 2. ``response_by``:
    attributes that make the classes of the non-response adjustment; None chooses them. ``accept_gap``: margins that no
    weights can meet together are an error if raking misses one by more than this share.
    """

    trim: float | Literal["auto"] = 5.0
    replicates: int = 0
    response_by: tuple[str, ...] | None = None
    accept_gap: float = DISAGREEMENT

    def __post_init__(self) -> None:
        if self.trim != "auto" and not self.trim > 1:
            raise SettingsError(f"trim = {self.trim}; allowed: a number > 1, or auto")
        if self.replicates < 0 or self.replicates == 1:
            raise SettingsError(f"replicates = {self.replicates}; allowed: 0, or 2 and more")
        if not self.accept_gap >= 0:
            raise SettingsError(f"accept_gap = {self.accept_gap}; allowed: a number >= 0")


@dataclass(frozen=True)
class PanelWeights:
    """Result of `weigh_panel`, for the members who responded (all, where nothing is known of it).

    Attributes
    ----------
    weights
        One weight >= 0 for each member, indexed by annotator_id, mean 1.
    base
        Likewise, before raking: 1 over the chance of being drawn, with the weight of those who did not respond.
    margins
        One row for each margin cell: attribute, level, target, aim (the target after cells without members handed on
        theirs), panel (unweighted share), base and weighted (shares), over the members whose attributes of that margin
        are known; n (persons), effective_size (`kish_effective_n` of theirs, NaN without weight), design_effect.
        ``panel`` 0 with ``target`` > 0 is a cell nobody stands for.
    unknown
        For each margin, the members left out of it because an attribute is missing or not in the population.
    cap, capped
        Largest weight allowed, infinite without one, and (n,) who is held at it.
    settled, conflicts
        Whether raking (before any trimming) met all margins, and if not, which are in the way of which.
    response
        The non-response adjustment, None where nothing is known of it.
    replicates
        A column of weights for each replicate; None if not asked for.
    notes
        What a reader has to know, as sentences.
    unreached_share
        Share of the pool for whom the panel cannot stand (`weights_response.unreached_share`), NaN where not known.
    leans
        Whether fewer than five people carry a tenth of the starting weight (`weights_response.leans`).
    """

    weights: pd.Series
    base: pd.Series
    margins: pd.DataFrame
    unknown: dict[str, int]
    cap: float
    capped: Booleans
    settled: bool
    conflicts: list[str] = field(default_factory=list)
    response: Response | None = None
    replicates: pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)
    unreached_share: float = np.nan
    leans: bool = False

    @property
    def trimmed(self) -> int:
        """Members held at the largest weight allowed."""
        return int(self.capped.sum())

    @property
    def max_gap(self) -> float:
        """Largest distance between a weighted share and its target; 0 = all margins met; range [0, 1]."""
        return float((self.margins["weighted"] - self.margins["target"]).abs().max())

    @property
    def max_gap_before(self) -> float:
        """The same of the panel as it is, everybody counting the same."""
        return float((self.margins["panel"] - self.margins["target"]).abs().max())

    @property
    def variation(self) -> float:
        """Coefficient of variation of the weights, sqrt(design effect - 1); 0 = equal weights."""
        return float(self.weights.std(ddof=0) / self.weights.mean())

    def table(self) -> pd.DataFrame:
        """annotator_id, weight, base_weight, trimmed, and the replicates if there are any."""
        columns = {"weight": self.weights, "base_weight": self.base, "trimmed": self.capped}
        table = pd.DataFrame(columns, index=self.weights.index)
        return (table if self.replicates is None else table.join(self.replicates)).reset_index()


def design_effect(weights: ArrayLike) -> float:
    """n / Kish's effective size, the factor by which weighting inflates variance; 1 = equal weights; range [1, n].

    >>> round(design_effect([1, 1, 1, 1, 3, 3]), 2)
    1.32
    """
    return float(np.size(weights)) / kish_effective_n(weights)


def raking_weights(members: pd.DataFrame, population: Population, *, trim: float = 5.0) -> PanelWeights:
    """`weigh_panel` of everybody who is in the panel; margins that cannot be met are met as nearly as raking gets."""
    return weigh_panel(members, population, Weighting(trim, accept_gap=np.inf))


def weigh_panel(
    members: pd.DataFrame,
    population: Population,
    settings: Weighting | None = None,
    *,
    responded: Booleans | None = None,
    rng: np.random.Generator | None = None,
    heard: Heard | None = None,
) -> PanelWeights:
    """Weights under which those who responded have the population's margins.

    A member whose attribute is unknown keeps its weight in that margin. Cells without members hand on their share, see
    `weights_raking.collapse`. `InfeasibleError`: none meet all margins, and one is missed by more than ``accept_gap``.

    Parameters
    ----------
    members: panel rows: annotator_id, ``attr.*``, optionally inclusion_probability in (0, 1] (empty for who joined
        after the draw), unreached_share and responded (yes or no).
    responded: (n,) who responded; default: the column of that name, and everybody where there is none.
    rng: deals members to replicates; needed for these alone.
    heard: is told how many replicates are done, and of how many.
    """
    chosen = settings or Weighting()
    require_columns(members, ["annotator_id"], "panel")
    start = _Start.of(members, chosen, responded)
    index = pd.Index(members["annotator_id"][start.here], name="annotator_id")
    cells, base = margin_cells(members[start.here], population), start.weights(start.drawn)
    conflicts, notes = _conflicts(base, cells, chosen.accept_gap)
    cap = least_error_cap(base, cells) if chosen.trim == "auto" else chosen.trim

    def weigh(drawn: FloatArray) -> FloatArray:
        return rake_under_cap(start.weights(drawn), cells, cap)

    weights = weigh(start.drawn)
    notes += design_notes(members) + response_notes(start.response, start.drawn)
    notes += margin_notes(cells, base, weights, cap)
    replicates = None
    if chosen.replicates:
        assert rng is not None
        group = replicate_groups(len(members), chosen.replicates, rng)
        replicates = replicate_table(start.drawn, group, weigh, heard).set_axis(index, axis=0)
        notes += replicate_notes(cells, replicates)
    return PanelWeights(
        weights=pd.Series(weights, index=index, name="weight"),
        base=pd.Series(base, index=index, name="base_weight"),
        margins=margin_report(base, weights, cells),
        unknown={one.margin.name: int((~one.known).sum()) for one in cells},
        cap=cap,
        capped=weights >= cap * (1 - 1e-9),
        settled=conflicts is None,
        conflicts=conflicts or [],
        response=start.response,
        replicates=replicates,
        notes=notes,
        unreached_share=unreached_share(members),
        leans=leans(start.drawn),
    )


def _conflicts(base: FloatArray, cells: list[Cells], accept_gap: float) -> tuple[list[str] | None, list[str]]:
    """Margins that no weights meet together, None where raking meets all; and what is said of it."""
    free = rake_cells(base, cells)
    if free.settled:
        return None, []
    miss, conflicts = largest_miss(free.weights, cells), out_of_reach(base, cells)
    refuse_conflicts(miss, conflicts, accept_gap)
    return conflicts, [conflict_note(miss, conflicts)]


@dataclass(frozen=True)
class _Start:
    """Where raking starts. ``drawn``: (n,) design weights of everybody; ``here``: (n,) who responded, or everybody."""

    drawn: FloatArray
    response: Response | None
    here: Booleans

    @classmethod
    def of(cls, members: pd.DataFrame, chosen: Weighting, responded: Booleans | None) -> _Start:
        asked = read_responded(members) if responded is None else responded
        if asked is None and chosen.response_by:
            raise SettingsError("response_by needs to know who responded: a column 'responded', or their feedback")
        response = None if asked is None else response_classes(members, asked, chosen.response_by)
        here = np.ones(len(members), dtype=bool) if response is None else response.responded
        return cls(design_weights(members), response, here)

    def weights(self, drawn: FloatArray) -> FloatArray:
        """Weights of those who responded, after the adjustment for the others; ``drawn``: (n,), 0 for the left out."""
        return drawn if self.response is None else self.response.adjust(drawn)[self.here]
