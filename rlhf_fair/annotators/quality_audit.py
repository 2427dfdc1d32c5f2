"""Quality control held to account: whom does it exclude who did honest work, and which groups are they from.

Honest raters are made in a simulated world where some of them, rightly from where they stand, prefer the other
response on part of the items. A control that takes contested items for gold, or a fast reader for a careless one,
excludes them; the false-exclusion rate by group says how often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from rlhf_fair.annotators.quality import Quality, check_quality, gold_right
from rlhf_fair.annotators.quality_settings import QualityAuditSettings, QualitySettings
from rlhf_fair.annotators.simulation import simulate_pair_feedback
from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.equivalence import threshold_p_value, verdict

SCENARIOS = ("neutral", "contested_gold", "fast_readers")
"""neutral: the minority differs in taste alone. contested_gold: also on gold items. fast_readers: also in pace."""
MAJORITY, MINORITY, CARELESS, UNKNOWN = "majority", "minority", "(careless)", "(unknown)"
CARELESS_PACE = 20.0
"""Who does not read is so many times faster than the median."""
SPREAD = 0.4
"""Standard deviation of the logarithm of answering times."""


@dataclass(frozen=True)
class World:
    """One simulated set: ``feedback``, its ``gold`` answers, and the ``group`` by annotator_id."""

    feedback: pd.DataFrame
    gold: pd.DataFrame
    group: pd.Series


def simulate_world(
    audit: QualityAuditSettings, scenario: str, rng: np.random.Generator, *, minority: pd.Series | None = None
) -> World:
    """Honest raters, some of a minority that differs on contested items, and careless ones.

    ``minority``: by annotator_id, True for those who differ; without it ``audit.raters`` of ``audit.minority_share``.
    """
    assert scenario in SCENARIOS
    if minority is None:
        few = round(audit.raters * audit.minority_share)
        minority = pd.Series(np.arange(audit.raters) < few, index=[f"h{k}" for k in range(audit.raters)])
    # ids of their own: one of the panel's might be what a careless rater is called here
    ids = [*(f"h{k}" for k in range(len(minority))), *(f"careless-{k}" for k in range(audit.careless))]
    differs = np.r_[minority.to_numpy(bool), np.zeros(audit.careless, dtype=bool)]
    careless = np.arange(len(ids)) >= len(minority)
    rater, item, n_gold, n_items = _assign(len(ids), audit, rng)
    side = np.where(rng.random(n_items) < 0.5, 1.0, -1.0)
    contested = rng.random(n_items) < audit.contested_share
    if scenario != "contested_gold":
        contested[:n_gold] = False
    meant = side[item] * np.where(differs[rater] & contested[item], -1.0, 1.0)
    pace = np.where(differs & (scenario == "fast_readers"), audit.minority_speed, 1.0)
    pace[careless] = CARELESS_PACE
    seconds = audit.median_seconds / pace[rater] * np.exp(SPREAD * rng.standard_normal(len(rater)))
    names = np.array([f"g{k}" if k < n_gold else f"i{k}" for k in range(n_items)])
    assignments = pd.DataFrame({"item_id": names[item], "annotator_id": np.array(ids)[rater]})
    assignments["order"] = np.where(rng.random(len(rater)) < 0.5, "ab", "ba")
    people = pd.DataFrame({"annotator_id": ids, "careless_share": careless.astype(float)})
    utility = meant * float(logit(audit.attention)) / 2  # a difference of logit(attention) between the two responses
    feedback = simulate_pair_feedback(utility, -utility, assignments, people, careless_first=0.95, rng=rng)
    gold = pd.DataFrame({"item_id": names[:n_gold], "choice": np.where(side[:n_gold] > 0, "a", "b")})
    group = np.where(careless, CARELESS, np.where(differs, MINORITY, MAJORITY))
    index = pd.Index(ids, name="annotator_id")
    return World(feedback.assign(seconds=seconds), gold, pd.Series(group, index))


def audit_quality(
    settings: QualitySettings,
    rng: np.random.Generator,
    *,
    groups: pd.Series | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """False-exclusion rates of honest raters by scenario and group, and how many careless ones are found.

    Parameters
    ----------
    groups
        By annotator_id: a real panel. Each of its groups in turn is the minority that differs, at its real size.

    Returns
    -------
    DataFrame
        scenario, differs (the group that sees contested items differently), group, raters, and with intervals
        (clustered by simulation) ``rate``: share excluded, range [0, 1]; ``gap``: to the other honest raters, null
        value 0; ``verdict`` of the gap against ``settings.audit.largest_gap``, with Holm's correction. The rows of
        group ``(careless)`` show the detection rate; they have no gap.
    """
    rows, tables = list(_minorities(groups)), []
    total = len(SCENARIOS) * len(rows)
    for done, (scenario, (name, minority)) in enumerate([(s, m) for s in SCENARIOS for m in rows], start=1):
        worlds = [
            simulate_world(settings.audit, scenario, rng, minority=minority) for _ in range(settings.audit.simulations)
        ]
        people = _excluded(worlds, settings)
        table = exclusion_rates(people["excluded"], people["group"], people["run"], settings.audit.largest_gap)
        table["group"] = table["group"].replace(
            {MINORITY: name, MAJORITY: f"not {name}" if groups is not None else MAJORITY}
        )
        tables.append(table.assign(scenario=scenario, differs=name))
        if progress is not None:
            progress("audit of the quality control", done, total)
    table = pd.concat(tables, ignore_index=True)
    return table[["scenario", "differs", *(c for c in table.columns if c not in ("scenario", "differs"))]]


def exclusion_rates(
    excluded: pd.Series, group: pd.Series, cluster: pd.Series | None = None, largest_gap: float = 0.05
) -> pd.DataFrame:
    """Share excluded of each group's raters, its gap to all others, and the verdict on the gap.

    ``excluded``: 0 or 1 for each rater; ``group``: a missing one is ``(unknown)``. Columns as in `audit_quality`.
    """
    label = group.astype("object").fillna(UNKNOWN).astype("str").to_numpy()
    values = excluded.to_numpy(float)
    ways = [] if cluster is None else [cluster.to_numpy()]
    rows, gaps = [], []
    for name in sorted(set(label)):
        mine, counted = label == name, label != CARELESS
        rate = mean_estimate(values[mine], clusters=[way[mine] for way in ways], rates=True)
        gap = Estimate.not_estimable("not honest raters, or the only group")
        if name != CARELESS and (counted & ~mine).any():
            gap = contrast_estimate(
                values[counted],
                np.where(mine, name, "others")[counted],
                {name: 1.0, "others": -1.0},
                clusters=[way[counted] for way in ways],
                rates=True,
            )
        rows.append(
            {"group": name, "raters": int(mine.sum()), "excluded": int(values[mine].sum()), **_columns(rate, gap)}
        )
        gaps.append(gap)
    beyond = np.array([threshold_p_value(gap, threshold=largest_gap) for gap in gaps])
    known = np.isfinite(beyond)
    beyond[known] = holm(beyond[known])
    for row, gap, p in zip(rows, gaps, beyond, strict=True):
        said = verdict(gap, threshold=largest_gap, margin=largest_gap, p_threshold=float(p))
        row["verdict"], row["verdict_reason"] = said[0].value, said[1]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class ControlVerdict:
    """Whether the control excludes honest raters of some group beyond its own limit, and which rows say so."""

    verdict: Verdict
    reason: str


def control_verdict(audit: pd.DataFrame | None, observed: pd.DataFrame | None) -> ControlVerdict:
    """The one verdict on a control, from its simulated audit and from the raters at hand.

    Deciding are the gaps of honest raters in the neutral scenario and those among the raters at hand, where groups are
    known; contested gold and fast readers are what-ifs. One gap beyond the limit exceeds; one that cannot be told
    leaves the whole inconclusive; without any gap nothing was measured.
    """
    tables = [] if observed is None else [observed.assign(source="here")]
    if audit is not None:
        simulated = audit[(audit["scenario"] == "neutral") & (audit["group"] != CARELESS)]
        tables.append(simulated.assign(source="simulated"))
    if not tables:
        return ControlVerdict(Verdict.NOT_MEASURED, "neither groups nor the simulated audit were asked for")
    gaps = pd.concat(tables, ignore_index=True)
    for found in (Verdict.EXCEEDS, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED):
        rows = gaps[gaps["verdict"] == found.value]
        if len(rows):
            named = "; ".join(dict.fromkeys(f"{row.source}: {row.group}" for row in rows.itertuples()))
            return ControlVerdict(found, named)
    return ControlVerdict(Verdict.WITHIN, "")


def contested_gold(feedback: pd.DataFrame, gold: pd.DataFrame, groups: pd.Series, *, tolerance: float) -> pd.DataFrame:
    """Gold items by group: item_id, group, n answers, correct (share), contested: most of the group answers otherwise.

    What is right is as in the check of gold: ``tolerance`` is the settings' own. An item that a whole group gets
    "wrong" may be a matter of opinion. It should not be gold until somebody has looked.
    """
    right = gold_right(feedback, gold, tolerance)
    asked = right.notna().to_numpy()
    rows, right = feedback[asked], right[asked]
    group = rows["annotator_id"].map(groups).astype("object").fillna(UNKNOWN).astype("str").rename("group")
    cells = right.groupby([rows["item_id"], group])
    table = pd.DataFrame({"n": cells.size(), "correct": cells.mean()}).reset_index()
    return table.assign(contested=(table["correct"] < 0.5) & (table["n"] > 1))


def observed_rates(quality: Quality, groups: pd.Series, largest_gap: float) -> pd.DataFrame:
    """`exclusion_rates` of the raters at hand, honest or not: what the control did to each group here."""
    return exclusion_rates(quality.excluded.astype(float), groups.reindex(quality.excluded.index), None, largest_gap)


def _excluded(worlds: Sequence[World], settings: QualitySettings) -> pd.DataFrame:
    """group, excluded and run of every rater; the worlds are checked in one go, their ids kept apart."""
    feedback, gold, people = [], [], []
    for run, world in enumerate(worlds):
        own = world.feedback.assign(item_id=f"{run}/" + world.feedback["item_id"])
        feedback.append(own.assign(annotator_id=f"{run}/" + own["annotator_id"]))
        gold.append(world.gold.assign(item_id=f"{run}/" + world.gold["item_id"]))
        people.append(pd.DataFrame({"group": world.group, "run": run}).add_prefix(f"{run}/", axis="index"))
    found = check_quality(pd.concat(feedback, ignore_index=True), settings, gold=pd.concat(gold, ignore_index=True))
    table = pd.concat(people)
    return table.assign(excluded=found.excluded.reindex(table.index).astype(float))


def _minorities(groups: pd.Series | None) -> Iterator[tuple[str, pd.Series | None]]:
    if groups is None:
        yield MINORITY, None
        return
    label = groups.astype("object").fillna(UNKNOWN).astype("str")
    for name in sorted(set(label)):
        yield name, label == name


def _assign(
    n_raters: int, audit: QualityAuditSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Rater and item of each answer; gold items come first. Pools are twice what one rater answers."""
    gold = min(audit.gold_answers, audit.answers)
    other = audit.answers - gold
    picked = [rng.random((n_raters, 2 * k)).argsort(axis=1)[:, :k] for k in (gold, other)]
    item = np.concatenate([picked[0], picked[1] + 2 * gold], axis=1)
    return np.repeat(np.arange(n_raters), audit.answers), item.reshape(-1), 2 * gold, 2 * (gold + other)


def _columns(rate: Estimate, gap: Estimate) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, e in (("rate", rate), ("gap", gap)):
        cells |= {
            name: e.estimate,
            f"{name}_ci_low": e.ci_low,
            f"{name}_ci_high": e.ci_high,
            f"{name}_reason": e.reason,
        }
    return cells
