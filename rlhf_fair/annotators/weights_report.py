"""What a reader of weights has to know: shares before and after, effective sizes of groups, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlhf_fair.annotators.weights_raking import MET, Cells, FloatArray, largest_miss
from rlhf_fair.annotators.weights_response import THIN, Response
from rlhf_fair.errors import InfeasibleError
from rlhf_fair.stats.columns import kish_effective_n


def refuse_conflicts(miss: float, conflicts: Sequence[str], accept_gap: float) -> None:
    if miss > max(accept_gap, MET) and conflicts:
        more = f"; and {len(conflicts) - 3} more" if len(conflicts) > 3 else ""
        raise InfeasibleError(
            f"no weights of these members meet all margins (raking misses one by {miss:.3f}; allowed: {accept_gap:g}): "
            f"{'; '.join(conflicts[:3])}{more}. Merge levels, leave a margin out, or recruit who is missing"
        )


def conflict_note(miss: float, conflicts: Sequence[str]) -> str:
    if conflicts:
        return f"no weights of these members meet all margins; missed by up to {miss:.4f}: {'; '.join(conflicts[:3])}"
    return f"raking had not settled when it was stopped; margins missed by up to {miss:.2g}"


def margin_notes(cells: Sequence[Cells], base: FloatArray, weights: FloatArray, cap: float) -> list[str]:
    found = []
    for one in cells:
        name = one.margin.name
        for label, count, share in zip(one.labels, one.counts, one.shares, strict=True):
            if count == 0 and share > 0:
                heir = "cannot be met" if one.overlapping else _heir(one, label)
                found.append(f"{name}={label}: nobody stands for it; its share of {share:.3f} {heir}")
            elif 0 < count < THIN:
                found.append(f"{name}={label}: thin, {count:.0f} of at least {THIN} members wanted")
        if unknown := int((~one.known).sum()):
            found.append(f"{unknown} members of unknown {name} keep their weight in that margin")
    if nothing := int(((weights == 0) & (base > 0)).sum()):
        found.append(f"{nothing} members weigh nothing: the population has no share for a level of theirs")
    if (weights >= cap * (1 - 1e-9)).any() and (gap := largest_miss(weights, cells)) > MET:
        found.append(f"trimming at {cap:.3g} times the mean leaves a share {gap:.3f} off its target")
    return found


def _heir(cells: Cells, label: str) -> str:
    """To whom `weights_raking.collapse` gives the share of a cell without members."""
    levels = cells.margin.levels()
    first = levels[cells.labels.index(label)][0]
    kin = any(level[0] == first and aim > 0 for level, aim in zip(levels, cells.aim, strict=True))
    kin = kin and len(cells.margin.attributes) > 1
    return f"goes to the other cells of {cells.margin.attributes[0]}={first}" if kin else "goes to the other cells"


def response_notes(response: Response | None, drawn: FloatArray) -> list[str]:
    if response is None:
        return []
    table = response.table(drawn)
    by = f"by {' x '.join(response.attributes)}" if response.attributes else "as one class"
    found = [f"{int(response.responded.sum())} of {len(response.responded)} members responded; adjusted {by}"]
    for row in table[table["responded"] < THIN].to_dict("records"):
        what = "nobody responded, all who did stand for them" if not row["responded"] else "thin"
        found.append(f"response class {row['class']}: {row['responded']} of {row['members']} members; {what}")
    return found


def replicate_notes(cells: Sequence[Cells], replicates: pd.DataFrame) -> list[str]:
    """Replicates that leave a cell without members are raked without it, and say so."""
    held = (replicates > 0).to_numpy(float)
    emptied = np.zeros(held.shape[1], dtype=bool)
    for one in cells:
        alive = one.inside @ held
        emptied |= ((alive == 0) & (one.aim > 0)[:, None]).any(axis=0)
    if not emptied.any():
        return []
    return [f"{int(emptied.sum())} of {len(emptied)} replicates lack a cell: intervals lean on few people"]


def margin_report(base: FloatArray, weights: FloatArray, cells: Sequence[Cells]) -> pd.DataFrame:
    parts = []
    for one in cells:
        effective = np.array([kish_effective_n(weights[row > 0]) if row.any() else np.nan for row in one.inside])
        parts.append(
            pd.DataFrame(
                {
                    "attribute": one.margin.name,
                    "level": one.labels,
                    "target": one.shares,
                    "aim": one.aim,
                    "panel": one.counts / max(int(one.known.sum()), 1),
                    "base": one.weighted_shares(base),
                    "weighted": one.weighted_shares(weights),
                    "n": one.counts.astype(int),
                    "effective_size": effective,
                    "design_effect": one.counts / effective,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
