"""Gaps with intervals for the audit ``reward-identity``.

A claim is about an axis and has two references: the sentence without any descriptor, and the sentence with a control
descriptor (eye colour, handedness). Adding any words moves the reward, so a gap to the bare sentence alone may not be
about identity; and controls may be what the model prices, so a gap to them alone may not be either. The claim is the
part of the gap that lies beyond both, see `rlhf_fair.audit.reward_identity_claims`.

Rows share templates, nouns and descriptors, so all three are clusterings of an axis; a single descriptor has two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.reward_identity_claims import beyond_both, beyond_both_p_value
from rlhf_fair.audit.reward_identity_comparisons import CONTROL_AXIS, CROWS_PAIRS, EDITS, HOLISTIC_BIAS
from rlhf_fair.audit.reward_identity_plan import IdentityPlan
from rlhf_fair.probes.reward_pairs import exact_zero
from rlhf_fair.records import NAN, Estimate, Finding, Role, Verdict
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.corrections import benjamini_hochberg

STAGE, METRIC, UNIT = "reward_model", "counterfactual_reward_gap", "SD of reward"
NOTHING, BOTH = "no descriptor", "no descriptor and control descriptors"
VARIANTS = {NOTHING: "against_no_descriptor", CONTROL_AXIS: "against_controls", BOTH: "beyond_both_references"}


def measure(records: pd.DataFrame, plan: IdentityPlan) -> list[Measurement]:
    """Every estimate of the audit: claims by axis, exploratory descriptors and pairs, controls."""
    scored = records[(records["excluded"] == "") & records["gap"].notna()]
    holistic = scored[scored["probe"] == HOLISTIC_BIAS]
    found, policy = [], plan.policy
    threshold = policy.limits(METRIC).threshold
    for axis in (*plan.holistic_bias.claim_axes, *plan.holistic_bias.exploratory_axes):
        rows = holistic[holistic["axis"] == axis]
        to_nothing, to_controls = _mean(rows, plan, 3), _difference(holistic, holistic["axis"] == axis, plan)
        role: Role = "claim" if axis in plan.holistic_bias.claim_axes else "exploratory"
        beyond = beyond_both(to_nothing, to_controls, alpha=policy.alpha)
        p = beyond_both_p_value(to_nothing, to_controls, threshold=threshold, alpha=policy.alpha)
        found.append(_measurement(beyond, axis, "all", role, reference=BOTH, p_threshold=p))
        found.append(_measurement(to_nothing, axis, "all", "exploratory", reference=NOTHING))
        found.append(_measurement(to_controls, axis, "all", "exploratory", reference=CONTROL_AXIS))
        for name, part in rows.groupby("descriptor", sort=True):
            found.append(_measurement(_mean(part, plan, 2), axis, str(name), "exploratory", reference=NOTHING))
    controls = holistic[holistic["axis"] == CONTROL_AXIS]
    for name, part in controls.groupby("control_group", sort=True):
        found.append(_measurement(_mean(part, plan, 3), CONTROL_AXIS, str(name), "control", reference=NOTHING))
    return [*found, *_edits(scored, plan), *_crows(scored, plan)]


def descriptor_table(records: pd.DataFrame, plan: IdentityPlan) -> pd.DataFrame:
    """One row per identity descriptor: its gap, and the difference to the controls (Benjamini-Hochberg p-values)."""
    scored = records[(records["excluded"] == "") & records["gap"].notna() & (records["probe"] == HOLISTIC_BIAS)]
    rows = []
    for (axis, name), part in scored[scored["axis"] != CONTROL_AXIS].groupby(["axis", "descriptor"], sort=True):
        picked = (scored["axis"] == axis) & (scored["descriptor"] == name)
        difference = _difference(scored, picked, plan, ways=("template", "noun"))
        rows.append(
            {
                "axis": axis,
                "descriptor": name,
                "gap": float(part["gap"].mean()),
                "difference_to_controls": difference.estimate,
                "ci_low": difference.ci_low,
                "ci_high": difference.ci_high,
                "p_value": difference.p_value,
                "n": len(part),
            }
        )
    columns = ["axis", "descriptor", "gap", "difference_to_controls", "ci_low", "ci_high", "p_value", "n"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_adjusted"] = benjamini_hochberg(table["p_value"])
    return table


def largest_gaps(descriptors: pd.DataFrame, axes: Sequence[str], k: int) -> dict[str, Any]:
    """The ``k`` descriptors of ``axes`` farthest from the controls."""
    picked = descriptors[descriptors["axis"].isin(axes)]
    order = picked["difference_to_controls"].abs().sort_values(ascending=False, kind="stable").index[:k]
    return plain_rows(picked.loc[order])


def axis_table(descriptors: pd.DataFrame, plan: IdentityPlan) -> dict[str, Any]:
    """For each axis: mean and SD over its descriptors' gaps, and its two extremes (differences to the controls).

    Every descriptor counts once here; in the findings every sentence does.
    """
    rows = []
    for axis, part in descriptors.groupby("axis", sort=True):
        ranked = part.sort_values("difference_to_controls")
        rows.append(
            {
                "axis": axis,
                "role": "claim" if axis in plan.holistic_bias.claim_axes else "exploratory",
                "descriptors": len(part),
                "mean_over_descriptors": part["gap"].mean(),
                "sd_between_descriptors": part["gap"].std(),
                "lowest": ranked["descriptor"].iloc[0],
                "lowest_difference": ranked["difference_to_controls"].iloc[0],
                "highest": ranked["descriptor"].iloc[-1],
                "highest_difference": ranked["difference_to_controls"].iloc[-1],
            }
        )
    return plain_rows(pd.DataFrame(rows))


def control_choice_table(records: pd.DataFrame, plan: IdentityPlan) -> pd.DataFrame:
    """Each axis under both choices of control groups, the plan's first: the gap to them, and the part beyond both."""
    scored = records[(records["excluded"] == "") & records["gap"].notna() & (records["probe"] == HOLISTIC_BIAS)]
    rows = []
    for axis in (*plan.holistic_bias.claim_axes, *plan.holistic_bias.exploratory_axes):
        picked = scored["axis"] == axis
        to_nothing = _mean(scored[picked], plan, 3)
        for groups in (plan.controls.compared, plan.controls.alternative):
            controls = plan.controls.model_copy(update={"compared": groups})
            to_controls = _difference(scored, picked, plan.model_copy(update={"controls": controls}))
            beyond = beyond_both(to_nothing, to_controls, alpha=plan.policy.alpha)
            rows.append(
                {
                    "axis": axis,
                    "controls": ", ".join(groups),
                    "gap_to_controls": to_controls.estimate,
                    "controls_ci_low": to_controls.ci_low,
                    "controls_ci_high": to_controls.ci_high,
                    "beyond_both": beyond.estimate,
                    "beyond_ci_low": beyond.ci_low,
                    "beyond_ci_high": beyond.ci_high,
                }
            )
    return pd.DataFrame(rows)


def control_choice_limit(findings: Sequence[Finding], choice: pd.DataFrame, plan: IdentityPlan) -> str:
    """Which claims exceed the threshold only because of the plan's choice of controls, in one sentence."""
    names = ", ".join(plan.controls.alternative)
    own = _beyond(choice, ", ".join(plan.controls.compared), plan)
    beyond = _beyond(choice, names, plan)
    exceeding = {f.attribute for f in findings if f.role == "claim" and f.verdict == Verdict.EXCEEDS}
    claims = list(plan.holistic_bias.claim_axes)
    lost = [axis for axis in claims if axis in exceeding and not beyond[axis]]
    gained = [axis for axis in claims if axis not in exceeding and beyond[axis] and not own[axis]]
    if not lost and not gained:
        return f"Compared with the controls {names} instead, the same claims exceed the threshold."
    parts = [f"{', '.join(lost)} no longer" if lost else "", f"{', '.join(gained)} too" if gained else ""]
    changed = " and ".join(part for part in parts if part)
    return f"The choice of controls decides: compared with {names} instead, {changed} would exceed the threshold."


def _beyond(choice: pd.DataFrame, controls: str, plan: IdentityPlan) -> pd.Series:
    """By axis: does the interval lie beyond the threshold under this choice of controls."""
    rows = choice[choice["controls"] == controls].set_index("axis")
    return (rows["beyond_ci_low"] > plan.policy.threshold) | (rows["beyond_ci_high"] < -plan.policy.threshold)


def control_table(records: pd.DataFrame) -> dict[str, Any]:
    """Every control descriptor with its mean gap to no descriptor: what the model pays for a control by itself."""
    controls = records[(records["axis"] == CONTROL_AXIS) & records["gap"].notna()]
    table = controls.groupby(["control_group", "descriptor"])["gap"].agg(mean_gap="mean", n="size").reset_index()
    return plain_rows(table)


def _difference(
    holistic: pd.DataFrame,
    picked: pd.Series,
    plan: IdentityPlan,
    ways: tuple[str, ...] = ("template", "noun", "descriptor"),
) -> Estimate:
    """Mean gap of the picked rows minus the mean gap of the compared control groups."""
    compared = (holistic["axis"] == CONTROL_AXIS) & holistic["control_group"].isin(plan.controls.compared)
    rows = holistic[picked | compared]
    groups = np.where(picked[picked | compared], "identity", "controls")
    clusters = [rows[way].to_numpy(dtype=str) for way in ways]
    policy = plan.policy
    return contrast_estimate(
        rows["gap"].to_numpy(float),
        groups,
        {"identity": 1.0, "controls": -1.0},
        clusters=clusters,
        rates=False,
        alpha=policy.alpha,
        power=policy.power,
    )


def _mean(rows: pd.DataFrame, plan: IdentityPlan, n_ways: int) -> Estimate:
    ways = ("template", "noun", "descriptor")[:n_ways]
    clusters = [rows[way].to_numpy(dtype=str) for way in ways]
    if zero := exact_zero(rows["gap"], [rows["template"]]):
        return zero
    gaps = rows["gap"].to_numpy(float)
    return mean_estimate(gaps, clusters=clusters, rates=False, alpha=plan.policy.alpha, power=plan.policy.power)


def _edits(scored: pd.DataFrame, plan: IdentityPlan) -> list[Measurement]:
    found = []
    for name, part in scored[scored["probe"] == EDITS].groupby("descriptor", sort=True):
        estimate = _mean(part, plan, 2)
        found.append(_measurement(estimate, "edit", str(name), "control", reference="unedited sentence", probe=EDITS))
    return found


def _crows(scored: pd.DataFrame, plan: IdentityPlan) -> list[Measurement]:
    pairs = scored[scored["probe"] == CROWS_PAIRS]
    found = []
    for axis, part in pairs.groupby("axis", sort=True):
        gaps, policy = part["gap"].to_numpy(float), plan.policy
        estimate = mean_estimate(gaps, rates=False, alpha=policy.alpha, power=policy.power)
        found.append(
            _measurement(
                estimate,
                str(axis),
                "more stereotyping sentence",
                "exploratory",
                reference="less stereotyping sentence",
                probe=CROWS_PAIRS,
            )
        )
    return found


def _measurement(
    estimate: Estimate,
    attribute: str,
    group: str,
    role: Role,
    *,
    reference: str,
    probe: str = HOLISTIC_BIAS,
    p_threshold: float = NAN,
) -> Measurement:
    return Measurement(
        estimate=estimate,
        stage=STAGE,
        probe=probe,
        metric=METRIC,
        attribute=attribute,
        group=group,
        reference=reference,
        role=role,
        variant=VARIANTS.get(reference, ""),
        unit=UNIT,
        p_threshold=p_threshold,
    )


def plain_rows(table: pd.DataFrame) -> dict[str, Any]:
    """Columns in order and rows of plain values; NaN becomes None."""
    cells = table.astype(object).where(table.notna(), None)
    return {"columns": list(table.columns), "rows": cells.to_numpy().tolist()}
