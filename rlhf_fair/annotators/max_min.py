"""Max-min: what is best for the group worst off on the item.

Rawls' (1971) maximin, as in MaxMin-RLHF (Chakraborty et al. 2024). Raters without a group, by not saying or by being
too few (`aggregation_groups`), have no veto of their own. They count among everybody, `EVERYBODY`, who stand in the
minimum beside the groups: where all raters are in groups that changes nothing, for the mean of all is no lower than
that of the lowest group.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import CHOICE_VALUES, judgement_weights

EVERYBODY = "(all)"


def max_min_pairs(feedback: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """The response whose support in its least supporting group is the higher one.

    Support is the share of a group's judgements on the item, a tie counting half. p_a is 1, 0, or 1/2 where both
    responses have a group that likes them as little; ``worst_off``: the group with least support for what was chosen,
    `EVERYBODY` where no group's is as low as that of all together, "" where undecided.
    """
    means, n = _group_means(feedback, feedback["choice"].map(CHOICE_VALUES).astype(float), groups)
    low, high = means.min(axis=1), means.max(axis=1)
    p_a = (np.sign((low + high - 1).round(12)) + 1) / 2  # min p > min (1 - p) = 1 - max p
    worst = pd.Series("", index=means.index, dtype="object")
    worst[p_a == 1], worst[p_a == 0] = means[p_a == 1].idxmin(axis=1), means[p_a == 0].idxmax(axis=1)
    return _by_item(p_a=p_a, n=n).assign(worst_off=worst.astype("str").to_numpy())


def max_min_ratings(feedback: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """The mean rating in the group that rates the item lowest: the value a max-min policy raises."""
    means, n = _group_means(feedback, feedback["value"].astype(float), groups)
    worst = means.idxmin(axis=1)
    return _by_item(value=means.min(axis=1), n=n).assign(worst_off=worst.astype("str").to_numpy())


def _group_means(feedback: pd.DataFrame, values: pd.Series, groups: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """(items, groups) means, `EVERYBODY` last, so that of equal ones the group is named; and judgements by item."""
    judgement_weights(feedback, groups=groups)  # raises where an annotator is not covered
    group = feedback["annotator_id"].map(groups).astype("object")
    parts = pd.DataFrame({"item_id": feedback["item_id"], "group": group, "value": values})
    of_item = parts.groupby("item_id", sort=False)["value"]
    overall, alone = of_item.mean(), parts["group"].isna().groupby(parts["item_id"], sort=False).any()
    means = parts.dropna(subset="group").groupby(["item_id", "group"])["value"].mean().unstack().reindex(overall.index)
    # a mean of all that lies outside the groups' by rounding alone must not be taken for the lowest
    within = overall.clip(means.min(axis=1), means.max(axis=1))
    means[EVERYBODY] = overall.where(alone, within)
    return means, of_item.size()


def _by_item(**columns: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis("item_id").reset_index()
