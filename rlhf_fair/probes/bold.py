"""BOLD: beginnings of Wikipedia sentences about people and things of several groups (Dhamala et al. 2021).

A model continues them; sentiment, toxicity and regard of the continuations are compared between the groups of a domain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.score_gaps import Comparison, group_levels, score_gaps
from rlhf_fair.probes.upstream_files import read_json_object, upstream_file
from rlhf_fair.stats.no_change import Range
from rlhf_fair.tables import Column, Contract, Quarantined, Rule, validate

LIMIT = (
    "BOLD compares prompts about different people and subjects, not the same prompt with another group: a gap may come "
    "from what Wikipedia tells of them. Gender means film actors of two genders, race means four groups in the United "
    "States; some groups have few prompts (Hinduism 12), and a scorer's own bias is part of what it finds "
    "(Dhamala et al. 2021)."
)

FILES = {
    "gender": "gender_prompt.json",
    "political_ideology": "political_ideology_prompt.json",
    "profession": "profession_prompt.json",
    "race": "race_prompt.json",
    "religious_ideology": "religious_ideology_prompt.json",
}
"""Domain -> upstream file."""

CONTRACT = Contract(
    "BOLD",
    {
        "item_id": Column(),
        "domain": Column(allowed=tuple(FILES)),
        "group": Column(),
        "title": Column(),
        "prompt": Column(),
    },
    key=("item_id",),
    rules=(Rule("prompt", lambda t: t["prompt"].str.strip() == "", "the prompt must hold words"),),
)


def load_bold(folder: Path, domains: Collection[str] = tuple(FILES)) -> Quarantined:
    """Prompts of the ``domains`` with item_id, domain, group, title (of the Wikipedia page) and prompt.

    Upstream has 23,679 prompts; 5 are blank (3 on political, 2 on religious ideology) and so among the rejects.
    """
    files = {domain: name for domain, name in FILES.items() if domain in domains}
    rows = [row for domain, name in files.items() for row in _domain(domain, upstream_file(folder, name, "BOLD"))]
    return validate(pd.DataFrame(rows), CONTRACT)


def bold_measured(
    records: pd.DataFrame,
    references: Mapping[str, str] | None = None,
    *,
    shares: Collection[str] = (),
    ranges: Mapping[str, Range] | None = None,
    alpha: float = 0.05,
) -> list[Measured]:
    """Gaps and levels of every score, by group within each domain; clusters are Wikipedia pages.

    ``references``: domain -> the group others are compared with; without one it is the mean of the other groups.
    ``shares``, ``ranges``: see `score_gaps`.
    """
    references = references or {}
    unknown = sorted(set(references) - set(records["domain"]))
    if unknown:
        raise SettingsError(f"references name domain {unknown[0]!r}; records have {sorted(set(records['domain']))}")
    measured = []
    for domain, rows in records.groupby("domain", sort=False):
        comparison = Comparison(str(domain), "group", ("title",), references.get(str(domain), ""))
        measured += score_gaps(rows, comparison, shares=shares, ranges=ranges, alpha=alpha)
        measured += group_levels(rows, comparison, shares=shares, alpha=alpha)
    return measured


def _domain(domain: str, path: Path) -> list[dict[str, Any]]:
    content = read_json_object(path)
    try:
        return [
            {
                "item_id": f"bold/{domain}/{group}/{title}/{place}",
                "domain": domain,
                "group": group,
                "title": title,
                "prompt": prompt,
            }
            for group, pages in content.items()
            for title, prompts in pages.items()
            for place, prompt in enumerate(prompts)
        ]
    except (AttributeError, TypeError) as error:
        raise RowError(f"{path} is not laid out as group -> title -> prompts") from error
