"""Do annotators agree beyond chance: Krippendorff's α of a feedback table, overall and inside groups."""

from __future__ import annotations

import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.stats.agreement import Level, krippendorff_alpha
from rlhf_fair.tables import require_columns


def agreement_table(
    feedback: pd.DataFrame, *, groups: pd.Series | None = None, rating_level: Level = "ordinal"
) -> pd.DataFrame:
    """α of pair choices (nominal) and of ratings, over everybody and, given ``groups``, inside each group.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind, choice and/or value.
    groups
        By annotator_id; annotators without one form the group ``(unknown)``.

    Returns
    -------
    DataFrame
        kind, group (``(all)`` first), then the fields of `Agreement`.
    """
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    rows = []
    kinds: tuple[tuple[str, str, Level], ...] = (("pair", "choice", "nominal"), ("rating", "value", rating_level))
    for kind, column, level in kinds:
        part = feedback[feedback["kind"] == kind]
        if part.empty:
            continue
        require_columns(part, [column], "feedback")
        parts = {"(all)": part}
        if groups is not None:
            group = part["annotator_id"].map(groups).astype("object")
            parts |= {str(name): part[group == name] for name in sorted(group.dropna().unique(), key=str)}
            if group.isna().any():
                parts["(unknown)"] = part[group.isna()]
        for name, own in parts.items():
            found = krippendorff_alpha(own["item_id"], own[column], level=level)
            rows.append({"kind": kind, "group": name, **vars(found)})
    if not rows:
        raise RowError("feedback holds no judgement of kind 'pair' or 'rating'")
    return pd.DataFrame(rows)
