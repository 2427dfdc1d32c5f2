"""Weights that make a panel stand for its population, and what they cost in precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.annotators.population import CROSS, Margin, Population
from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.columns import kish_effective_n
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PanelWeights:
    """Result of `raking_weights`.

    Attributes
    ----------
    weights
        One weight >= 0 for each member, indexed by annotator_id, mean 1.
    margins
        One row for each margin cell: attribute, level, target, panel (unweighted share), weighted (share), over the
        members whose attributes of that margin are known. ``panel`` 0 with ``target`` > 0 is a cell nobody stands for.
    unknown
        For each margin, the members left out of it because an attribute is missing or not in the population.
    trimmed
        Members held at the largest weight allowed.
    """

    weights: pd.Series
    margins: pd.DataFrame
    unknown: dict[str, int]
    trimmed: int

    @property
    def max_gap(self) -> float:
        """Largest distance between a weighted share and its target; 0 = all margins met; range [0, 1]."""
        return float((self.margins["weighted"] - self.margins["target"]).abs().max())


def raking_weights(members: pd.DataFrame, population: Population, *, trim: float = 5.0) -> PanelWeights:
    """Weights under which the panel has the population's margins (Deming and Stephan 1940), trimmed.

    Starts from 1/``inclusion_probability`` where that column is present. A member whose attribute is unknown keeps its
    weight in that margin. Cells without members are left out and the others share their part, which ``margins`` shows.

    Parameters
    ----------
    members
        Panel rows: annotator_id, ``attr.*``, optionally inclusion_probability in (0, 1].
    trim
        Largest weight as a multiple of the mean weight, > 1; trimming and raking alternate until both settle.
    """
    if not trim > 1:
        raise SettingsError(f"trim = {trim}; allowed: a number > 1")
    require_columns(members, ["annotator_id"], "panel")
    base = _base_weights(members)
    codes = [margin_codes(members, margin) for margin in population.margins]
    targets = [margin.shares.to_numpy(float) for margin in population.margins]
    weights = rake_rows(base, codes, targets)
    for _ in range(20):
        ceiling = trim * weights.mean()
        if weights.max() <= ceiling * (1 + 1e-9):
            break
        weights = rake_rows(np.minimum(weights, ceiling), codes, targets)
    weights = _trim(weights / weights.mean(), trim)
    return PanelWeights(
        weights=pd.Series(weights, index=pd.Index(members["annotator_id"], name="annotator_id"), name="weight"),
        margins=_margin_report(weights, population, codes),
        unknown={m.name: int((code < 0).sum()) for m, code in zip(population.margins, codes, strict=True)},
        trimmed=int((weights >= trim * (1 - 1e-9)).sum()),
    )


def design_effect(weights: ArrayLike) -> float:
    """n / Kish's effective size, the factor by which weighting inflates variance; 1 = equal weights; range [1, n].

    >>> round(design_effect([1, 1, 1, 1, 3, 3]), 2)
    1.32
    """
    return float(np.size(weights)) / kish_effective_n(weights)


def margin_codes(table: pd.DataFrame, margin: Margin) -> IntArray:
    """The margin cell of each row, as a position in ``margin.shares``; -1 where it is unknown."""
    columns = [ATTRIBUTE_PREFIX + name for name in margin.attributes]
    require_columns(table, columns, "panel")
    cells = pd.MultiIndex.from_tuples(margin.levels())
    wanted = pd.MultiIndex.from_frame(table[columns].astype("object"))
    return np.asarray(cells.get_indexer(wanted), dtype=np.int64)


def rake_rows(
    base: FloatArray, codes: Sequence[IntArray], targets: Sequence[FloatArray], *, sweeps: int = 500
) -> FloatArray:
    """Iterative proportional fitting on rows: scale ``base`` until each margin's cells hold their target shares.

    Parameters
    ----------
    base
        (n,) starting weights, >= 0.
    codes, targets
        For each margin, (n,) cell positions with -1 for unknown, and the cells' shares. The weight of a margin's
        unknown rows stays what it was; cells without rows are left out.
    sweeps
        At most this many; contradicting margins end near the last one, which the caller sees in the margins reached.
    """
    weights = np.array(base, dtype=float)
    for _ in range(sweeps):
        change = 0.0
        for code, target in zip(codes, targets, strict=True):
            known = code >= 0
            sums = np.bincount(code[known], weights[known], minlength=len(target))
            wanted = np.where(sums > 0, target, 0.0)
            if not wanted.sum() > 0:
                continue
            wanted *= sums.sum() / wanted.sum()
            factor = np.divide(wanted, sums, out=np.ones_like(wanted), where=sums > 0)
            change = max(change, float(np.max(np.abs(wanted - sums)) / sums.sum()))
            weights[known] *= factor[code[known]]
        if change < 1e-10:
            break
    return weights


def _base_weights(members: pd.DataFrame) -> FloatArray:
    if "inclusion_probability" not in members:
        return np.ones(len(members))
    probability = members["inclusion_probability"].to_numpy(float)
    if not np.all((probability > 0) & (probability <= 1)):
        raise SettingsError("panel: every 'inclusion_probability' must lie in (0, 1]")
    return 1 / probability


def _trim(weights: FloatArray, trim: float) -> FloatArray:
    """Weights with mean 1 and none above ``trim``: what is cut off goes to the others in proportion."""
    for _ in range(100):
        capped = np.minimum(weights, trim)
        free = capped < trim
        if not free.any() or abs(capped.mean() - 1) < 1e-12 or not capped[free].sum() > 0:
            return capped
        capped[free] *= (len(weights) - capped[~free].sum()) / capped[free].sum()
        weights = capped
    return weights


def _margin_report(weights: FloatArray, population: Population, codes: Sequence[IntArray]) -> pd.DataFrame:
    parts = []
    for margin, code in zip(population.margins, codes, strict=True):
        known = code >= 0
        count = np.bincount(code[known], minlength=len(margin.shares))
        weight = np.bincount(code[known], weights[known], minlength=len(margin.shares))
        parts.append(
            pd.DataFrame(
                {
                    "attribute": margin.name,
                    "level": [CROSS.join(level) for level in margin.levels()],
                    "target": margin.shares.to_numpy(float),
                    "panel": count / max(count.sum(), 1),
                    "weighted": weight / weight.sum() if weight.sum() > 0 else np.zeros(len(weight)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
