from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from upstream import DATA, needs

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.requests import Likelihood, LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.holistic_bias import (
    Cell,
    Descriptor,
    HolisticBias,
    Noun,
    Template,
    load_holistic_bias,
    sample_cells,
)
from rlhf_fair.probes.holistic_bias_likelihood import (
    descriptor_gap,
    likelihood_bias,
    likelihood_items,
    likelihood_measured,
    likelihood_records,
    likelihood_requests,
    read_likelihood_predictions,
)


def descriptor(name: str, gender: str = "", axis: str = "ability") -> Descriptor:
    return Descriptor(axis, "b", name, f"a {name} {{noun}}", f"{name} {{noun}}", gender=gender)


def world(n_templates: int, n_nouns: int, *descriptors: Descriptor) -> tuple[HolisticBias, list[Cell]]:
    nouns = tuple(Noun(f"n{k}", f"n{k}s", "female" if k % 2 else "neutral") for k in range(n_nouns))
    templates = tuple(Template(f"t{k} {{noun_phrase}}.") for k in range(n_templates))
    data = HolisticBias(descriptors, nouns, templates, 0)
    return data, [Cell(template, noun) for template in templates for noun in nouns]


def answers(log_perplexity: np.ndarray) -> list[Likelihood | None]:
    return [None if np.isnan(x) else Likelihood(float(-4 * x), 4) for x in log_perplexity]


@needs("holistic-bias")
def test_upstream_counts() -> None:
    data = load_holistic_bias(DATA / "holistic-bias" / "v1.1")
    assert (len(data.axes), len(data.templates), len(data.nouns)) == (13, 26, 32)
    assert sum(d.bucket != "standalone" for d in data.descriptors) == 583
    cells = sample_cells(data.templates, data.nouns, 4, seed=0)
    items = likelihood_items(data, cells)
    fits = sum(d.fits(cell.noun) for d in data.descriptors for cell in cells)
    assert len(items) == items["item_id"].nunique() == fits
    assert not items.duplicated(["axis", "descriptor", "template", "noun"]).any()


def test_items_and_requests() -> None:
    data, cells = world(1, 2, descriptor("deaf"), descriptor("old", axis="age"), descriptor("boyish", "male"))
    items = likelihood_items(data, cells)
    assert items["descriptor"].tolist() == ["deaf", "deaf", "old", "old", "boyish"]  # no boyish female noun
    assert likelihood_items(data, cells, axes=["age"])["descriptor"].unique().tolist() == ["old"]
    assert likelihood_items(data, cells, preferences=["reviewed"]).empty
    with pytest.raises(SettingsError, match="allowed: ability, age"):
        likelihood_items(data, cells, axes=["height"])
    id = "ability/b/deaf/t0 {noun_phrase}./n0"
    assert likelihood_requests(items)[0] == LogLikelihood(f"holistic_bias/sentence/{id}", "", "t0 a deaf n0.")
    assert likelihood_requests(items, "masked_shared")[0] == PseudoLogLikelihood(
        f"holistic_bias/masked_shared/{id}", "t0 a deaf n0.", "t0 a n0.", "shared"
    )
    with pytest.raises(SettingsError, match="allowed: sentence, masked_shared, causal_shared"):
        likelihood_requests(items, "all")  # type: ignore[arg-type]


def test_deviations_by_hand() -> None:
    # two cells; a: 1, 4; b: 3, missing. Cell means 2 and 4: a −1, and in the second cell a is alone
    data, cells = world(2, 1, descriptor("a"), descriptor("b"))
    records = likelihood_records(likelihood_items(data, cells), answers(np.array([1, 4, 3, np.nan])))
    assert np.array_equal(records["deviation"], [-1, np.nan, 1, np.nan], equal_nan=True)
    assert records["problem"].tolist() == ["", "", "", "missing"]
    by_name = {m.group: m for m in likelihood_measured(records)}
    assert (by_name["a"].estimate.estimate, by_name["a"].estimate.n_left_out) == (-1, 1)
    assert (by_name["a"].parse_rate, by_name["b"].parse_rate, by_name["all"].parse_rate) == (1, 0.5, 0.75)
    assert "no two descriptors with 4 nouns" in by_name["all"].estimate.reason
    with pytest.raises(RowError, match="1 answers to 4 requests"):
        likelihood_records(likelihood_items(data, cells), [None])


def test_the_likelihood_bias_counts_mann_whitney_tests() -> None:
    # three descriptors, 6 nouns, 5 templates, some answers missing: against scipy's test, pair by pair
    data, cells = world(5, 6, descriptor("a"), descriptor("b"), descriptor("c"))
    items = likelihood_items(data, cells)
    draw = np.random.default_rng(2)
    values = draw.normal(3, 1, len(items)) + 1.5 * (items["descriptor"] == "c").to_numpy()
    values[[4, 40]] = np.nan
    records = likelihood_records(items, answers(values))
    hits = []
    for template in records["template"].unique():
        one = {
            d: g["log_perplexity"].dropna() for d, g in records[records["template"] == template].groupby("descriptor")
        }
        hits += [mannwhitneyu(one[x], one[y]).pvalue < 0.05 for x, y in ("ab", "ac", "bc")]
    e = likelihood_bias(records)
    assert 0 < sum(hits) < 15
    assert (e.estimate, e.n, e.n_clusters) == (pytest.approx(np.mean(hits)), 15, 5)
    excess = likelihood_measured(records)[0]
    assert (excess.metric, excess.estimate.estimate) == ("likelihood_bias_excess", pytest.approx(e.estimate - 0.05))


def test_a_gap_is_paired_by_cell() -> None:
    # cells differ wildly, b is always .5 above a
    data, cells = world(6, 4, descriptor("a"), descriptor("b"))
    items = likelihood_items(data, cells)
    level = np.random.default_rng(0).normal(4, 3, len(cells))
    wobble = np.random.default_rng(1).normal(0, 0.05, len(cells))
    e = descriptor_gap(likelihood_records(items, answers(np.r_[level, level + 0.5 + wobble])), "b", "a")
    assert e.estimate == pytest.approx(0.5 + wobble.mean())
    assert 0.4 < e.ci_low < 0.5 < e.ci_high < 0.6
    assert (e.n, e.n_clusters) == (24, 4)
    with pytest.raises(SettingsError, match="'z' is not among these records"):
        descriptor_gap(likelihood_records(items, [None] * 48), "z", "a")


def test_a_prediction_file_gives_the_same_records() -> None:
    data, cells = world(1, 2, descriptor("a"))
    items = likelihood_items(data, cells)
    file = pd.DataFrame({"id": [r.id for r in likelihood_requests(items)], "total": [-8.0, -4.0], "n_tokens": 4})
    direct = likelihood_records(items, answers(np.array([2.0, 1.0])))
    pd.testing.assert_frame_equal(read_likelihood_predictions(items, file[::-1]), direct)
    assert read_likelihood_predictions(items, file[:1])["problem"].tolist() == ["", "missing"]


def test_a_planted_descriptor_is_found_and_the_others_are_not() -> None:
    names = "abcdef"
    data, cells = world(20, 8, *map(descriptor, names))
    items = likelihood_items(data, cells)
    draw = np.random.default_rng(6)
    cell = pd.factorize(items["template"] + items["noun"])[0]
    values = draw.normal(4, 1, len(cells))[cell] + draw.normal(0, 0.2, len(items))
    values += 0.6 * (items["descriptor"] == "f").to_numpy()
    by_name = {m.group: m.estimate for m in likelihood_measured(likelihood_records(items, answers(values)))}
    # f lies .6 above the others, so .5 above the mean of six; the others .1 below it
    assert by_name["f"].ci_low < 0.5 < by_name["f"].ci_high
    assert by_name["f"].p_value < 1e-6
    assert all(by_name[name].ci_low < -0.1 < by_name[name].ci_high for name in "abcde")


def test_without_differences_no_more_pairs_differ_than_chance_allows() -> None:
    data, cells = world(26, 12, *map(descriptor, "abcdefgh"))
    items = likelihood_items(data, cells)
    values = np.random.default_rng(3).normal(4, 1, len(items))
    e = likelihood_bias(likelihood_records(items, answers(values)))
    assert e.ci_low < 0.05 < e.ci_high
