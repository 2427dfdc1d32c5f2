"""Identity terms in neutral and hateful sentences: does a reward model read a term itself as harm? (Borkan et al. 2019)

Upstream's madlibs put 50 terms into the same frames ("NAME is a ADJECTIVE TERM"), half of them harmless. The score is
minus the reward, so that it is a score of harm, and the AUCs keep their published reading:

* subgroup AUC: both kinds of sentence with the term.
* BPSN (harmful without the term, harmless with it). Low: harmless sentences with the term look harmful.
* BNSP (harmless without the term, harmful with it). Low: harmful sentences with the term look harmless.

A gap is the AUC less that of all sentences without the term; 0 = the term is read like any other. The shortfall is the
overall AUC less the power mean of one kind over the terms, free of what chance adds to it
(`rlhf_fair.metrics.subgroup_auc.power_mean_bias`); 0 = no term stands out, high = some terms are read worse.
Sentences share an opening ("NAME is a") and a word that makes them harmful or not, so both are clusterings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, about_file
from rlhf_fair.metrics.subgroup_auc import BiasAUCs, Kind, bias_aucs, one_column_per_label, subgroup_aucs
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.probes.upstream_files import read_lines, upstream_file
from rlhf_fair.tables import Column, Contract, read_table, validate

PROBE = "identity_terms"
METRIC, SHORTFALL = "identity_term_auc_gap", "identity_term_auc_shortfall"
HARMFUL = "BAD"
NO_TERM = "no identity term"
SENTENCES = "bias_madlibs_77k.csv"
TERMS = "adjectives_people.txt"
KINDS: dict[Kind, str] = {"subgroup": "subgroup AUC", "bpsn": "BPSN AUC", "bnsp": "BNSP AUC"}
CONTRACT = Contract(
    "madlibs",
    {"Text": Column(), "Label": Column(allowed=(HARMFUL, "NOT_BAD")), "Template": Column()},
    key=("Text",),
)


def load_madlibs(folder: Path, *, names: int, seed: int) -> pd.DataFrame:
    """Sentences of ``eval_datasets/`` with the term of ``bias_madlibs_data/`` that each holds.

    ``names``: at most so many of the names that sentences open with, drawn by ``seed``; sentences about one name are
    kept or left out together.

    Returns
    -------
    item_id, text, term, harmful (1 or 0), template, opening and word (see the module), excluded ("" or why).
    """
    path = upstream_file(folder / "eval_datasets", SENTENCES, "madlibs")
    with about_file(path):
        table = validate(read_table(path), CONTRACT)
    if table.table.empty:
        raise RowError(f"{folder}: no usable madlibs sentence")
    terms = [line.strip() for line in read_lines(upstream_file(folder / "bias_madlibs_data", TERMS, "identity terms"))]
    read = table.table.rename(columns={"Text": "text", "Template": "template"})
    parts = [split_sentence(text, terms) for text in read["text"]]
    read["term"], read["opening"], read["word"] = zip(*parts, strict=True)
    read["opening"] = read["template"] + "/" + read["opening"]
    read["harmful"] = (read["Label"] == HARMFUL).astype(float)
    read["item_id"] = [f"madlibs/{row}" for row in range(len(read))]
    named = read["template"] == "name_adj"
    known = sorted(read.loc[named, "opening"].unique())
    chosen = np.random.default_rng(seed).permutation(known)[:names]
    left = named & ~read["opening"].isin(chosen)
    read["excluded"] = np.where(left, "sentence about a name that was not drawn", "")
    return read.drop(columns="Label").assign(probe=PROBE)


def split_sentence(text: str, terms: Sequence[str]) -> tuple[str, str, str]:
    """(term, opening, word): the longest term in the sentence, and of the rest all but its last word, and that.

    >>> split_sentence("Ann is a kind middle aged", ["aged", "middle aged"])
    ('middle aged', 'ann is a', 'kind')
    >>> split_sentence("You are a kind baker", ["old"])
    ('no identity term', 'you are a kind', 'baker')
    """
    words = " ".join(text.lower().replace(".", " ").split())
    found = _pattern(tuple(terms)).search(words)
    rest = (words[: found.start()] + words[found.end() :] if found else words).split()
    return found.group() if found else NO_TERM, " ".join(rest[:-1]), rest[-1] if rest else ""


def term_auc_gaps(records: pd.DataFrame, *, alpha: float) -> list[Measured]:
    """For each term the three AUCs less the AUC of the sentences without it."""
    found = []
    for one in subgroup_aucs(**_columns(records), alpha=alpha):
        rows = records[records["term"] == one.subgroup]
        rate = measured_rate(rows["reward"].notna())
        for kind, name in KINDS.items():
            about = ("identity term", one.subgroup, "sentences without the term", name)
            found.append(Measured(METRIC, one.gaps[kind], *about, unit="AUC", measured_rate=rate))
    return found


def term_shortfalls(records: pd.DataFrame, *, alpha: float) -> tuple[list[Measured], BiasAUCs]:
    """For each kind the overall AUC less the power mean over the terms; and all that they are made of."""
    aucs = bias_aucs(**_columns(records), alpha=alpha)
    rate = measured_rate(records["reward"].notna())
    found = [
        Measured(
            SHORTFALL,
            aucs.shortfalls[kind],
            "identity term",
            "all terms",
            "overall AUC",
            f"power mean of {name}s",
            better="low",
            unit="AUC",
            measured_rate=rate,
        )
        for kind, name in KINDS.items()
    ]
    return found, aucs


@cache
def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Whole terms, the longest first."""
    longest = sorted(terms, key=len, reverse=True)
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest))})(?!\S)")


def _columns(records: pd.DataFrame) -> dict[str, Any]:
    membership = one_column_per_label(records["term"])
    membership.pop(NO_TERM, None)
    return {
        "scores": -records["reward"].to_numpy(float),
        "outcomes": records["harmful"].to_numpy(float),
        "membership": membership,
        "clusters": [records["opening"].to_numpy(str), records["word"].to_numpy(str)],
    }
