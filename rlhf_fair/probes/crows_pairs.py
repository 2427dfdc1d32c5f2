"""CrowS-Pairs: sentence pairs that differ in whom they speak of (Nangia et al. 2020)."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.tables import Column, Contract, Quarantined, Rule, read_table, validate

FILE = "crows_pairs_anonymized.csv"

LIMIT = (
    "Many CrowS-Pairs items are invalid: they do not isolate one stereotype, pair groups that are not comparable, or "
    "are ungrammatical (Blodgett et al. 2021); the data's authors advise against using it as a benchmark by itself."
)

CONTRACT = Contract(
    "CrowS-Pairs",
    {
        "pair_id": Column(),
        "sent_more": Column(),
        "sent_less": Column(),
        "stereo_antistereo": Column(allowed=("stereo", "antistereo")),
        "bias_type": Column(),
    },
    key=("pair_id",),
    rules=(Rule("sent_less", lambda t: t["sent_more"] == t["sent_less"], "the two sentences must differ"),),
)


def load_crows_pairs(path: Path) -> Quarantined:
    """Pairs with pair_id (0-based row of the file), sent_more, sent_less, stereo_antistereo and bias_type.

    ``sent_more`` is the more stereotyping sentence. In a ``stereo`` pair it shows a stereotype of a historically
    disadvantaged group; in an ``antistereo`` pair ``sent_less`` goes against one. The other sentence is nearly the
    same and speaks of an advantaged group.
    """
    raw = read_table(path)
    raw["pair_id"] = [str(row) for row in range(len(raw))]
    return validate(raw, CONTRACT)
