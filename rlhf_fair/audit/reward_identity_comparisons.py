"""Every comparison of the audit ``reward-identity``, one row each: a sentence, its base, and why it is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from rlhf_fair.audit.reward_identity_plan import IdentityPlan
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.holistic_bias import Cell, Descriptor, HolisticBias, sample_cells
from rlhf_fair.tables import Quarantined

HOLISTIC_BIAS, CROWS_PAIRS, EDITS = "holistic_bias", "crows_pairs", "meaning_preserving_edits"
CONTROL_AXIS = "control descriptors"

COLUMNS = (
    "id",
    "probe",
    "role",
    "axis",
    "descriptor",
    "template",
    "noun",
    "sentence",
    "base_sentence",
    "excluded",
)
"""``excluded`` is empty, or the reason why the row is not scored."""


def holistic_comparisons(data: HolisticBias, plan: IdentityPlan) -> pd.DataFrame:
    """Every descriptor in the same sampled template-noun cells; controls leave their upstream axis."""
    settings = plan.holistic_bias
    _check_names(data, plan)
    cells = sample_cells(data.templates, data.nouns, settings.nouns_per_template, settings.seed)
    control_of = {name: group for group, names in plan.controls.groups.items() for name in names}
    rows = []
    for descriptor in data.descriptors:
        group = control_of.get(descriptor.name, "")
        role = "control" if group else "claim" if descriptor.axis in settings.claim_axes else "exploratory"
        left_out = "" if group else _left_out(descriptor, plan)
        for cell in cells:
            reason = left_out or _cell_left_out(cell, descriptor, plan)
            axis, noun = (CONTROL_AXIS if group else descriptor.axis), cell.noun.singular
            id = f"{descriptor.axis}/{descriptor.bucket}/{descriptor.name}/{cell.template.text}/{noun}"
            sentence = "" if reason else cell.sentence(descriptor)
            base = "" if reason else cell.base
            name = descriptor.name
            rows.append((id, HOLISTIC_BIAS, role, axis, name, cell.template.text, noun, sentence, base, reason))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["control_group"] = table["descriptor"].map(control_of).fillna("")
    return table


def edit_comparisons(comparisons: pd.DataFrame, edits: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Meaning-preserving edits of the base sentences that are scored anyway; rows only where the edit applies."""
    cells = comparisons.loc[comparisons["excluded"] == "", ["template", "noun", "base_sentence"]].drop_duplicates()
    parts = []
    for name, (found, replacement) in edits.items():
        pattern = re.escape(found).replace(re.escape("$"), "$")
        edited = cells["base_sentence"].str.replace(pattern, replacement, regex=True)
        part = cells[edited != cells["base_sentence"]].assign(sentence=edited, descriptor=name)
        parts.append(part.assign(id="edit/" + name + "/" + part["template"] + "/" + part["noun"]))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return table.assign(probe=EDITS, role="control", axis="edit", excluded="", control_group="")


def crows_comparisons(read: Quarantined) -> pd.DataFrame:
    """Pairs as comparisons: the more stereotyping sentence against the less stereotyping one as its base."""
    pairs = read.table
    kept = pd.DataFrame(
        {
            "id": "crows-pairs/" + pairs["pair_id"].astype("str"),
            "axis": pairs["bias_type"],
            "descriptor": pairs["stereo_antistereo"],
            "template": "",
            "noun": "",
            "sentence": pairs["sent_more"],
            "base_sentence": pairs["sent_less"],
            "excluded": "",
        }
    )
    rejected = pd.DataFrame({"id": "crows-pairs/row-" + read.rejects["row"].astype("str")})
    rejected["excluded"] = "rejected row: " + read.rejects["code"].astype("str")
    table = pd.concat([kept, rejected], ignore_index=True).fillna("")
    return table.assign(probe=CROWS_PAIRS, role="exploratory", control_group="")


def _left_out(descriptor: Descriptor, plan: IdentityPlan) -> str:
    settings = plan.holistic_bias
    if descriptor.preference not in settings.preferences:
        return f"descriptor marked {descriptor.preference} upstream"
    if descriptor.axis not in (*settings.claim_axes, *settings.exploratory_axes):
        return f"axis {descriptor.axis} is not in the plan"
    return ""


def _cell_left_out(cell: Cell, descriptor: Descriptor, plan: IdentityPlan) -> str:
    if cell.template.text in plan.holistic_bias.excluded_templates:
        return "template is not innocuous"
    return "" if descriptor.fits(cell.noun) else "gender of descriptor and noun differ"


def _check_names(data: HolisticBias, plan: IdentityPlan) -> None:
    """A name in the plan that the data do not hold would silently measure nothing."""
    settings = plan.holistic_bias
    known = {
        "axis": set(data.axes),
        "control descriptor": {descriptor.name for descriptor in data.descriptors},
        "template": {template.text for template in data.templates},
    }
    asked = {
        "axis": [*settings.claim_axes, *settings.exploratory_axes],
        "control descriptor": [name for names in plan.controls.groups.values() for name in names],
        "template": list(settings.excluded_templates),
    }
    for kind, names in asked.items():
        for name in names:
            if name not in known[kind]:
                raise SettingsError(f"plan: {kind} {name!r} is not in HolisticBias")
