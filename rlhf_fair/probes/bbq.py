"""BBQ: questions about two people, whom a stereotype would answer (Parrish et al. 2022), and their biased answers.

A question comes with an ambiguous context, where "unknown" is right, or with a disambiguated one, where a person is;
and it is negative (who did harm?) or non-negative. `rlhf_fair.probes.bbq_answers` asks and reads the answers,
`rlhf_fair.probes.bbq_scores` measures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.json_cells import json_cell
from rlhf_fair.tables import (
    Column,
    Contract,
    Quarantined,
    Rule,
    as_numbers,
    read_jsonl_with_rejects,
    read_table,
    require_columns,
    validate,
)

LIMIT = (
    "BBQ covers stereotypes documented in the United States, in English. Its items come from a few dozen hand-written "
    "templates per category, so few independent questions stand behind thousands of items, and a low score says "
    "nothing of stereotypes outside the templates (Parrish et al. 2022)."
)

CATEGORIES = (
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_SES",
    "Race_x_gender",
    "Religion",
    "SES",
    "Sexual_orientation",
)
CHOICES = (0, 1, 2)
ANSWERS = ("ans0", "ans1", "ans2")
METADATA = "additional_metadata.csv"
LAST_LABEL_TEMPLATE = 25
"""Templates with a higher number name people instead of labelling them; the authors score the two apart."""

_SAME = {
    **dict.fromkeys(("woman", "women", "girl", "girls"), "f"),
    **dict.fromkeys(("man", "men", "boy", "boys"), "m"),
    **dict.fromkeys(("transgender women", "transgender men"), "trans"),
    "low ses": "lowses",
    "high ses": "highses",
    "latina": "latino",
}
"""Different words of upstream's files for one group."""

_COLUMNS = {
    "item_id": Column(),
    "example_id": Column(),
    "category": Column(allowed=CATEGORIES),
    "part": Column(),
    "template": Column(),
    "question_index": Column(),
    "question_polarity": Column(allowed=("neg", "nonneg")),
    "context_condition": Column(allowed=("ambig", "disambig")),
    "context": Column(),
    "question": Column(),
    **{name: Column() for name in ANSWERS},
    "label": Column("number", low=0, high=2),
    "unknown": Column("number", low=0, high=2),
    "stereotyped": Column(),
}
_RULES = (
    Rule("label", lambda t: t["label"] % 1 != 0, "it must be 0, 1 or 2"),
    Rule(
        "label",
        lambda t: (t["context_condition"] == "ambig") != (t["label"] == t["unknown"]),
        "the unknown answer is right in ambiguous contexts and only there",
    ),
)


def load_bbq(folder: Path) -> Quarantined:
    """Items of all category files of ``folder`` or its ``data``, with the authors' metadata if it lies there.

    Columns: item_id ("Age/17"), category, part (category, with " (names)" where people are named), template
    ("Age/4": the question the item was made from, its cluster), question_polarity, context_condition, context,
    question, ans0 to ans2 with name0 to name2 (upstream's short names), label (the right answer), unknown (the index
    of the answer "unknown"), biased0 to biased2 (whether an answer expresses the stereotype), n_targets (how many
    people belong to the stereotyped group: 1 in nearly all items).
    """
    files = _category_files(folder)
    if not files:
        wanted = f"{CATEGORIES[0]}.jsonl or {CATEGORIES[0]}.jsonl.gz"
        raise MissingFileError(folder, "BBQ category files", f"named like {wanted}, here or in the folder data")
    loaded = [_load_category(path) for path in files]
    items = pd.concat([part.table for part in loaded], ignore_index=True)
    rejects = pd.concat([part.rejects for part in loaded], ignore_index=True)
    metadata = _metadata_file(folder)
    if metadata is not None:
        items = _with_metadata(items, read_table(metadata))
    return Quarantined(items, rejects)


def answer_groups(name: str, info: str) -> frozenset[str]:
    """The groups that a person belongs to, lower case, from an answer's two entries in ``answer_info``.

    The second entry joins groups ("F-Black", "nonTrans_F", "lowSES-M-Asian"); where it is empty, and for
    nationalities, whose groups are countries, the first entry tells.

    >>> sorted(answer_groups("Donna", "F-Black"))
    ['black', 'donna', 'f', 'f-black']
    """
    named = name.lower().strip("{} ")
    groups = {info.lower(), *re.split("[-_]", info.lower()), named, *(() if info else named.split())}
    return frozenset(_SAME.get(group, group) for group in groups if group)


def biased_answers(polarity: str, matches: Sequence[bool], unknown: int) -> tuple[bool, bool, bool]:
    """Which of the three answers express the stereotype; ``matches``: the person belongs to the stereotyped group.

    On a negative question that is an answer naming a member of the group, on a non-negative one an answer naming
    somebody else. Read so, items with two members or none stay in the count: all their named answers are biased under
    one polarity and none under the other, so that a model without a preference still scores 0.
    """
    first, second, third = (matches[k] == (polarity == "neg") and k != unknown for k in CHOICES)
    return first, second, third


def _category_files(folder: Path) -> list[Path]:
    names = [f"{category}{extension}" for category in CATEGORIES for extension in (".jsonl", ".jsonl.gz")]
    found = {name: place / name for place in (folder / "data", folder) for name in names if (place / name).is_file()}
    return list({path.name.split(".")[0]: path for path in found.values()}.values())


def _load_category(path: Path) -> Quarantined:
    read = read_jsonl_with_rejects(path)
    raw = read.table
    lacking = [name for name in ("example_id", "category", "question_index", "answer_info") if name not in raw]
    if lacking:
        raise SettingsError(f"{path} is not laid out as BBQ: its lines lack {', '.join(lacking)}")
    entries = [_entries(cell) for cell in raw["answer_info"]]
    raw["unknown"] = [_unknown(entry) for entry in entries]
    metadata = raw["additional_metadata"] if "additional_metadata" in raw else pd.Series("", index=raw.index)
    raw["stereotyped"] = [_stereotyped(cell) for cell in metadata]
    category, index = raw["category"].astype(str), raw["question_index"].astype(str)
    raw["item_id"] = category + "/" + raw["example_id"].astype(str)
    raw["template"] = category + "/" + index
    people_named = (pd.to_numeric(index, errors="coerce") > LAST_LABEL_TEMPLATE) & ~category.str.contains("_x_")
    raw["part"] = category + np.where(people_named, " (names)", "")
    checked = validate(raw, Contract(f"BBQ {path.name}", _COLUMNS, ("item_id",), _RULES))
    rejects = pd.concat([read.rejects, checked.rejects]) if len(read.rejects) else checked.rejects
    return Quarantined(_with_biased(checked.table), rejects.sort_values("row", ignore_index=True))


def _with_biased(table: pd.DataFrame) -> pd.DataFrame:
    kept = table.drop(columns="stereotyped")[[name for name in _COLUMNS if name != "stereotyped"]]
    kept = kept.astype({"label": "int64", "unknown": "int64"})
    entries = [_entries(cell) for cell in table["answer_info"]]
    members = [_members(row, stereotyped) for row, stereotyped in zip(entries, table["stereotyped"], strict=True)]
    polarities, unknown = kept["question_polarity"], kept["unknown"]
    biased = [biased_answers(p, m, u) for p, m, u in zip(polarities, members, unknown, strict=True)]
    shape = (len(kept), len(CHOICES))
    return kept.assign(
        n_targets=np.array(members, dtype=int).reshape(shape).sum(axis=1),
        **{f"name{k}": [row[k][0] for row in entries] for k in CHOICES},
        **dict(zip((f"biased{k}" for k in CHOICES), np.array(biased, dtype=bool).reshape(shape).T, strict=True)),
    )


def _members(entries: Sequence[tuple[str, str]], stereotyped: str) -> list[bool]:
    groups = set(json.loads(stereotyped))
    return [info != "unknown" and bool(answer_groups(name, info) & groups) for name, info in entries]


def _entries(cell: object) -> list[tuple[str, str]]:
    """(short name, groups) of the three answers; empty if the cell does not hold them."""
    try:
        info: Mapping[str, Sequence[Any]] = json_cell(str(cell))
        return [(str(info[answer][0]), str(info[answer][1])) for answer in ANSWERS]
    except (ValueError, KeyError, IndexError, TypeError):
        return []


def _unknown(entries: Sequence[tuple[str, str]]) -> float | None:
    unknown = [k for k, (_, info) in enumerate(entries) if info == "unknown"]
    return float(unknown[0]) if len(unknown) == 1 else None


def _stereotyped(cell: object) -> str | None:
    """JSON list of the stereotyped groups, lower case, one word each; None if there are none."""
    try:
        groups = json.loads(str(cell))["stereotyped_groups"]
    except (ValueError, KeyError, TypeError):
        return None
    lower = [str(group).lower() for group in groups] if isinstance(groups, list) else []
    return json.dumps([_SAME.get(group, group) for group in lower]) if lower else None


def _metadata_file(folder: Path) -> Path | None:
    places = (folder, folder / "data", folder / "supplemental", folder / "analysis_scripts")
    return next((place / METADATA for place in places if (place / METADATA).is_file()), None)


def _with_metadata(items: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """The biased answers from the authors' ``target_loc``, which already turns with the question's polarity.

    A first release of that file held the stereotyped person instead; read as the biased answer it would turn the sign
    of half the items, so it is refused.
    """
    require_columns(metadata, ("category", "example_id", "target_loc"), METADATA)
    key = metadata["category"].astype(str) + "/" + metadata["example_id"].astype(str)
    target = pd.Series(as_numbers(metadata["target_loc"]).to_numpy(), index=key)
    location = items["item_id"].map(target[~target.index.duplicated()]).to_numpy(dtype=float)
    biased = items[[f"biased{k}" for k in CHOICES]].to_numpy(dtype=bool)
    known = np.isfinite(location)
    theirs: NDArray[np.bool_] = location[:, None] == np.array(CHOICES)
    clear = known & (items["n_targets"] == 1).to_numpy() & (items["question_polarity"] == "nonneg").to_numpy()
    if clear.any() and (theirs & biased)[clear].any(axis=1).mean() < 0.5:
        raise SettingsError(
            f"{METADATA}: target_loc is the stereotyped person on non-negative questions; allowed: the biased answer, "
            "as in the authors' corrected release"
        )
    merged = np.where(known[:, None], theirs, biased)
    columns = {f"biased{k}": merged[:, k] for k in CHOICES}
    return items.assign(**columns, n_targets=np.where(known, 1, items["n_targets"]))
