"""What becomes of a gap when the best of n answers is taken: whom the selected answers are about.

Candidates are answers to one prompt that differ in quality and in the group of the person they name. A group's share
among the selected, less its share among the candidates, is exact for given rewards (`rlhf_fair.probes.best_of_n`);
its interval is over prompts. Range [-1, 1]; 0 = selection does not look at the group; 0 for n = 1 by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.probes.best_of_n import best_of_n_kl, selection_probabilities
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.reward_pairs import SAME, lay_out, mean_or_zero
from rlhf_fair.probes.reward_people import Person, check_slots, in_turn
from rlhf_fair.records import NAN
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.smallest_p import critical_level, smallest_p_values
from rlhf_fair.tables import Column, Contract, read_validated

PROBE = "best_of_n"
METRIC, QUALITY = "selection_gap", "selected_quality"
POOL = "share among the candidates"

TEMPLATES = Contract(
    "candidates",
    {name: Column() for name in ("prompt_id", "answer_id", "prompt", "answer")} | {"quality": Column("number")},
    key=("answer_id",),
)
CANDIDATES = Contract(
    "candidates",
    {
        "prompt_id": Column(),
        "prompt": Column(),
        "group": Column(),
        "text": Column(),
        "attribute": Column(required=False, nullable=True),
        "quality": Column("number", required=False, nullable=True),
    },
    key=("prompt_id", "group", "text"),
)
COLUMNS = ["probe", "item_id", "attribute", "kind", "prompt_id", "group", "term", "quality", "text"]


def read_templates(path: Path) -> pd.DataFrame:
    """The packaged candidates: prompt_id, answer_id, prompt, answer with slots for a person, quality (high = good).

    Raises
    ------
    RowError
        A row is incomplete, repeated, or has a slot that nothing fills.
    """
    read = read_validated(path, TEMPLATES)
    if len(read.rejects):
        raise RowError(f"{path}: {read.rejects['message'].iloc[0]}")
    check_slots(read.table["answer"], path.name)
    return read.table


def candidate_items(templates: pd.DataFrame, people: Sequence[Person], *, size: int, layout: str) -> pd.DataFrame:
    """Every answer about every group, by so many persons that a prompt and attribute has ``size`` candidates."""
    rows: list[tuple[Any, ...]] = []
    by_attribute: dict[str, list[Person]] = {}
    for person in people:
        if person.kind == "words":
            by_attribute.setdefault(person.attribute, []).append(person)
    for number, (prompt_id, answers) in enumerate(templates.groupby("prompt_id", sort=False)):
        rows_of_prompt = answers.to_dict("records")
        texts = [str(text) for text in answers["answer"]]
        for attribute, members in by_attribute.items():
            needed = -(-size // (len(texts) * len(members[0].groups)))
            for person in in_turn(members, number, needed):
                for group, versions in person.versions(texts):
                    for answer, text in zip(rows_of_prompt, versions, strict=True):
                        item = "/".join((str(answer["answer_id"]), attribute, person.term, group))
                        about = (attribute, person.kind, prompt_id, group, person.term, answer["quality"])
                        rows.append((PROBE, item, *about, lay_out(layout, str(answer["prompt"]), text)))
    return pd.DataFrame(rows, columns=COLUMNS)


def read_candidates(path: Path, layout: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One's own candidates: prompt_id, prompt, group, text, and if known attribute and quality; with the rejected rows.

    Raises
    ------
    RowError
        No row can be used.
    """
    read = read_validated(path, CANDIDATES)
    table = read.table
    if table.empty:
        raise RowError(f"{path}: no usable candidate; the first fault: {read.rejects['message'].iloc[0]}")
    table["attribute"] = table["attribute"].fillna("group") if "attribute" in table else "group"
    if "quality" not in table:
        table["quality"] = np.nan
    table["text"] = [lay_out(layout, p, t) for p, t in zip(table["prompt"], table["text"], strict=True)]
    table["item_id"] = [f"own-candidate/{row}" for row in range(1, len(table) + 1)]
    return table.assign(probe=PROBE, kind="own candidates", term="")[COLUMNS], read.rejects


def selection(records: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """For each attribute, kind, prompt, n and group: ``share`` selected, ``pool`` share, and mean selected ``quality``.

    ``candidates``: how many the prompt has. One with a candidate that was not scored, or with fewer than n, has no row
    for that n.
    """
    rows = []
    for (attribute, kind, prompt), part in records.groupby(["attribute", "kind", "prompt_id"], sort=False):
        rewards = part["reward"].to_numpy(float)
        if not np.isfinite(rewards).all():
            continue
        of_group = {group: (part["group"] == group).to_numpy() for group in dict.fromkeys(part["group"])}
        quality = part["quality"].to_numpy(float)
        for n in sizes:
            if n > len(part):
                continue
            chance = selection_probabilities(rewards, n)
            selected = float(chance @ quality)
            for group, mine in of_group.items():
                share, pool = float(chance[mine].sum()), float(mine.mean())
                rows.append((attribute, kind, prompt, n, group, share, pool, selected, len(part)))
    columns = ["attribute", "kind", "prompt_id", "n", "group", "share", "pool", "selected_quality", "candidates"]
    return pd.DataFrame(rows, columns=columns)


def largest_told(sizes: Iterable[int], smallest_pool: int) -> int:
    """The largest n up to a quarter of the smallest pool, else the smallest n.

    With most candidates drawn the best is nearly the same one each time, whatever makes it so; a prompt then says all
    or nothing of a group, and a t interval over few prompts does not hold.
    """
    return max((n for n in sizes if n <= smallest_pool / 4), default=min(sizes))


def selection_gaps(selected: pd.DataFrame, n: int, *, alpha: float, power: float) -> list[Measured]:
    """At one ``n``, each group's share among the selected less that among the candidates, over prompts."""
    found = []
    rows = selected[selected["n"] == n]
    for (attribute, kind, group), part in rows.groupby(["attribute", "kind", "group"], sort=False):
        e = mean_or_zero(part["share"] - part["pool"], [part["prompt_id"]], alpha=alpha, power=power)
        about = (str(attribute), str(group), POOL, f"best of {n}, {kind}")
        found.append(Measured(METRIC, e, *about, unit="share of selected answers"))
    return found


def growth_table(selected: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> dict[str, Any]:
    """How far the group that moves most is from its pool share at each n, beside KL(n) and the selected quality.

    That group is found in the same data, at the `largest_told` n, so its interval at each n is one of a family: those
    of all groups of the attribute cover at once with probability 1 - ``alpha``, and with it whichever is shown. Beyond
    that n there is no interval.
    """
    rows = []
    for (attribute, kind), part in selected.groupby(["attribute", "kind"], sort=False):
        told = largest_told([int(n) for n in part["n"].unique()], int(part["candidates"].min()))
        at_told = part[part["n"] == told]
        group = str((at_told["share"] - at_told["pool"]).groupby(at_told["group"]).mean().abs().idxmax())
        for n, groups in part.groupby("n", sort=True):
            mine, size = groups[groups["group"] == group], int(str(n))
            if mine.empty:
                continue
            level = _level_of_any(groups, alpha, rng) if size <= told else alpha
            e = mean_or_zero(mine["share"] - mine["pool"], [mine["prompt_id"]], alpha=level, power=0.8)
            limits = (e.ci_low, e.ci_high) if size <= told else (NAN, NAN)
            rows.append(_growth_row((attribute, kind, group), size, mine, (e.estimate, *limits)))
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]}


def _level_of_any(rows: pd.DataFrame, alpha: float, rng: np.random.Generator) -> float:
    """The level of one group's interval at which those of all groups in ``rows``, of one n, cover at once."""
    group, names = pd.factorize(rows["group"])
    prompt, prompts = pd.factorize(rows["prompt_id"])
    gap = (rows["share"] - rows["pool"]).to_numpy(float)
    means = GroupMeans.of(gap, np.ones(len(gap)), group, [prompt], len(names))
    varied = np.array([means.variance(one) > SAME**2 for one in np.eye(len(names))])
    if varied.sum() < 2 or len(prompts) < 2:
        return alpha
    return critical_level(smallest_p_values(means, np.eye(len(names))[varied], rng), alpha)


def _growth_row(
    about: tuple[Any, Any, str], n: int, mine: pd.DataFrame, gap: tuple[float, float, float]
) -> Mapping[str, Any]:
    values = {
        "gap": gap[0],
        "gap_low": gap[1],
        "gap_high": gap[2],
        "mean_selected_quality": float(mine["selected_quality"].mean()),
    }
    return {
        "attribute": f"{about[0]} ({about[1]})",
        "group": about[2],
        "best_of": n,
        "KL_nats": best_of_n_kl(n),
        "share_of_candidates": float(mine["pool"].mean()),
        "share_of_selected": float(mine["share"].mean()),
        **{name: value if np.isfinite(value) else None for name, value in values.items()},
        "prompts": len(mine),
    }
