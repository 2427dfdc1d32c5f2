"""One row of a fair training's curve: what is penalised, how hard, what of it is noise, and who moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_fair.records import NAN
from rlhf_fair.training.fairness.disparities import Disparity
from rlhf_fair.training.fairness.multipliers import Multipliers
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot
from rlhf_fair.training.fairness.sums import LENGTH, REFUSED, REWARD, SCORE, BatchSums


def curve_row(
    snapshots: Mapping[str, StratifiedSnapshot],
    found: Sequence[Disparity],
    multipliers: Multipliers,
    reference_means: Mapping[str, float],
    sums: BatchSums,
) -> dict[str, float]:
    """Plain numbers by name.

    ``gap`` and its ``noise_floor`` in score units, within strata; ``gap_pooled`` ignores strata (the two part where the
    groups are asked different things). ``contrast:<name>`` is signed, ``noise:<name>`` what its size averages to by
    chance, ``kappa:<name>`` what prices it, ``multiplier:<name>`` each one that moves. ``tolerance_below_noise`` is 1
    where the tolerance cannot be resolved.

    By group: ``mean:``, ``se:``, ``share:``, ``count:`` (effective), ``reward:``, ``refused:``, ``length:``, and
    ``moved:`` with ``moved_se:``, the change of the mean since the reference means (taken as known). ``unknown`` and
    ``unscored`` are shares of the batch without group, or score.
    """
    score = snapshots[SCORE]
    pooled_gap = score.pooled.between_group_sd if len(score.pooled.groups) > 1 else NAN
    row = {"gap": score.gap, "gap_pooled": pooled_gap, "noise_floor": score.noise_floor}
    row |= {"unknown": sums.unknown / max(sums.rows, 1), "unscored": sums.unscored / max(sums.rows, 1)}
    for measure in (REFUSED, LENGTH):
        if measure in snapshots:
            row |= {f"gap:{measure}": snapshots[measure].gap, f"noise_floor:{measure}": snapshots[measure].noise_floor}
    row |= _disparity_entries(found, multipliers)
    row |= _group_entries(score.pooled, reference_means)
    for measure in (REWARD, REFUSED, LENGTH):
        if measure in snapshots:
            pooled = snapshots[measure].pooled
            row |= {
                f"{measure}:{group}": mean for group, mean in zip(pooled.groups, pooled.means.tolist(), strict=True)
            }
    return row


def _disparity_entries(found: Sequence[Disparity], multipliers: Multipliers) -> dict[str, float]:
    entries: dict[str, float] = {}
    for disparity in found:
        if disparity.signed:
            entries |= {f"contrast:{disparity.name}": disparity.value, f"noise:{disparity.name}": disparity.noise}
            entries |= {f"kappa:{disparity.name}": multipliers.kappa(disparity)}
    entries |= {f"multiplier:{name}": value for name, value in multipliers.values().items()}
    if multipliers.settings.kind != "fixed":
        tolerance = multipliers.settings.tolerance
        entries["tolerance_below_noise"] = float(any(d.estimable and tolerance < d.noise for d in found))
    return entries


def _group_entries(pooled: GroupSnapshot, reference_means: Mapping[str, float]) -> dict[str, float]:
    """Groups with a reference that have not been seen yet stay in the row, with share 0 and NaN for a mean."""
    entries: dict[str, float] = {}
    columns = zip(pooled.means, pooled.standard_errors, pooled.shares, pooled.counts, strict=True)
    known = {group: tuple(map(float, row)) for group, row in zip(pooled.groups, columns, strict=True)}
    for group in sorted({*known, *reference_means}):
        mean, error, share, count = known.get(group, (NAN, NAN, 0.0, 0.0))
        entries |= {f"mean:{group}": mean, f"se:{group}": error, f"share:{group}": share, f"count:{group}": count}
        if group in reference_means:
            entries |= {f"moved:{group}": mean - reference_means[group], f"moved_se:{group}": error}
    return entries
