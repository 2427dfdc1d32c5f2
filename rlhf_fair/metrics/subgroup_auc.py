"""Subgroup AUCs: can a score tell positive from negative rows within a subgroup, and across its border?

Borkan, Dixon, Sorensen, Thain & Vasserman 2019; range [0, 1], 0.5 = the score says nothing, 1 = perfect order.

* subgroup AUC: both from the subgroup. Low: the score cannot tell them apart there.
* BPSN (background positive, subgroup negative). Low: harmless rows of the subgroup score too high, false positives.
* BNSP (background negative, subgroup positive). Low: positive rows of the subgroup score too low, false negatives.

The background of a subgroup is every row known to lie outside it; subgroups may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.auc import CHANCE, Area, area, area_estimate, area_gap, scored_rows, within_unit_interval
from rlhf_fair.metrics.rows import Mask, Rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import check_among, check_lengths, numbers
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.sample import UNKNOWN, Codes, Floats, encode, signed_intersections

Kind = Literal["subgroup", "bpsn", "bnsp"]
KINDS: tuple[Kind, ...] = ("subgroup", "bpsn", "bnsp")


@dataclass(frozen=True)
class Combination:
    """How many AUCs become one number: a negative ``power`` leans towards the worst subgroup."""

    power: float = -5.0
    overall_weight: float = 0.25

    def __post_init__(self) -> None:
        if self.power == 0 or not 0 <= self.overall_weight <= 1:
            raise SettingsError(
                f"power {self.power:g}, overall_weight {self.overall_weight:g}; allowed: any but 0, and [0, 1]"
            )


JIGSAW = Combination()
"""Power -5 and weights of 1/4, as in the Jigsaw competition on unintended bias (2019)."""


@dataclass(frozen=True)
class SubgroupAUC:
    """The AUCs of one subgroup and their gaps to the baseline AUC (`auc less baseline`; 0 = as good as there).

    ``n_positive`` and ``n_negative`` count its measured rows, ``n_unknown`` rows of unknown membership, which are in
    neither the subgroup nor its background.
    """

    subgroup: str
    n_positive: int
    n_negative: int
    n_unknown: int
    baseline: Estimate
    aucs: Mapping[Kind, Estimate]
    gaps: Mapping[Kind, Estimate]


@dataclass(frozen=True)
class BiasAUCs:
    """Overall AUC, the power mean of each kind over the subgroups, and their weighted sum with the overall AUC.

    ``shortfalls``: of each kind's mean to the overall AUC, paired; 0 = subgroups are ranked as well as all rows are.
    ``biases``: by how much each mean is expected to differ from that of the subgroups' true AUCs, below 0 for a power
    below 1; the shortfalls are free of it (overall less mean plus bias), ``means`` and ``combined`` are as published.
    ``left_out``: subgroups for which some kind is undefined, hence missing from that kind's mean.
    """

    overall: Estimate
    means: Mapping[Kind, Estimate]
    shortfalls: Mapping[Kind, Estimate]
    biases: Mapping[Kind, float]
    combined: Estimate
    left_out: Mapping[Kind, tuple[str, ...]]


def subgroup_aucs(
    scores: ArrayLike,
    outcomes: ArrayLike,
    membership: Mapping[str, ArrayLike],
    *,
    baseline: Literal["background", "overall"] = "background",
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> tuple[SubgroupAUC, ...]:
    """Subgroup, BPSN and BNSP AUC of every subgroup with their gaps to the ``baseline`` AUC.

    ``scores``: (n,), higher for what is likelier positive; ``outcomes``: (n,) 0 or 1. ``clusters``, ``weights``: as in
    `contrast_estimate`.
    ``membership``: subgroup -> (n,) 1 where a row belongs to it, 0 where not, NaN where that is unknown; a data frame
    of such columns serves too, and `one_column_per_label` makes one from labels. Gaps are paired: rows that serve in
    both AUCs, and clusters that reach into both, are not taken for independent.
    """
    if baseline not in ("background", "overall"):
        raise SettingsError(f"baseline {baseline!r} is unknown; allowed: background, overall")
    rows = scored_rows(scores, outcomes, clusters, weights)
    positive = rows["outcomes"] == 1
    overall = area(rows, positive, ~positive)
    results = []
    for name, inside, outside in _memberships(membership, rows):
        of_kind = _kinds(rows, inside, outside)
        base = overall if baseline == "overall" else area(rows, outside & positive, outside & ~positive)
        results.append(
            SubgroupAUC(
                subgroup=name,
                n_positive=int((inside & positive).sum()),
                n_negative=int((inside & ~positive).sum()),
                n_unknown=int((~inside & ~outside).sum()),
                baseline=area_estimate(base, rows, alpha),
                aucs={kind: area_estimate(auc, rows, alpha) for kind, auc in of_kind.items()},
                gaps={kind: area_gap(auc, base, rows, alpha) for kind, auc in of_kind.items()},
            )
        )
    return tuple(results)


def bias_aucs(
    scores: ArrayLike,
    outcomes: ArrayLike,
    membership: Mapping[str, ArrayLike],
    *,
    combination: Combination = JIGSAW,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> BiasAUCs:
    """One number over many subgroups: ``M_p = (mean of auc**p)**(1/p)`` of each kind, and their combination.

    Parameters as in `subgroup_aucs`. The combination gives ``overall_weight`` to the overall AUC and shares the rest
    equally among the three means. Range [0, 1], high is better. Intervals by the delta method from the rows' summed
    influence. An undefined subgroup cannot enter a mean: it is named in ``left_out`` and in the reason.
    """
    rows = scored_rows(scores, outcomes, clusters, weights)
    positive = rows["outcomes"] == 1
    overall = area(rows, positive, ~positive)
    by_name = {name: _kinds(rows, inside, outside) for name, inside, outside in _memberships(membership, rows)}
    values: dict[Kind, float] = {}
    influence = {kind: np.zeros(rows.n) for kind in KINDS}
    biases: dict[Kind, float] = {}
    left_out: dict[Kind, tuple[str, ...]] = {}
    for kind in KINDS:
        defined = [aucs[kind] for aucs in by_name.values() if not aucs[kind].reason]
        left_out[kind] = tuple(name for name, aucs in by_name.items() if aucs[kind].reason)
        auc = np.array([each.value for each in defined])
        values[kind] = power_mean(auc, combination.power)
        for each, slope in zip(defined, power_mean_slopes(auc, combination.power), strict=True):
            influence[kind][each.order] += slope * each.share * each.influence
        variances = np.array([_variance(each.share * each.influence, each.order, rows) for each in defined])
        of_mean = _variance(influence[kind], np.arange(rows.n), rows)
        biases[kind] = power_mean_bias(auc, variances, of_mean, combination.power)
    whole = np.zeros(rows.n)
    whole[overall.order] = overall.share * overall.influence
    each_weight = (1 - combination.overall_weight) / len(KINDS)
    combined = combination.overall_weight * overall.value + each_weight * sum(values.values())
    summed = combination.overall_weight * whole + each_weight * sum(influence.values())
    named = tuple(dict.fromkeys(name for names in left_out.values() for name in names))
    return BiasAUCs(
        overall=area_estimate(overall, rows, alpha),
        means={kind: _from_influence(values[kind], influence[kind], rows, alpha, left_out[kind]) for kind in KINDS},
        shortfalls={
            kind: _from_influence(
                overall.value - values[kind] + biases[kind],
                whole - influence[kind],
                rows,
                alpha,
                left_out[kind],
                null=0.0,
            )
            for kind in KINDS
        },
        biases=biases,
        combined=_from_influence(combined, np.asarray(summed), rows, alpha, named),
        left_out=left_out,
    )


def power_mean(values: Floats, power: float) -> float:
    """``(mean of values**power)**(1/power)``, the generalised mean; NaN of nothing; the minimum as power → -inf.

    >>> round(power_mean(np.array([0.5, 1.0]), -1), 4)  # harmonic mean: 2 / (2 + 1)
    0.6667
    """
    if not len(values):
        return float("nan")
    if power < 0 and (values <= 0).any():
        return 0.0
    return float(np.mean(values**power) ** (1 / power))


def power_mean_slopes(values: Floats, power: float) -> Floats:
    """(S,) the derivative of `power_mean` with respect to each value; all 0 where the mean is 0."""
    mean = power_mean(values, power)
    if not mean > 0:
        return np.zeros(len(values))
    return np.asarray((values / mean) ** (power - 1) / len(values))


def power_mean_bias(values: Floats, variances: Floats, variance_of_mean: float, power: float) -> float:
    """What errors of the ``values`` (S,) add to their `power_mean` on average, to second order; 0 for power 1.

    Half the trace of Hessian times covariance. A mean that leans towards the lowest value takes errors for differences:
    fifty equal AUCs with errors of .02 have a mean for power -5 that is 3 (.02)^2 / AUC too low. An error that all
    share (``variance_of_mean`` as large as the ``variances``) adds nothing.
    """
    mean = power_mean(values, power)
    if not mean > 0:
        return 0.0
    slopes = power_mean_slopes(values, power)
    return float((power - 1) / 2 * ((slopes / values) @ variances - variance_of_mean / mean))


def one_column_per_label(labels: Any) -> dict[str, Floats]:
    """Memberships from one label per row: label -> (n,) 1, 0, and NaN where the label is unknown (None or NaN).

    >>> {name: column.tolist() for name, column in one_column_per_label(["a", "b", None]).items()}
    {'a': [1.0, 0.0, nan], 'b': [0.0, 1.0, nan]}
    """
    codes, names = encode(labels)
    return {str(name): np.where(codes == UNKNOWN, np.nan, codes == place) for place, name in enumerate(names)}


def _memberships(membership: Mapping[str, ArrayLike], rows: Rows) -> list[tuple[str, Mask, Mask]]:
    found = []
    for name in membership:
        title = f"membership {name!r}"
        column = numbers(title, membership[name])
        check_lengths({title: column}, len(rows.kept), "scores")
        check_among(title, column, (0, 1))
        known = column[rows.kept]
        found.append((str(name), known == 1, known == 0))
    return found


def _kinds(rows: Rows, inside: Mask, outside: Mask) -> dict[Kind, Area]:
    positive = rows["outcomes"] == 1
    return {
        "subgroup": area(rows, inside & positive, inside & ~positive),
        "bpsn": area(rows, outside & positive, inside & ~positive),
        "bnsp": area(rows, inside & positive, outside & ~positive),
    }


def _variance(influence: Floats, order: Codes, rows: Rows) -> float:
    """Of a sum of ``influence`` (m,) over the rows ``order``, with all clusterings (Cameron, Gelbach & Miller 2011)."""
    signed = signed_intersections([way[order] for way in rows.ways])
    return float(sum(sign * (np.bincount(codes, influence) ** 2).sum() for sign, codes in signed))


def _from_influence(
    value: float,
    influence: Floats,
    rows: Rows,
    alpha: float,
    left_out: tuple[str, ...],
    null: float = CHANCE,
) -> Estimate:
    """An AUC where ``null`` is chance, else a difference of AUCs, which is not held inside [0, 1]."""
    if not np.isfinite(value):
        return Estimate.not_estimable("undefined for every subgroup", n=rows.n)
    # the weights are inside the influence already
    e = mean_estimate(rows.n * influence + value, clusters=rows.clusters, rates=False, null=null, alpha=alpha)
    missing = f"left out, undefined: {', '.join(left_out)}" if left_out else ""
    e = e.model_copy(update={"reason": "; ".join(part for part in (e.reason, missing) if part)})
    return within_unit_interval(e, alpha) if null == CHANCE else e
