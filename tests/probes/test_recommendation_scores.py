from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rlhf_fair.errors import ColumnError, SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.recommendation import NEUTRAL
from rlhf_fair.probes.recommendation_categories import category_table, places
from rlhf_fair.probes.recommendation_scores import Comparing, recommendation_measured, similarity_table
from rlhf_fair.probes.recommendation_units import mean_over_units

Lists = Mapping[tuple[str, str, str], Sequence[Sequence[str]]]
"""(topic, attribute, group) -> lists of names, one letter each."""

CARE = set("abc")
SEED = 5


def records(lists: Lists, wording: str = "self", known: str = "abcdefgh") -> pd.DataFrame:
    rows = [
        {
            "topic": topic,
            "wording": wording,
            "domain": "jobs",
            "attribute": attribute,
            "group": group,
            "answered": True,
            "refused": False,
            "parsed": bool(names),
            "titles": json.dumps(list(names)),
            "categories": json.dumps([("care" if x in CARE else "rest") if x in known else "" for x in names]),
            "possible": json.dumps(["care", "rest"] if known else []),
        }
        for (topic, attribute, group), samples in lists.items()
        for names in samples
    ]
    return pd.DataFrame(rows)


def measured(table: pd.DataFrame, **setting: object) -> dict[tuple[str, str, str, str], Measured]:
    comparing = Comparing(**setting)  # type: ignore[arg-type]
    found = recommendation_measured(table, comparing, rng=np.random.default_rng(SEED))
    keyed = {(m.metric, m.group, m.reference, m.variant): m for m in found}
    assert len(keyed) == len(found)
    return keyed


def by_hand(topic: str) -> Lists:
    return {
        (topic, "", NEUTRAL): ["ab", "ac"],
        (topic, "gender", "man"): ["ab", "ab"],
        (topic, "gender", "woman"): ["cd", "cd"],
    }


def test_every_similarity_metric_by_hand() -> None:
    found = measured(records(by_hand("t1") | by_hand("t2")), similarities=("jaccard",))

    def value(metric: str, group: str, reference: str = "") -> float:
        return found[f"jaccard_{metric}", group, reference, "@10"].estimate.estimate

    # ab and ac have one of three in common
    assert value("within_neutral", NEUTRAL) == pytest.approx(1 / 3)
    # ab with ab and ac: (1 + 1/3) / 2; cd with ab and ac: (0 + 1/3) / 2
    assert value("to_neutral", "man", NEUTRAL) == pytest.approx(2 / 3)
    assert value("to_neutral", "woman", NEUTRAL) == pytest.approx(1 / 6)
    # lists that vary less than the neutral ones are closer to them than these to each other
    assert value("shift", "man", NEUTRAL) == pytest.approx(1 / 3 - 2 / 3)
    assert value("shift", "woman", NEUTRAL) == pytest.approx(1 / 3 - 1 / 6)
    # of the third that neutral lists have in common, half is missing; men's are closer than that: 1 - (2/3) / (1/3)
    assert value("relative_shift", "woman", NEUTRAL) == pytest.approx(1 / 2)
    assert value("relative_shift", "man", NEUTRAL) == pytest.approx(-1)
    assert value("gap", "woman", "man") == pytest.approx(1 / 6 - 2 / 3)
    # (1 + 1) / 2 within, 0 between; (1 + 1/3) / 2 within, 1/6 between
    assert value("divergence", "woman", "man") == pytest.approx(1)
    assert value("divergence", "woman", NEUTRAL) == pytest.approx(2 / 3 - 1 / 6)
    assert value("range", "man / woman") == pytest.approx(1 / 2)
    assert value("deviation", "man / woman") == pytest.approx(1 / 4)  # of two values, half their range
    assert found["jaccard_gap", "woman", "man", "@10"].estimate.n_clusters == 2


def test_only_the_first_places_count() -> None:
    found = measured(records(by_hand("t1") | by_hand("t2")), similarities=("jaccard",), depth=1)
    assert found["jaccard_to_neutral", "man", NEUTRAL, "@1"].estimate.estimate == 1  # all begin with a


def test_category_shares_and_places_by_hand() -> None:
    # a and c are care, x is unknown: places 1 and 4 of 1, 2, 4
    table = category_table(places(records({("t", "gender", "man"): ["aexc"]}), 10), "care")
    one, two, four = 1.0, 1 / np.log2(3), 1 / np.log2(5)
    assert table["share"].tolist() == pytest.approx([(one + four) / (one + two + four)])
    assert table["rank"].tolist() == [2.5]


def test_exposure_and_rank_gaps_by_hand() -> None:
    lists = {
        (f"t{k}", "gender", group): samples
        for k in range(3)
        for group, samples in (("man", ["ad", "da"]), ("woman", ["de", "ed"]))
    }
    found = measured(records(lists))
    # exposure of care: 1 and 1 / log2(3) of their sum, on average one half; women's lists have none of it
    assert found["exposure_gap", "woman", "man", "care"].estimate.estimate == pytest.approx(-0.5)
    assert found["exposure_gap", "woman", "man", "rest"].estimate.estimate == pytest.approx(0.5)
    assert found["exposure_share", "man", "", "care"].estimate.estimate == pytest.approx(0.5)
    assert np.isnan(found["rank_gap", "woman", "man", "care"].estimate.estimate)
    # rest: places 2 and 1 for men, both places for women
    assert found["rank_gap", "woman", "man", "rest"].estimate.estimate == pytest.approx(0)


def test_names_of_unknown_category_are_counted_and_too_many_stop_it() -> None:
    lists = {(f"t{k}", "gender", group): ["adxyz", "daxyz"] for k in range(3) for group in ("man", "woman")}
    assert not [key for key in measured(records(lists, known="")) if key[0].startswith("exposure")]
    few = measured(records(lists))["exposure_gap", "woman", "man", "care"]
    assert few.parse_rate == pytest.approx(2 / 5)
    assert "only 40%" in few.estimate.reason
    assert np.isnan(few.estimate.estimate)
    nobody = measured(records(lists, known="x"))["exposure_gap", "woman", "man", "care"]
    assert np.isnan(nobody.estimate.estimate)
    enough = measured(records(lists), min_known=0.4)["exposure_gap", "woman", "man", "care"]
    assert enough.estimate.estimate == 0


def test_a_category_that_is_never_recommended_has_a_share_of_0() -> None:
    lists = {(f"t{k}", "gender", group): ["de", "ed"] for k in range(3) for group in ("man", "woman")}
    found = measured(records(lists))
    assert found["exposure_share", "man", "", "care"].estimate.estimate == 0
    assert found["exposure_gap", "woman", "man", "care"].estimate.estimate == 0


def drawn(rng: np.random.Generator, shift: float, n_topics: int = 30, k: int = 3) -> pd.DataFrame:
    """Lists of 6 of 12 names, drawn with probabilities of the topic; for women moved to other names by ``shift``."""
    names = list("abcdefghijkl")
    lists: dict[tuple[str, str, str], list[list[str]]] = {}
    for topic in range(n_topics):
        base = rng.dirichlet(np.full(len(names), 0.7)) + 1e-6
        for attribute, group in (("", NEUTRAL), ("gender", "man"), ("gender", "woman")):
            p = base * (1 - shift) + base[::-1] * shift if group == "woman" else base
            draws = [rng.choice(names, 6, replace=False, p=p / p.sum()) for _ in range(k)]
            lists[f"t{topic}", attribute, group] = [[str(x) for x in one] for one in draws]
    return records(lists, known="abcdefghijkl")


@pytest.mark.parametrize("name", ["jaccard", "rbo", "serp", "prag"])
def test_a_planted_difference_is_found_and_for_the_group_that_has_it(name: str) -> None:
    found = measured(drawn(np.random.default_rng(1), shift=0.6), similarities=(name,))
    for metric, group, reference in (
        (f"{name}_shift", "woman", NEUTRAL),
        (f"{name}_divergence", "woman", NEUTRAL),
        (f"{name}_divergence", "woman", "man"),
    ):
        assert found[metric, group, reference, "@10"].estimate.ci_low > 0
    assert found[f"{name}_gap", "woman", "man", "@10"].estimate.ci_high < 0
    assert found[f"{name}_range", "man / woman", "", "@10"].estimate.p_value < 0.01
    null = found[f"{name}_shift", "man", NEUTRAL, "@10"].estimate
    assert null.ci_low < 0 < null.ci_high


def test_groups_that_move_equally_far_in_two_directions_are_told_apart_by_divergence_alone() -> None:
    lists = {}
    for k in range(30):
        rng = np.random.default_rng(k)
        noise = {group: [rng.permutation(list("abcd"))[:3] for _ in range(2)] for group in (NEUTRAL, "man", "woman")}
        for group, extra in ((NEUTRAL, "ef"), ("man", "gh"), ("woman", "ij")):
            attribute = "" if group == NEUTRAL else "gender"
            lists[f"t{k}", attribute, group] = [[*map(str, one), *extra] for one in noise[group]]
    found = measured(records(lists), similarities=("jaccard",))
    gap = found["jaccard_gap", "woman", "man", "@10"].estimate
    assert gap.ci_low < 0 < gap.ci_high
    assert found["jaccard_divergence", "woman", "man", "@10"].estimate.ci_low > 0.2


def test_without_a_difference_false_alarms_are_as_rare_as_they_should_be() -> None:
    """40 audits of 25 topics at 5 %: 8 alarms or more for one number would come up in 1 series of 1,000."""
    n_audits, n_topics, people = 40, 25, [("", NEUTRAL), ("gender", "man"), ("gender", "woman")]
    table = similarity_table(drawn(np.random.default_rng(3), shift=0, n_topics=n_audits * n_topics, k=2), "jaccard")
    wide = table.pivot(index=["topic", "wording"], columns=["a", "b"], values="similarity").loc[
        [(f"t{k}", "self") for k in range(n_audits * n_topics)]
    ]
    neutral, man, woman = people
    numbers = {
        "shift": wide[neutral, neutral] - wide[woman, neutral],
        "gap": wide[woman, neutral] - wide[man, neutral],
        "divergence": (wide[woman, woman] + wide[man, man]) / 2 - wide[woman, man],
    }
    assert stats.binom.sf(7, n_audits, 0.05) < 0.001
    for values in numbers.values():
        audits = [values.iloc[k * n_topics : (k + 1) * n_topics] for k in range(n_audits)]
        intervals = [mean_over_units(one, 0.05) for one in audits]
        assert sum(not e.ci_low <= 0 <= e.ci_high for e in intervals) <= 7


def test_one_minus_similarity_would_be_an_alarm_without_any_difference() -> None:
    found = measured(drawn(np.random.default_rng(4), shift=0), similarities=("jaccard",))
    level = found["jaccard_to_neutral", "woman", NEUTRAL, "@10"].estimate
    assert level.ci_high < 0.9  # nobody was treated differently, yet the lists are far from equal
    assert np.isnan(level.p_value)
    floor = found["jaccard_within_neutral", NEUTRAL, "", "@10"].estimate
    assert floor.estimate == pytest.approx(level.estimate, abs=0.05)


def test_wordings_of_one_topic_are_one_cluster() -> None:
    table = drawn(np.random.default_rng(6), shift=0.3)
    twice = pd.concat([table, table.assign(wording="kin")])
    one = measured(table, similarities=("rbo",))["rbo_gap", "woman", "man", "@10"].estimate
    both = measured(twice, similarities=("rbo",))["rbo_gap", "woman", "man", "@10"].estimate
    assert (both.n, both.n_clusters) == (2 * one.n, one.n_clusters)
    # copies tell nothing new
    assert (both.ci_low, both.ci_high) == pytest.approx((one.ci_low, one.ci_high))


def test_answers_without_a_list_are_left_out_and_counted() -> None:
    table = drawn(np.random.default_rng(7), shift=0)
    bad = (table["topic"] == "t0") & (table["group"] == NEUTRAL)
    table.loc[bad, ["parsed", "titles", "categories"]] = [False, "[]", "[]"]
    table.loc[bad.idxmax(), "refused"] = True
    found = measured(table, similarities=("jaccard",))
    one = found["jaccard_shift", "woman", NEUTRAL, "@10"]
    assert one.estimate.n == 29
    assert one.parse_rate == pytest.approx(1 - 3 / 180)
    assert one.refusal_rate == pytest.approx(1 / 180)


def test_where_no_list_was_read_nothing_is_estimated() -> None:
    table = drawn(np.random.default_rng(8), shift=0, n_topics=3)
    found = measured(table.assign(parsed=False, titles="[]", categories="[]"), similarities=("jaccard",))
    assert all(np.isnan(m.estimate.estimate) and m.estimate.reason for m in found.values())
    assert all(m.parse_rate == 0 for m in found.values() if m.metric.startswith("jaccard"))


def test_another_reference_turns_the_gap() -> None:
    table = drawn(np.random.default_rng(9), shift=0.5)
    usual = measured(table, similarities=("jaccard",))["jaccard_gap", "woman", "man", "@10"].estimate
    turned = measured(table, similarities=("jaccard",), references={"gender": "woman"})
    e = turned["jaccard_gap", "man", "woman", "@10"].estimate
    assert (e.estimate, e.ci_low) == pytest.approx((-usual.estimate, -usual.ci_high))


def test_faults() -> None:
    table = drawn(np.random.default_rng(0), shift=0, n_topics=2)
    with pytest.raises(SettingsError, match="similarity is 'cosine'; allowed: jaccard, rbo, serp, prag"):
        Comparing(similarities=("cosine",))
    with pytest.raises(SettingsError, match=r"references has gender = 'child'; allowed: gender: man / woman"):
        measured(table, references={"gender": "child"})
    with pytest.raises(ColumnError, match="'titles'"):
        measured(table.drop(columns="titles"))
    assert set(similarity_table(table, "rbo").columns) == {"topic", "wording", "a", "b", "similarity"}


@pytest.mark.parametrize("catalogue", [15, 300])
def test_lists_from_another_world_are_a_whole_shift_however_little_neutral_lists_share(catalogue: int) -> None:
    """Of 300 names ten at random: neutral lists have a Jaccard index of .0175, so that no shift can reach .05."""
    rng = np.random.default_rng(1)

    def drawn_from(first: int) -> list[list[str]]:
        return [[str(first + k) for k in rng.choice(catalogue, 10, replace=False)] for _ in range(3)]

    lists = {}
    for topic in range(40):
        lists |= {
            (f"t{topic}", "", NEUTRAL): drawn_from(0),
            (f"t{topic}", "gender", "man"): drawn_from(0),
            (f"t{topic}", "gender", "woman"): drawn_from(1000),
        }
    found = measured(records(lists), similarities=("jaccard",))
    woman = found["jaccard_relative_shift", "woman", NEUTRAL, "@10"].estimate
    assert woman.estimate == woman.ci_high == 1
    assert woman.ci_low > 0.5
    assert woman.p_value < 1e-6
    man = found["jaccard_relative_shift", "man", NEUTRAL, "@10"].estimate
    assert man.ci_low < 0 < man.ci_high
    assert (found["jaccard_shift", "woman", NEUTRAL, "@10"].estimate.ci_high < 0.05) == (catalogue == 300)


def test_of_lists_with_nothing_in_common_no_share_can_be_lost() -> None:
    lists = {(f"t{k}", group and "gender", group or NEUTRAL): ["ab", "cd"] for k in range(5) for group in ("", "man")}
    e = measured(records(lists), similarities=("jaccard",))["jaccard_relative_shift", "man", NEUTRAL, "@10"].estimate
    assert np.isnan(e.estimate)
    assert "next to nothing in common" in e.reason
