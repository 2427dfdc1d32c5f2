"""Models of one true class for each item, as rules: most likely class, how sure, and whether the fit came to rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import CHOICE_VALUES
from rlhf_fair.annotators.crowd_models import glad, mace
from rlhf_fair.annotators.dawid_skene import dawid_skene


class LatentClassFit(Protocol):
    """``posterior``: (items, classes), rows sum to 1. ``converged``: whether more rounds would change it no more."""

    @property
    def posterior(self) -> pd.DataFrame: ...

    @property
    def converged(self) -> bool: ...


LATENT_CLASS: dict[str, Callable[[pd.DataFrame], LatentClassFit]] = {
    "dawid-skene": lambda t: dawid_skene(t["item"], t["rater"], t["answer"]),
    "mace": mace,
    "glad": glad,
}
"""Fitted to columns item, rater, answer."""


TIE = 1e-3
"""The first of two classes must lead by more than this in probability.

A fit that has come to rest may still be off by as much (`crowd_models.SETTLED`), so less is the arithmetic's choice.
"""


def latent_class_table(feedback: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The model's posterior by item: p_a = P(a) + P(tie) / 2, or the most likely rating.

    Where the lead is no more than `TIE`, nothing is decided, as under the rule majority: p_a is 1/2 where a and b are
    as likely, and a rating is NaN where two values are. Were it the lower value, each tie would count against an item.

    Further columns: n, confidence (the posterior of the most likely class), converged (the same in every row, so that
    the mark goes wherever the table goes).
    """
    pairs = feedback["kind"].iloc[0] == "pair"
    columns = {"item_id": "item", "annotator_id": "rater", "choice" if pairs else "value": "answer"}
    fit = LATENT_CLASS[rule](feedback[list(columns)].rename(columns=columns))
    posterior = fit.posterior
    if pairs:
        a = np.array([CHOICE_VALUES[str(name)] for name in posterior.columns])
        lead = posterior.to_numpy() @ (2 * a - 1)  # P(a) - P(b)
        answer = pd.Series(0.5 + np.where(np.abs(lead) > TIE, lead, 0.0) / 2, index=posterior.index)
    else:
        padded = np.sort(np.pad(posterior.to_numpy(), ((0, 0), (1, 0))), axis=1)  # a second class where there is one
        answer = posterior.idxmax(axis=1).astype(float).where(padded[:, -1] - padded[:, -2] > TIE)
    n = feedback.groupby("item_id", sort=False).size()
    found = {"p_a" if pairs else "value": answer, "n": n, "confidence": posterior.max(axis=1)}
    table = pd.DataFrame(found).reindex(n.index).rename_axis("item_id").reset_index()
    return table.assign(converged=fit.converged)
