"""Quality control by hand, its laws (disagreement excludes nobody), and its own audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep

from rlhf_fair.annotators.quality import check_quality
from rlhf_fair.annotators.quality_audit import (
    CARELESS,
    MAJORITY,
    MINORITY,
    audit_quality,
    contested_gold,
    control_verdict,
    exclusion_rates,
    simulate_world,
)
from rlhf_fair.annotators.quality_settings import QualitySettings
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.settings import read_toml


def pairs(rater: str, choices: Sequence[str], **columns: object) -> pd.DataFrame:
    items = [f"i{k}" for k in range(len(choices))]
    return pd.DataFrame({"item_id": items, "annotator_id": rater, "kind": "pair", "choice": list(choices)} | columns)


def settings_of(**sections: dict[str, object]) -> QualitySettings:
    return QualitySettings.model_validate(sections)


def flagged(feedback: pd.DataFrame, check: str, s: QualitySettings | None = None, **options: object) -> dict[str, bool]:
    table = check_quality(feedback, s, **options).checks  # type: ignore[arg-type]
    return dict(table[table["check"] == check].set_index("annotator_id")["flagged"].astype(bool))


GOLD = pd.DataFrame({"item_id": [f"i{k}" for k in range(8)], "choice": "a"})


def test_gold_is_a_binomial_test_against_the_threshold() -> None:
    feedback = pd.concat([pairs(f"r{k}", "a" * k + "b" * (8 - k)) for k in range(9)])
    expected = {f"r{k}": binomtest(k, 8, 0.7, "less").pvalue <= 0.01 for k in range(9)}
    assert flagged(feedback, "gold", gold=GOLD) == expected
    assert [name for name, bad in expected.items() if bad] == ["r0", "r1"]  # P(X <= 1) = .0013, P(X <= 2) = .0113
    few = pd.concat([pairs("r", "bbb"), pairs("other", "aaaaaaaa")])
    assert not flagged(few, "gold", gold=GOLD)["r"]  # three answers say too little, whatever they are
    rated = pd.DataFrame({"item_id": ["i0", "i1"], "annotator_id": "r", "kind": "rating", "value": [4.0, 1.0]})
    known = pd.DataFrame({"item_id": ["i0", "i1"], "value": [5.0, 5.0]})
    table = check_quality(rated, settings_of(gold={"tolerance": 1}), gold=known).checks
    assert table["share"].tolist()[0] == 0.5


def test_timing_counts_fast_answers_and_leaves_unknown_times_out() -> None:
    fast = pairs("fast", "ab" * 10, seconds=0.5)
    slow = pairs("slow", "ab" * 10, seconds=[0.5] * 10 + [9.0] * 10)  # half of them: allowed
    unknown = pairs("unknown", "ab" * 10, seconds=np.nan)
    assert flagged(pd.concat([fast, slow, unknown]), "timing") == {"fast": True, "slow": False}
    assert check_quality(pairs("r", "ab")).not_made["timing"] == "no column 'seconds'"


def test_a_copied_record_counts_and_the_first_of_its_kind_does_not() -> None:
    rng = np.random.default_rng(0)
    times = rng.random(12) * 20
    original, copy = pairs("original", "ab" * 6, seconds=times), pairs("copy", "ab" * 6, seconds=times)
    same_view = pairs("same view", "ab" * 6, seconds=rng.random(12) * 20)
    found = flagged(pd.concat([original, copy, same_view], ignore_index=True), "duplicates")
    assert found == {"original": False, "copy": True, "same view": False}
    texts = pd.DataFrame({"item_id": [f"i{k}" for k in range(12)], "annotator_id": "p", "kind": "edit"})
    pasted = texts.assign(text="This answer is fine as it stands.")
    own = texts.assign(annotator_id="q", text=[f"Another improvement, number {k}." for k in range(12)])
    assert flagged(pd.concat([pasted, own], ignore_index=True), "duplicates") == {"p": True, "q": False}


def test_straight_lining_is_about_the_place_and_not_about_the_answer() -> None:
    order = ["ab", "ba"] * 15
    clicks = pairs("clicks", "".join("a" if o == "ab" else "b" for o in order), order=order)
    reads = pairs("reads", "a" * 30, order=order)  # always the same response, in both places
    blind = pairs("one order", "a" * 30, order="ab")  # place and response cannot be told apart
    assert flagged(pd.concat([clicks, reads, blind]), "straight_lining") == {"clicks": True, "reads": False}
    same = pd.DataFrame({"item_id": [f"i{k}" for k in range(30)], "annotator_id": "r", "kind": "rating", "value": 1.0})
    found = check_quality(same)
    assert found.checks["flagged"].tolist() == [True]
    assert not found.excluded["r"]  # to find nothing offensive is an opinion
    assert check_quality(same, settings_of(straight_lining={"excludes_ratings": True})).excluded["r"]


def test_excluded_raters_are_kept_with_reasons() -> None:
    feedback = pd.concat([pairs("good", "a" * 8), pairs("bad", "b" * 8, seconds=0.1)], ignore_index=True)
    found = check_quality(feedback, gold=GOLD)
    kept, out = found.split(feedback)
    assert (len(kept), len(out), len(feedback)) == (8, 8, 16)
    assert set(out["reason"]) == {
        "gold: 0 of 8 correct; needed: 70%; timing: 8 of 8 answers took less than 1 s; allowed: 50%"
    }
    assert found.raters.set_index("annotator_id").loc["good", "reason"] == ""
    off = settings_of(gold={"excludes": False}, timing={"excludes": False})
    marked = check_quality(feedback, off, gold=GOLD)
    assert not marked.excluded.any()
    assert marked.checks["flagged"].sum() == 2


def world(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    made = simulate_world(QualitySettings().audit, "neutral", np.random.default_rng(seed))
    return made.feedback, made.gold


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_disagreement_never_excludes(seed: int) -> None:
    """What everybody else answers is turned around: nothing changes for a rater."""
    feedback, gold = world(seed)
    before = check_quality(feedback, gold=gold)
    other = "h0"
    turned = feedback["choice"].map({"a": "b", "b": "a"})
    after = check_quality(feedback.assign(choice=feedback["choice"].where(feedback["annotator_id"] == other, turned)))
    own = before.checks[(before.checks["annotator_id"] == other) & (before.checks["check"] != "gold")]
    again = after.checks[after.checks["annotator_id"] == other]
    pd.testing.assert_frame_equal(own.reset_index(drop=True), again.reset_index(drop=True))


def test_a_rater_against_all_others_on_every_item_stays() -> None:
    rng = np.random.default_rng(2)
    order = rng.choice(["ab", "ba"], 60)
    rows = [pairs(f"r{k}", "a" * 60, order=order, seconds=rng.random(60) * 9 + 2) for k in range(30)]
    lone = pairs("lone", "b" * 60, order=order, seconds=rng.random(60) * 9 + 2)
    found = check_quality(pd.concat([*rows, lone], ignore_index=True))
    assert not found.excluded.any()
    assert not found.checks["flagged"].any()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    raters=st.integers(2, 25),
    minority=st.floats(0, 1),
    disagrees=st.floats(0, 1),
    gold=st.booleans(),
)
def test_no_minority_is_excluded_for_what_it_prefers(
    seed: int, raters: int, minority: float, disagrees: float, gold: bool
) -> None:
    """Any share of raters, apart on any share of the items of taste: nobody is excluded and nobody is even marked.

    They read at a human pace and answer the facts rightly. 80 choices of which each side is shown first with chance
    1/2 lie in one place often enough to be marked, P(X >= 73 of 80), with a chance below 1e-14.
    """
    rng = np.random.default_rng(seed)
    items, n_gold = 80, 8 if gold else 0
    view = rng.choice(["a", "b"], items)
    apart = rng.random((raters, items)) < disagrees
    apart &= (rng.random(raters) < minority)[:, None]
    apart[:, :n_gold] = False
    other = np.where(view == "a", "b", "a")
    feedback = pd.concat(
        pairs(f"r{k}", np.where(apart[k], other, view), order=rng.choice(["ab", "ba"], items), seconds=s)
        for k, s in enumerate(rng.lognormal(2, 0.4, (raters, items)) + 1)
    )
    known = pd.DataFrame({"item_id": [f"i{k}" for k in range(n_gold)], "choice": view[:n_gold]})
    found = check_quality(feedback, gold=known if gold else None)
    assert set(found.checks["check"]) == {"timing", "duplicates", "straight_lining"} | ({"gold"} if gold else set())
    assert not found.excluded.any()
    assert not found.checks["flagged"].any()


def test_a_panel_may_call_its_raters_what_the_simulation_calls_its_own() -> None:
    groups = pd.Series({"careless-0": "g", "h0": "h", "h1": "h", "x": "g", "y": None})
    table = audit_quality(settings_of(audit={"simulations": 3}), np.random.default_rng(0), groups=groups)
    raters = table[table["scenario"] == "neutral"].set_index(["differs", "group"])["raters"]
    assert raters.to_dict() == {  # 3 worlds of 2, 2 and 1 raters, and 15 careless ones
        **{(name, name): size for name, size in (("(unknown)", 3), ("g", 6), ("h", 6))},
        **{(name, f"not {name}"): size for name, size in (("(unknown)", 12), ("g", 9), ("h", 9))},
        **{(name, CARELESS): 45 for name in ("(unknown)", "g", "h")},
    }


def rows_of(source: str, **verdicts: str) -> pd.DataFrame:
    table = pd.DataFrame({"group": list(verdicts), "verdict": list(verdicts.values())})
    return table if source == "here" else table.assign(scenario=source)


WITHIN, BEYOND, OPEN, NOTHING = "within_threshold", "exceeds_threshold", "inconclusive", "not_measured"


@pytest.mark.parametrize(
    ("audit", "observed", "expected", "says"),
    [
        ({"u": WITHIN, "v": WITHIN}, None, WITHIN, ""),
        ({"u": WITHIN, CARELESS: NOTHING}, None, WITHIN, ""),  # careless raters have no gap to be held to
        ({"u": WITHIN}, {"u": OPEN, "v": WITHIN}, OPEN, "here: u"),
        ({"u": OPEN}, {"u": BEYOND}, BEYOND, "here: u"),
        ({"u": BEYOND}, {"u": OPEN}, BEYOND, "simulated: u"),
        ({"u": WITHIN}, {"u": NOTHING}, NOTHING, "here: u"),
        (None, {"u": WITHIN}, WITHIN, ""),
        (None, None, NOTHING, "neither groups nor the simulated audit"),
    ],
)
def test_one_verdict_on_the_control(audit, observed, expected: str, says: str) -> None:
    simulated = None if audit is None else rows_of("neutral", **audit)
    what_if = rows_of("fast_readers", u=BEYOND)  # decides nothing
    simulated = None if simulated is None else pd.concat([simulated, what_if])
    found = control_verdict(simulated, None if observed is None else rows_of("here", **observed))
    assert found.verdict == expected
    assert says in found.reason


def test_the_audit_finds_careless_raters_and_spares_the_minority() -> None:
    s = settings_of(audit={"simulations": 80})
    table = audit_quality(s, np.random.default_rng(1)).set_index(["scenario", "group"])
    assert (table.xs(CARELESS, level="group")["rate"] > 0.95).all()
    assert table.loc[("neutral", MINORITY), "verdict"] == "within_threshold"
    assert table.loc[("neutral", MINORITY), "rate_ci_high"] < 0.05


def test_the_audit_exposes_a_control_that_punishes_a_minority() -> None:
    """A bare cut at 70 % of gold answers, half of the gold contested: the minority is out, the majority is not.

    Of 8 gold answers a majority rater gets each at .95: P(X <= 5) = .0058. A minority rater gets half of the pool at
    .05, so about .5 each on average, and five or fewer correct is what mostly happens (.86 for a plain binomial).
    """
    sections = {"gold": {"alpha": 0.5}, "audit": {"contested_share": 0.5, "simulations": 60}}
    table = audit_quality(settings_of(**sections), np.random.default_rng(1)).set_index(["scenario", "group"])
    unfair = table.loc[("contested_gold", MINORITY)]
    assert unfair["rate"] > 0.6
    assert unfair["verdict"] == "exceeds_threshold"
    assert table.loc[("contested_gold", MAJORITY), "rate"] < 0.03
    fast = settings_of(timing={"minimum_seconds": 4.0}, audit={"simulations": 30})
    table = audit_quality(fast, np.random.default_rng(1)).set_index(["scenario", "group"])
    assert table.loc[("fast_readers", MINORITY), "verdict"] == "exceeds_threshold"
    assert table.loc[("neutral", MINORITY), "rate"] < 0.01


def test_exclusion_rates_by_hand() -> None:
    group = pd.Series(["u"] * 50 + ["v"] * 50)
    out = pd.Series([1.0] * 10 + [0.0] * 40 + [1.0] * 5 + [0.0] * 45)
    table = exclusion_rates(out, group).set_index("group")
    assert table["rate"].tolist() == [0.2, 0.1]
    assert table["gap"].tolist() == pytest.approx([0.1, -0.1])
    limits = confint_proportions_2indep(10, 50, 5, 50, method="newcomb")
    assert table.loc["u", ["gap_ci_low", "gap_ci_high"]].tolist() == pytest.approx(limits)
    assert set(table["verdict"]) == {"inconclusive"}
    unknown = exclusion_rates(out, group.where(group == "u"))
    assert set(unknown["group"]) == {"u", "(unknown)"}


def test_gold_items_that_a_group_contests_are_named() -> None:
    feedback = pd.concat([pairs("p", "aa"), pairs("q", "ab"), pairs("r", "bb"), pairs("s", "ba")])
    groups = pd.Series({"p": "g", "q": "g", "r": "h", "s": "h"})
    table = contested_gold(feedback, GOLD[:2], groups, tolerance=0.0).set_index(["item_id", "group"])
    assert table["correct"].to_dict() == {("i0", "g"): 1, ("i0", "h"): 0, ("i1", "g"): 0.5, ("i1", "h"): 0.5}
    assert table.index[table["contested"]].tolist() == [("i0", "h")]


def test_contested_gold_of_ratings_is_right_as_far_off_as_the_settings_allow() -> None:
    rated = pd.DataFrame({"item_id": "r0", "annotator_id": list("pqrs"), "kind": "rating", "value": [3.2, 2.8, 1, 3.4]})
    feedback = pd.concat([pairs("p", "a"), rated], ignore_index=True)
    gold = pd.DataFrame({"item_id": ["i0", "r0"], "choice": ["b", None], "value": [float("nan"), 3.0]})
    table = contested_gold(feedback, gold, pd.Series("g", index=list("pqrs")), tolerance=0.5).set_index("item_id")
    assert table["correct"].to_dict() == {"i0": 0.0, "r0": 0.75}
    assert not table["contested"].any()


def test_answers_of_unknown_order_are_no_habit_of_place() -> None:
    feedback = pairs("q", "b" * 60, order=["ab", "ba"] + [None] * 58)
    found = check_quality(feedback).checks
    assert not found["flagged"].any()
    assert found.loc[found["check"] == "straight_lining", "answers"].tolist() == [2]


def test_settings_are_read_and_their_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "quality.toml"
    path.write_text("[gold]\nminimum_share = 0.6\n")
    assert read_toml(path, QualitySettings).gold.minimum_share == 0.6
    path.write_text("[agreement]\nminimum = 0.6\n")
    with pytest.raises(SettingsError, match="unknown key 'agreement'; allowed here: gold, timing, duplicates"):
        read_toml(path, QualitySettings)
    with pytest.raises(RowError, match="gold names item 'i0' twice"):
        check_quality(pairs("p", "aa"), gold=pd.concat([GOLD, GOLD]))
