from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.probes.reward_dialect import (
    AAE,
    SAE,
    WRITTEN_OUT,
    dialect_gap_at_equal_length,
    dialect_gaps,
    dialect_items,
)

PAIRS = pd.DataFrame(
    {
        "item_id": ["0", "1", "2"],
        "verb": ["be singing"] * 3,
        "aae": ["he be singing", "she be singing", "they be singing"],
        "sae": ["he's usually singing", "she's usually singing", "they're usually singing"],
    }
)


def test_items_and_their_control() -> None:
    items = dialect_items(PAIRS)
    dialect, control = (items[items["attribute"] == name] for name in ("dialect", WRITTEN_OUT))
    assert dialect["text"].tolist() == PAIRS["aae"].tolist()
    assert control["text"].tolist() == ["he is usually singing", "she is usually singing", "they are usually singing"]
    assert control["base_text"].tolist() == PAIRS["sae"].tolist()
    assert items["item_id"].is_unique


def scored(rng: np.random.Generator, *, price: float, per_character: float) -> pd.DataFrame:
    """60 verbs of three pronouns; AAE is 7 characters shorter."""
    length = np.repeat(rng.integers(15, 30, 60), 3) + np.tile([2, 3, 4], 60)
    verb = np.repeat([f"v{k}" for k in range(60)], 3)
    base = per_character * length + rng.normal(0, 0.1, 180)
    reward = per_character * (length - 7) + price + rng.normal(0, 0.1, 180)
    table = pd.DataFrame(
        {"verb": verb, "reward": reward, "base_reward": base, "length": length - 7, "base_length": length}
    )
    table["gap"] = (reward - base) / 0.5
    return table.assign(attribute="dialect", group=AAE, reference=SAE)


def test_a_planted_price_is_recovered_and_that_of_length_taken_out() -> None:
    table = scored(np.random.default_rng(0), price=-0.3, per_character=0.04)
    (raw,) = dialect_gaps(table, alpha=0.05, power=0.8)
    # (-.3 - 7 * .04) / .5 = -1.16 as it is, -.3 / .5 = -.6 at one length
    assert raw.estimate.ci_low < -1.16 < raw.estimate.ci_high
    left = dialect_gap_at_equal_length(table, 0.5, alpha=0.05, power=0.8)
    assert left.ci_low < -0.6 < left.ci_high
    # AAE has 10 to 26 characters here, SAE 17 to 33: no line is drawn beyond what both have
    in_both = table["length"].between(17, 26).sum() + table["base_length"].between(17, 26).sum()
    assert left.n == in_both
    assert "17 to 26 characters" in left.reason


def test_a_dialect_that_is_not_priced_shows_nothing() -> None:
    table = scored(np.random.default_rng(1), price=0, per_character=0)
    (raw,) = dialect_gaps(table, alpha=0.05, power=0.8)
    assert raw.estimate.ci_low < 0 < raw.estimate.ci_high
    left = dialect_gap_at_equal_length(table, 0.5, alpha=0.05, power=0.8)
    assert left.ci_low < 0 < left.ci_high
    assert raw.estimate.estimate == pytest.approx(left.estimate, abs=0.2)


def test_lengths_that_only_one_dialect_has_are_no_ground_for_a_gap_at_equal_length() -> None:
    table = scored(np.random.default_rng(2), price=-0.3, per_character=0.04)
    table["length"] -= 12  # AAE now ends at 14 characters, SAE starts at 17
    left = dialect_gap_at_equal_length(table, 0.5, alpha=0.05, power=0.8)
    assert np.isnan(left.estimate)
    assert "0 verbs of a common length; at least 10 needed" in left.reason
    assert f"{AAE} -2 to 14; {SAE} 17 to 33" in left.reason
