"""Whose answers cannot be used, told by how they worked and never by what they think.

A verdict on a rater follows from their own rows, the gold answers and copies of their records under another id. What
other raters answered plays no part, so disagreement, however strong, excludes nobody. Tests of shares allow for few
answers: somebody is excluded when their share would be improbable (``alpha``) for a rater just at the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from rlhf_fair.annotators.quality_settings import QualitySettings
from rlhf_fair.errors import RowError
from rlhf_fair.records import NAN
from rlhf_fair.tables import TEXT_KINDS, require_columns

CHECKS = ("gold", "timing", "duplicates", "straight_lining")
COLUMNS = ("annotator_id", "check", "answers", "share", "limit", "p_value", "flagged", "excludes", "reason")


@dataclass(frozen=True)
class Quality:
    """Result of `check_quality`.

    Attributes
    ----------
    checks
        One row for each rater and check made: annotator_id, check, answers (that count for it), share, limit, p_value
        (NaN where the check has none), flagged, excludes, reason ("" if not flagged).
    raters
        One row for each rater: annotator_id, rows, excluded, reason (all reasons that exclude, or "").
    not_made
        Check -> why it could not be made.
    """

    checks: pd.DataFrame
    raters: pd.DataFrame
    not_made: dict[str, str]

    @property
    def excluded(self) -> pd.Series:
        """By annotator_id, True where excluded."""
        return self.raters.set_index("annotator_id")["excluded"]

    def split(self, feedback: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows kept and rows excluded, the latter with their ``reason``; together they are ``feedback``."""
        reason = feedback["annotator_id"].map(self.raters.set_index("annotator_id")["reason"]).astype("str")
        out = feedback["annotator_id"].map(self.excluded).astype(bool)
        return feedback[~out], feedback[out].assign(reason=reason[out])


def check_quality(
    feedback: pd.DataFrame, settings: QualitySettings | None = None, *, gold: pd.DataFrame | None = None
) -> Quality:
    """Apply every check that the columns at hand allow.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind, with choice, value or text; seconds and order where known.
    gold
        item_id and choice and/or value: answers that are facts (an instruction followed, a nonsense answer spotted).
        An item on which honest people differ is no gold item, and the audit of the control shows what one does.
    """
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    feedback = feedback.reset_index(drop=True)  # tables put together repeat their labels
    s = settings or QualitySettings()
    found = {
        "gold": _gold(feedback, gold, s),
        "timing": _timing(feedback, s),
        "duplicates": _duplicates(feedback, s),
        "straight_lining": _straight_lining(feedback, s),
    }
    parts = [part for part in found.values() if isinstance(part, pd.DataFrame)]
    checks = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    why = checks[(checks["flagged"] & checks["excludes"]).astype(bool)].groupby("annotator_id")["reason"].agg("; ".join)
    raters = feedback.groupby("annotator_id", sort=True).size().rename("rows").reset_index()
    raters["excluded"] = raters["annotator_id"].isin(why.index)
    raters["reason"] = [str(why.get(rater, "")) for rater in raters["annotator_id"]]
    return Quality(checks, raters, {name: part for name, part in found.items() if isinstance(part, str)})


def _gold(feedback: pd.DataFrame, gold: pd.DataFrame | None, s: QualitySettings) -> pd.DataFrame | str:
    if gold is None:
        return "no gold items given"
    require_columns(gold, ["item_id"], "gold")
    if gold["item_id"].duplicated().any():
        raise RowError(f"gold names item {gold['item_id'][gold['item_id'].duplicated()].iloc[0]!r} twice")
    right = gold_right(feedback, gold, s.gold.tolerance)
    cells = right[right.notna()].groupby(feedback["annotator_id"]).agg(["size", "sum"])
    if cells.empty:
        return "nobody answered a gold item"
    n, correct = cells["size"].to_numpy(int), cells["sum"].to_numpy(int)
    p = np.asarray(binom.cdf(correct, n, s.gold.minimum_share))
    flagged = (n >= s.gold.minimum_answers) & (p <= s.gold.alpha)
    reasons = [f"gold: {c} of {k} correct; needed: {s.gold.minimum_share:.0%}" for c, k in zip(correct, n, strict=True)]
    limit = s.gold.minimum_share
    return _rows(cells.index, "gold", n, (correct / n, limit, p), flagged, s.gold.excludes, reasons)


def gold_right(feedback: pd.DataFrame, gold: pd.DataFrame, tolerance: float) -> pd.Series:
    """(n,) 1 for a right answer to a gold item, 0 for a wrong one, NaN for answers to other items.

    ``gold``: item_id, and ``choice`` of pairs or ``value`` of ratings, which may be off by ``tolerance``.
    """
    known = gold.set_index("item_id")
    right = pd.Series(NAN, index=feedback.index)
    if "choice" in known and "choice" in feedback:
        answer = feedback["item_id"].map(known["choice"])
        asked = (feedback["kind"] == "pair") & answer.notna()
        right[asked] = (feedback["choice"] == answer)[asked].astype(float)
    if "value" in known and "value" in feedback:
        answer = feedback["item_id"].map(known["value"]).astype(float)
        asked = (feedback["kind"] == "rating") & answer.notna()
        right[asked] = ((feedback["value"] - answer).abs() <= tolerance)[asked].astype(float)
    return right


def _timing(feedback: pd.DataFrame, s: QualitySettings) -> pd.DataFrame | str:
    if "seconds" not in feedback or not feedback["seconds"].notna().any():
        return "no column 'seconds'"
    timed = feedback[feedback["seconds"].notna()]
    fast = (timed["seconds"] < s.timing.minimum_seconds).groupby(timed["annotator_id"]).agg(["size", "sum"])
    n, count = fast["size"].to_numpy(int), fast["sum"].to_numpy(int)
    p = np.asarray(binom.sf(count - 1, n, s.timing.largest_share))
    flagged = (n >= s.timing.minimum_answers) & (p <= s.timing.alpha)
    less = f"took less than {s.timing.minimum_seconds:g} s; allowed: {s.timing.largest_share:.0%}"
    reasons = [f"timing: {c} of {k} answers {less}" for c, k in zip(count, n, strict=True)]
    return _rows(fast.index, "timing", n, (count / n, s.timing.largest_share, p), flagged, s.timing.excludes, reasons)


def _duplicates(feedback: pd.DataFrame, s: QualitySettings) -> pd.DataFrame | str:
    """Records that repeat an earlier row's; the first of its kind is nobody's copy."""
    texts = feedback["kind"].isin(TEXT_KINDS)
    timed = ~texts & (feedback["seconds"].notna() if "seconds" in feedback else False)
    if not texts.any() and not timed.any():
        return "no column 'seconds' and no texts: equal answers alone are no copies"
    parts = []
    if timed.any():
        answered = feedback.loc[timed, "annotator_id"].value_counts()
        parts.append((answered, _same_records(feedback[timed]).reindex(answered.index, fill_value=0)))
    if texts.any():
        written = feedback[texts]
        text = written["text"].str.strip().str.casefold()
        pasted = text.duplicated() & (text.str.len() >= s.duplicates.shortest_text)
        cells = pasted.groupby(written["annotator_id"]).agg(["size", "sum"])
        parts.append((cells["size"], cells["sum"]))
    tables = []
    for answers, copies in parts:
        n, count = answers.to_numpy(int), copies.to_numpy(int)
        flagged = (count >= s.duplicates.minimum_answers) & (count > s.duplicates.largest_share * n)
        reasons = [f"duplicates: {c} of {k} records repeat another's" for c, k in zip(count, n, strict=True)]
        measured = (count / n, s.duplicates.largest_share, np.full(len(n), NAN))
        tables.append(_rows(answers.index, "duplicates", n, measured, flagged, s.duplicates.excludes, reasons))
    return pd.concat(tables, ignore_index=True)


def _same_records(timed: pd.DataFrame) -> pd.Series:
    """By annotator: the most answers that equal, in item, answer and time taken, those of one earlier rater."""
    answer = [name for name in ("choice", "value") if name in timed]
    record = timed.groupby(["item_id", "kind", "seconds", *answer], dropna=False, sort=False).ngroup()
    rows = pd.DataFrame({"record": record, "rater": timed["annotator_id"], "place": np.arange(len(timed))})
    rows = rows[rows["record"].duplicated(keep=False)]
    pairs = rows.merge(rows, on="record", suffixes=("", "_before"))
    pairs = pairs[(pairs["place_before"] < pairs["place"]) & (pairs["rater_before"] != pairs["rater"])]
    return pairs.groupby(["rater", "rater_before"]).size().groupby("rater").max()


def _straight_lining(feedback: pd.DataFrame, s: QualitySettings) -> pd.DataFrame | str:
    own, parts = s.straight_lining, []
    decided = feedback[(feedback["kind"] == "pair") & feedback.get("choice", pd.Series(dtype="str")).isin(["a", "b"])]
    if "order" in feedback:
        decided = decided[decided["order"].isin(["ab", "ba"])]
    if "order" in feedback and len(decided):
        # only who saw both orders can show a habit of place that is no opinion
        first = ((decided["choice"] == "a") == (decided["order"] == "ab")).groupby(decided["annotator_id"])
        orders = decided.groupby("annotator_id")["order"].nunique()
        cells = first.agg(["size", "sum"])[(orders > 1).to_numpy()]
        n, count = cells["size"].to_numpy(int), cells["sum"].to_numpy(int)
        count = np.maximum(count, n - count)
        # either place may be the favourite: two chances
        p = np.minimum(2 * binom.sf(count - 1, n, own.largest_share), 1.0)
        flagged = (n >= own.minimum_answers) & (p <= own.alpha)
        reasons = [f"straight-lining: {c} of {k} choices in the same place" for c, k in zip(count, n, strict=True)]
        measured = (count / n, own.largest_share, p)
        parts.append(_rows(cells.index, "straight_lining", n, measured, flagged, own.excludes, reasons))
    rated = feedback[feedback["kind"] == "rating"]
    if len(rated):
        sizes = rated.groupby(["annotator_id", "value"]).size()
        count = sizes.groupby("annotator_id").max().to_numpy(int)
        total = sizes.groupby("annotator_id").sum()
        n = total.to_numpy(int)
        flagged = (n >= own.minimum_answers) & (count == n)
        reasons = [f"straight-lining: the same rating {k} times" for k in n]
        measured = (count / n, 1.0, np.full(len(n), NAN))
        parts.append(_rows(total.index, "straight_lining_ratings", n, measured, flagged, own.excludes_ratings, reasons))
    return pd.concat(parts, ignore_index=True) if parts else "no ratings, and no pairs with a column 'order'"


def _rows(
    raters: pd.Index,
    check: str,
    n: NDArray[np.generic],
    measured: tuple[NDArray[np.float64], float, NDArray[np.float64]],
    flagged: NDArray[np.bool_],
    excludes: bool,
    reasons: list[str],
) -> pd.DataFrame:
    """``measured``: share, limit, p_value; ``reasons``: what would be said of each rater if flagged."""
    share, limit, p = measured
    said = [reason if bad else "" for reason, bad in zip(reasons, flagged, strict=True)]
    columns = (raters.to_numpy(), check, n, share, limit, p, flagged, excludes, said)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
