"""Population margins and raking, against the published worked table and the laws of IPF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.population import Population, rake
from rlhf_fair.errors import InfeasibleError, SettingsError

SEED = np.array([[40, 30, 20, 10], [35, 50, 100, 75], [30, 80, 70, 120], [20, 30, 40, 50]])
ROWS, COLUMNS = [150, 300, 400, 150], [200, 300, 400, 100]


def test_rake_gives_the_published_table() -> None:
    raked = rake(SEED, [((0,), ROWS), ((1,), COLUMNS)])
    np.testing.assert_allclose(raked.table[0], [64.5585, 46.2325, 35.3843, 3.8247], atol=5e-5)
    np.testing.assert_allclose(raked.table.sum(axis=1), ROWS, rtol=1e-8)
    np.testing.assert_allclose(raked.table.sum(axis=0), COLUMNS, rtol=1e-8)


def test_rake_preserves_odds_ratios_and_does_not_depend_on_margin_order() -> None:
    table = rake(SEED, [((0,), ROWS), ((1,), COLUMNS)]).table
    odds = SEED[:-1, :-1] * SEED[1:, 1:] / (SEED[:-1, 1:] * SEED[1:, :-1])
    np.testing.assert_allclose(table[:-1, :-1] * table[1:, 1:] / (table[:-1, 1:] * table[1:, :-1]), odds, rtol=1e-9)
    np.testing.assert_allclose(rake(SEED, [((1,), COLUMNS), ((0,), ROWS)]).table, table, rtol=1e-7)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_rake_meets_crossed_margins_in_any_axis_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(24)).reshape(2, 3, 4)
    margins = [((2, 0), truth.sum(axis=1).T), ((1,), truth.sum(axis=(0, 2))), ((0, 1), truth.sum(axis=2))]
    raked = rake(rng.uniform(0.5, 2, (2, 3, 4)), margins, tolerance=1e-9)
    np.testing.assert_allclose(raked.table.sum(axis=1).T, margins[0][1], atol=1e-6)
    np.testing.assert_allclose(raked.table.sum(axis=2), margins[2][1], atol=1e-6)


def test_rake_refuses_what_cannot_be() -> None:
    with pytest.raises(InfeasibleError, match="empty in the seed"):
        rake([[0, 0], [1, 1]], [((0,), [0.5, 0.5])])
    with pytest.raises(InfeasibleError, match="contradict"):
        rake([[1, 0], [0, 1]], [((0,), [0.5, 0.5]), ((1,), [0.9, 0.1])])


TOML = """
[margins.gender]
woman = 51
man = 49
[margins."gender*age"]
woman = { young = 20, old = 31 }
man = { young = 25, old = 24 }
"""
CSV = "attr.gender,attr.age,count\nwoman,,51\nman,,49\nwoman,young,20\nwoman,old,31\nman,young,25\nman,old,24\n"


@pytest.mark.parametrize(("name", "text"), [("p.toml", TOML), ("p.csv", CSV)])
def test_read_population_from_toml_or_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    people = Population.read(tmp_path / name)
    assert people.attributes == ("gender", "age")
    assert [margin.name for margin in people.margins] == ["gender", "gender*age"]
    assert people.joint()["man", "young"] == pytest.approx(0.25)
    assert people.joint().sum() == pytest.approx(1)


def test_joint_keeps_the_association_of_its_seed() -> None:
    people = Population.from_shares({"x": {"0": 1, "1": 1}, "y": {"0": 1, "1": 1}})
    index = pd.MultiIndex.from_product([["0", "1"], ["0", "1"]])
    joint = people.joint(pd.Series([9, 1, 1, 9], index=index))
    np.testing.assert_allclose(joint, [0.45, 0.05, 0.05, 0.45])  # odds ratio 81 kept, margins halves


@pytest.mark.parametrize(
    ("margins", "says"),
    [
        ({}, "no margins"),
        ({"g": {"a": -1}}, "a = -1; allowed: a number from 0 to 1e"),
        ({"g": {"a": "many"}}, "'many'"),
        ({"g": {"a": 0}}, "sums to 0"),
        ({"g*g": {"a": {"a": 1}}}, "distinct"),
        ({"g*h": {"a": 1}}, "does not name"),
        ({"g": {"a": 0.9, "b": 0.1}, "g*h": {"a": {"x": 1}, "b": {"x": 1}}}, "disagree on g=a: 0.900 and 0.500"),
    ],
)
def test_bad_margins_are_one_clear_error(margins: dict[str, dict[str, object]], says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("*", r"\*")):
        Population.from_shares(margins)
