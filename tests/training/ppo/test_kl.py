from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlhf_fair.training.ppo.kl import AdaptiveKL, FixedKL
from rlhf_fair.training.ppo.settings import PPOSettings


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.15),  # on target
        (6.6, 0.1515),  # 10 % above: .15 * (1 + .1 * 1000 / 10000)
        (5.4, 0.1485),  # 10 % below
        (60.0, 0.153),  # ten times the target counts as 20 % above: .15 * 1.02
        (0.0, 0.147),  # no divergence counts as 20 % below: .15 * .98
        (-3.0, 0.147),  # a k1 estimate may be negative
    ],
)
def test_the_price_follows_the_target_by_hand(kl: float, expected: float) -> None:
    price = AdaptiveKL(0.15, target=6.0, horizon=10_000)
    price.update(kl, 1_000)
    assert price.coefficient == pytest.approx(expected, rel=1e-12)


def test_two_small_steps_multiply() -> None:
    price = AdaptiveKL(0.15, target=6.0, horizon=10_000)
    price.update(12.0, 500)
    price.update(12.0, 500)
    assert price.coefficient == pytest.approx(0.15 * 1.01 * 1.01)  # 1 + .2 * 500 / 10000, twice


def test_a_fixed_price_stays() -> None:
    price = FixedKL(0.05)
    price.update(100.0, 10_000)
    assert price.coefficient == 0.05


def test_state_goes_through_a_dict() -> None:
    price, other = AdaptiveKL(0.15, target=6.0, horizon=10_000), AdaptiveKL(0.15, target=6.0, horizon=10_000)
    price.update(12.0, 1_000)
    other.load_state_dict(price.state_dict())
    assert other.coefficient == price.coefficient != 0.15


def test_an_adaptive_price_cannot_start_at_zero_nor_jump() -> None:
    with pytest.raises(ValidationError, match="start above 0"):
        PPOSettings(kl_coef=0.0, kl_target=6.0)
    with pytest.raises(ValidationError, match="kl_horizon"):
        PPOSettings(kl_target=6.0, kl_horizon=10)
