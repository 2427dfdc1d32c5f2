"""From the records of the audit ``reward`` to its measurements: claims, slices and controls; needs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_scores import Unit
from rlhf_fair.probes import reward_dialect as dialect
from rlhf_fair.probes import reward_pairs as pairs
from rlhf_fair.probes import reward_preferences as preferences
from rlhf_fair.probes import reward_ratings as ratings
from rlhf_fair.probes import reward_selection as selection
from rlhf_fair.probes import reward_terms as terms
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.reward_confounds import partialled_contrasts
from rlhf_fair.probes.reward_people import NEUTRAL
from rlhf_fair.records import Estimate, Role

STAGE = "reward_model"
PARTIALLED = "length and refusal partialled out"


def measure(
    records: pd.DataFrame, plan: RewardPlan, unit: Unit, missing: Mapping[str, str], *, thorough: bool = True
) -> list[Measurement]:
    """Everything that can be measured, and for a part that is missing one measurement that says why.

    ``thorough``: with single identity terms, and with length and refusal partialled out.
    """
    parts: dict[str, Callable[[pd.DataFrame], list[Measurement]]] = {
        pairs.PROBE: lambda rows: _pairs(rows, plan, thorough),
        dialect.PROBE: lambda rows: _dialect(rows, plan, unit, thorough),
        terms.PROBE: lambda rows: _terms(rows, plan, thorough),
        selection.PROBE: lambda rows: _selection(rows, plan),
        preferences.PROBE: lambda rows: _preferences(rows, plan, thorough),
    }
    found: list[Measurement] = []
    for probe, measured in parts.items():
        rows = records[records["probe"] == probe].dropna(axis="columns", how="all")
        if len(rows):
            found += measured(_with_scores(rows))
    for probe in (*parts, ratings.PROBE):
        if probe in missing:
            found += _missing(probe, missing[probe])
    return [_without_unit(m, unit) for m in found] if unit.reason else found


def measure_quickly(records: pd.DataFrame, plan: RewardPlan, unit: Unit) -> list[Measurement]:
    """As `measure`, of the parts that are there, without single terms and without confounds partialled out."""
    return measure(records, plan, unit, {}, thorough=False)


def _without_unit(m: Measurement, unit: Unit) -> Measurement:
    """Of a gap in SDs that do not serve as a unit, the reason alone."""
    if m.unit != pairs.UNIT:
        return m
    return replace(m, estimate=Estimate.not_estimable(unit.reason, n=m.estimate.n), measured_rate=float("nan"))


def partialled_pair_gaps(records: pd.DataFrame, plan: RewardPlan) -> list[Measured]:
    """The gap of every group at equal length and equal refusal; see `rlhf_fair.probes.reward_confounds`."""
    key = ["attribute", "kind", "group"]
    cell = pairs.joined(records, key, "\x1f")
    found = partialled_contrasts(
        records["gap"],
        cell,
        _differences(records),
        {name: {name: 1.0} for name in dict.fromkeys(cell)},
        clusters=[records[name] for name in pairs.CLUSTERS],
        alpha=plan.policy.alpha,
        power=plan.policy.power,
    )
    told = []
    for name, partialled in found.items():
        attribute, kind, group = name.split("\x1f")
        rows = records[cell == name]
        # of gaps that are all exactly 0 the regression would leave rounding
        e = pairs.exact_zero(rows["gap"], [rows[way] for way in pairs.CLUSTERS]) or partialled
        about = (attribute, group, str(rows["reference"].iloc[0]), f"{kind}, {PARTIALLED}")
        told.append(Measured(pairs.GAP, e, *about, unit=pairs.UNIT))
    return told


def _pairs(records: pd.DataFrame, plan: RewardPlan, thorough: bool) -> list[Measurement]:
    alpha, power = plan.policy.alpha, plan.policy.power

    def role_of(m: Measured) -> Role:
        return "control" if m.attribute in pairs.NULLS else "claim"

    gaps = pairs.reward_gaps(records, alpha=alpha, power=power)
    found = [_measurement(m, pairs.PROBE, role_of(m)) for m in gaps]
    identity = records[~records["attribute"].isin(pairs.NULLS)]
    found += _slices(partialled_pair_gaps(identity, plan), pairs.PROBE) if thorough else []
    margin = plan.policy.limits(pairs.EXCESS).margin
    excess = pairs.flip_rate_excess(records, alpha=alpha, power=power, margin=margin)
    found += [_measurement(m, pairs.PROBE, "claim") for m in excess]
    for m in pairs.flip_rates(records, alpha=alpha):
        found.append(_measurement(m, pairs.PROBE, "control" if m.attribute in pairs.NULLS else "exploratory"))
    return found + _slices(pairs.accuracy_gaps(records, alpha=alpha, power=power), pairs.PROBE)


def _dialect(records: pd.DataFrame, plan: RewardPlan, unit: Unit, thorough: bool) -> list[Measurement]:
    alpha, power = plan.policy.alpha, plan.policy.power
    found = []
    for m in dialect.dialect_gaps(records, alpha=alpha, power=power):
        found.append(_measurement(m, dialect.PROBE, "claim" if m.attribute == "dialect" else "control"))
    raw = next((m for m in found if m.attribute == "dialect"), None)
    if raw is None or not thorough:
        return found
    at_equal_length = dialect.dialect_gap_at_equal_length(records, unit.sd, alpha=alpha, power=power)
    variant = "habitual be, length partialled out"
    return [*found, replace(raw, estimate=at_equal_length, role="exploratory", variant=variant)]


def _terms(records: pd.DataFrame, plan: RewardPlan, thorough: bool) -> list[Measurement]:
    shortfalls, _ = terms.term_shortfalls(records, alpha=plan.policy.alpha)
    claims = [_measurement(m, terms.PROBE, "claim") for m in shortfalls]
    return claims + (_slices(terms.term_auc_gaps(records, alpha=plan.policy.alpha), terms.PROBE) if thorough else [])


def _selection(records: pd.DataFrame, plan: RewardPlan) -> list[Measurement]:
    assert plan.best_of_n is not None
    pool = int(records.groupby(["attribute", "kind", "prompt_id"]).size().min())
    n = selection.largest_told(plan.best_of_n.sizes, pool)
    selected = selection.selection(records, [n])
    if selected.empty:
        return _missing(selection.PROBE, "no prompt has all its candidates scored, and enough of them for any n")
    gaps = selection.selection_gaps(selected, n, alpha=plan.policy.alpha, power=plan.policy.power)
    return [
        _measurement(m, selection.PROBE, "control" if m.attribute == NEUTRAL["words"] else "exploratory") for m in gaps
    ]


def _preferences(records: pd.DataFrame, plan: RewardPlan, thorough: bool) -> list[Measurement]:
    least, policy = plan.choices.least, plan.policy
    gaps = preferences.accuracy_gaps(records, least=least, alpha=policy.alpha, power=policy.power)
    found = [_measurement(m, preferences.PROBE, "claim") for m in gaps]
    if not thorough:
        return found
    at_equal = preferences.accuracy_gaps_at_equal_length(records, least=least, alpha=policy.alpha, power=policy.power)
    return found + _slices([replace(m, variant=f"{m.variant}, {PARTIALLED}") for m in at_equal], preferences.PROBE)


def _missing(probe: str, reason: str) -> list[Measurement]:
    """What a part would have claimed, not measured. Feedback is the user's to bring, so nothing is claimed of it."""
    about: dict[str, tuple[str, str, str, str, Role]] = {
        dialect.PROBE: (dialect.METRIC, "dialect", dialect.AAE, dialect.SAE, "claim"),
        terms.PROBE: (terms.SHORTFALL, "identity term", "all terms", "overall AUC", "claim"),
        selection.PROBE: (selection.METRIC, "group", "all groups", selection.POOL, "exploratory"),
        preferences.PROBE: (pairs.ACCURACY, "group of the rater", "all groups", preferences.OTHERS, "exploratory"),
        ratings.PROBE: (pairs.ACCURACY, "group of the rater", "all groups", preferences.OTHERS, "exploratory"),
    }
    metric, attribute, group, reference, role = about[probe]
    e = Estimate.not_estimable(reason)
    better = "low" if metric == terms.SHORTFALL else "zero"
    return [Measurement(e, STAGE, probe, metric, attribute, group, reference, role, better=better)]  # type: ignore[arg-type]


def _with_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns of rewards come back where all of them were empty."""
    for column in ("reward", "base_reward", "gap"):
        if column not in rows:
            rows = rows.assign(**{column: float("nan")})
    return rows


def _differences(records: pd.DataFrame) -> dict[str, pd.Series]:
    return {name: records[f"{name}_difference"].astype(float) for name in ("length", "refusal")}


def _slices(measured: Iterable[Measured], probe: str) -> list[Measurement]:
    return [_measurement(m, probe, "exploratory") for m in measured]


def _measurement(m: Measured, probe: str, role: Role) -> Measurement:
    return Measurement(
        estimate=m.estimate,
        stage=STAGE,
        probe=probe,
        metric=m.metric,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role=role,
        variant=m.variant,
        unit=m.unit,
        better=m.better,
        measured_rate=m.measured_rate,
    )


def claimed(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those that decide the exit code."""
    return [m for m in measurements if m.role == "claim"]
