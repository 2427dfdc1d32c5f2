from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from upstream import DATA, needs

from rlhf_fair.metrics.subgroup_auc import bias_aucs, one_column_per_label
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.reward_terms import NO_TERM, load_madlibs, split_sentence, term_auc_gaps, term_shortfalls


def one(measured: list[Measured], group: str, variant: str) -> Measured:
    (found,) = [m for m in measured if m.group == group and m.variant == variant]
    return found


def sentences(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    """(term, harmful, reward), each sentence with an opening and a word of its own."""
    table = pd.DataFrame(rows, columns=["term", "harmful", "reward"])
    return table.assign(opening=[f"o{k}" for k in range(len(rows))], word=[f"w{k}" for k in range(len(rows))])


HAND = sentences(
    [
        *(("x", 0, 0.4), ("x", 0, 0.1), ("x", 1, 0.2), ("x", 1, -0.5)),
        *(("y", 0, 0.9), ("y", 0, 0.8), ("y", 1, 0.3), ("y", 1, -0.9)),
    ]
)


def test_aucs_worked_by_hand() -> None:
    gaps = term_auc_gaps(HAND, alpha=0.05)
    # harm is minus the reward. Background of x is y: harmful .3, -.9 are both below harmless .9, .8 in reward: AUC 1.
    # Subgroup x: harmful .2 < .4 but > .1; harmful -.5 < both: 3 of 4 pairs.
    assert one(gaps, "x", "subgroup AUC").estimate.estimate == pytest.approx(3 / 4 - 1)
    # BPSN: harmful of y (.3, -.9) against harmless of x (.4, .1): .3 < .4, .3 > .1, -.9 < both: 3 of 4
    assert one(gaps, "x", "BPSN AUC").estimate.estimate == pytest.approx(3 / 4 - 1)
    # BNSP: harmful of x (.2, -.5) against harmless of y (.9, .8): 4 of 4
    assert one(gaps, "x", "BNSP AUC").estimate.estimate == pytest.approx(0)
    # overall: harmless .4 .1 .9 .8, harmful .2 -.5 .3 -.9: only .1 loses, to .2 and .3: 14 of 16
    # power mean of BPSN: x 3/4, y (harmful of x below .9 and .8) 1: (4.2140 + 1) / 2 = 2.6070, exp(-ln 2.6070 / 5)
    mean = ((0.75**-5 + 1) / 2) ** -0.2
    assert mean == pytest.approx(0.8256, abs=5e-5)
    shortfalls, aucs = term_shortfalls(HAND, alpha=0.05)
    assert aucs.overall.estimate == pytest.approx(14 / 16)
    # x's two harmful rows of y are above 1/2 and 1 of its harmless ones, those below 1 and 1/2 of the harmful: variance
    # 4 (1/4 / 2)^2 = 1/16; y's is 0. Slope of the mean for x (3/4 / mean)^-6 / 2; half the Hessian's factor -6 is -3.
    slope = (0.75 / mean) ** -6 / 2
    bias = -3 * (slope / 0.75 / 16 - slope**2 / 16 / mean)
    assert aucs.biases["bpsn"] == pytest.approx(bias)
    assert shortfalls[1].estimate.estimate == pytest.approx(14 / 16 - mean + bias)


def test_aucs_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    n = 400
    table = sentences(
        list(zip(rng.choice(["x", "y", NO_TERM], n), rng.integers(0, 2, n), rng.normal(size=n), strict=True))
    )
    gaps = term_auc_gaps(table, alpha=0.05)
    for term in ("x", "y"):
        mine, harmful = table["term"] == term, table["harmful"] == 1

        def auc(rows: pd.Series) -> float:
            return float(roc_auc_score(table.loc[rows, "harmful"], -table.loc[rows, "reward"]))

        base = auc(~mine)
        assert one(gaps, term, "subgroup AUC").estimate.estimate == pytest.approx(auc(mine) - base)
        assert one(gaps, term, "BPSN AUC").estimate.estimate == pytest.approx(
            auc((mine & ~harmful) | (~mine & harmful)) - base
        )
        assert one(gaps, term, "BNSP AUC").estimate.estimate == pytest.approx(
            auc((mine & harmful) | (~mine & ~harmful)) - base
        )
    assert not [m for m in gaps if m.group == NO_TERM]


def test_a_term_read_as_harm_is_recovered_and_a_model_without_it_shows_nothing() -> None:
    rng = np.random.default_rng(1)
    terms, words, rows = [f"t{k}" for k in range(10)], 20, []
    for opening in range(12):
        for word in range(words):
            harmful = word % 2
            for term in terms:
                rows.append((term, harmful, f"o{opening}", f"w{word}", rng.normal() - 2 * harmful))
    table = pd.DataFrame(rows, columns=["term", "harmful", "opening", "word", "reward"])
    fair, _ = term_shortfalls(table, alpha=0.05)
    assert all(m.estimate.estimate < 0.02 for m in fair)
    biased = table.assign(reward=table["reward"] - 2 * (table["term"] == "t3"))
    bpsn = {m.group: m.estimate for m in term_auc_gaps(biased, alpha=0.05) if m.variant == "BPSN AUC"}
    # the term's harmless rows fall as low as harmful ones of the others: AUC 1/2, theirs P(Z < 2 / sqrt 2) = .921
    assert bpsn["t3"].ci_low < 0.5 - 0.921 < bpsn["t3"].ci_high
    assert all(e.ci_high > 0 for term, e in bpsn.items() if term != "t3")


def test_shortfalls_are_the_difference_and_cover_it() -> None:
    rng, n = np.random.default_rng(2), 2000
    terms, outcomes, scores = rng.choice(["x", "y", "z"], n), rng.integers(0, 2, n), rng.normal(size=n)
    found = bias_aucs(scores, outcomes, one_column_per_label(terms))
    for kind, e in found.shortfalls.items():
        gap = found.overall.estimate - found.means[kind].estimate
        assert e.estimate == pytest.approx(gap + found.biases[kind])
        assert e.ci_low < 0 < e.ci_high  # scores know nothing of outcomes or terms


def test_terms_that_are_read_alike_fall_short_no_more_often_than_they_should() -> None:
    """Fifty terms, noise alone: 2.5 % of intervals may lie above 0, and of 60 tables three standard errors more."""
    axes = [list(map(str, range(size))) for size in (4, 10, 50)]
    table = pd.MultiIndex.from_product(axes, names=["opening", "word", "term"]).to_frame(index=False)
    harmful = table["word"].astype(int) % 2
    above, uncorrected, shortfall, plain = 0, 0, [], []
    for seed in range(60):
        reward = np.random.default_rng(seed).normal(size=len(table)) - harmful
        found, aucs = term_shortfalls(table.assign(harmful=harmful.astype(float), reward=reward), alpha=0.05)
        e = next(m.estimate for m in found if "BPSN" in m.variant)
        above += e.ci_low > 0
        uncorrected += e.ci_low - aucs.biases["bpsn"] > 0
        shortfall.append(e.estimate)
        plain.append(e.estimate - aucs.biases["bpsn"])
    assert above <= 60 * (0.025 + 0.06)
    assert uncorrected > 60 * 0.1
    assert abs(np.mean(shortfall)) < np.mean(plain) / 2  # AUCs of forty sentences; more leave less to third order


def test_sentences_come_apart_into_term_opening_and_word() -> None:
    terms = ["african", "african american", "old"]
    assert split_sentence("Being African American is lovely.", terms) == ("african american", "being is", "lovely")
    assert split_sentence("hug old", terms) == ("old", "", "hug")
    assert split_sentence("Harold is a kind baker", terms)[0] == NO_TERM  # a whole word, not a part of one


@needs("bias-madlibs")
def test_upstream_sentences_all_have_their_term() -> None:
    table = load_madlibs(Path(DATA / "bias-madlibs"), names=3, seed=0)
    assert len(table) == 76564
    has_term = table["template"] != "you_occupation"
    assert (table.loc[has_term, "term"] != NO_TERM).all()
    assert table.loc[has_term, "term"].nunique() == 50
    balance = table.groupby("term")["harmful"].mean()
    assert balance.drop(NO_TERM).to_numpy() == pytest.approx(0.5)
    kept = table[table["excluded"] == ""]
    assert kept.loc[kept["template"] == "name_adj", "opening"].nunique() == 3
    assert (table["excluded"] != "").sum() == 72000 * (
        1 - 3 / table.loc[table["template"] == "name_adj", "opening"].nunique()
    )
