"""Krippendorff's α against his published example, a real crowd, and its laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.agreement import Level, krippendorff_alpha
from rlhf_fair.tables import read_table

NAN = float("nan")
CANONICAL = np.array(  # four observers, twelve units: Krippendorff 2011, example D
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
UNITS = np.tile(np.arange(12), 4)
POPQUORN = Path(__file__).parents[3] / "shared/data/popquorn/offensiveness/raw_data.csv.gz"


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491), ("ratio", 0.7974)]
)
def test_canonical_table(level: Level, alpha: float) -> None:
    found = krippendorff_alpha(UNITS, CANONICAL.ravel(), level=level)
    assert found.alpha == pytest.approx(alpha, abs=5e-5)
    assert (found.n_units, found.n_ratings, found.n_alone) == (11, 40, 1)


@pytest.mark.skipif(not POPQUORN.exists(), reason="data set not at hand")
@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.1339), ("ordinal", 0.2865), ("interval", 0.2872)])
def test_popquorn_offensiveness(level: Level, alpha: float) -> None:
    table = read_table(POPQUORN)
    assert len(table) == 13_036
    found = krippendorff_alpha(table["instance_id"], table["offensiveness"], level=level)
    assert found.alpha == pytest.approx(alpha, abs=5e-5)


def test_two_raters_by_hand() -> None:
    # units aa, bb, ab: of 6 ratings 2 disagree, D_o = 2/6; 3 a and 3 b: D_e = 2*9/(6*5) = .6; alpha = 1 - (1/3)/.6
    found = krippendorff_alpha([1, 1, 2, 2, 3, 3], list("aabbab"), level="nominal")
    assert found.alpha == pytest.approx(4 / 9)


def test_what_cannot_be_estimated_is_nan_with_a_reason() -> None:
    assert krippendorff_alpha([1, 2, 3], [1, 1, 2], level="nominal").reason == "no unit has two ratings"
    same = krippendorff_alpha([1, 1, 2, 2], [3, 3, 3, 3], level="interval")
    assert np.isnan(same.alpha)
    assert "same value" in same.reason
    with pytest.raises(SettingsError, match="'interval' needs numbers, found 'a'"):
        krippendorff_alpha([1, 1], ["a", "b"], level="interval")
    with pytest.raises(SettingsError, match="ratio"):
        krippendorff_alpha([1, 1], [-1, 1], level="ratio")


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_laws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, values = rng.integers(0, 8, 40), rng.integers(1, 5, 40)

    def alpha(values: np.ndarray, level: Level) -> float:
        return krippendorff_alpha(units, values, level=level).alpha

    assert alpha(values, "nominal") == pytest.approx(alpha(np.array([0, 7, 2, 9, 1])[values], "nominal"))  # renaming
    assert alpha(values, "ordinal") == pytest.approx(alpha(values**3, "ordinal"))  # monotone
    assert alpha(values, "interval") == pytest.approx(alpha(10 - 3 * values, "interval"))  # affine
    assert alpha(values, "ratio") == pytest.approx(alpha(7 * values, "ratio"))  # scale
    assert alpha(values, "nominal") <= 1


def test_random_ratings_agree_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    found = krippendorff_alpha(np.repeat(np.arange(4000), 3), rng.integers(0, 3, 12_000), level="nominal")
    assert found.alpha == pytest.approx(0, abs=0.03)
