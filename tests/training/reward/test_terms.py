from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.training.reward.counterfactual import CounterfactualConsistency
from rlhf_fair.training.reward.gap_constraint import GapConstraint
from rlhf_fair.training.reward.gradient_reversal import GradientReversal, reversal_scale
from rlhf_fair.training.reward.terms import Step

CPU = torch.device("cpu")


def tokens(texts: Sequence[str]) -> list[list[int]]:
    return [[ord(letter) for letter in text] for text in texts]


def step(
    rewards: dict[str, float] | None = None,
    *,
    shift: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    progress: float = 1.0,
) -> Step:
    """A step of a model whose reward of a text is looked up; ``shift`` is added to texts that begin with "x"."""

    def score(batch: Sequence[Sequence[int]]) -> torch.Tensor:
        texts = ["".join(map(chr, row)) for row in batch]
        known = torch.tensor([(rewards or {})[text] for text in texts])
        moved = torch.tensor([float(text.startswith("x")) for text in texts])
        return (known + moved * (0 if shift is None else shift))[:, None]

    return Step(
        outputs=torch.zeros(1, 2, 1, requires_grad=True),
        features=features,
        rows=torch.arange(2) if rows is None else rows,
        score=score,
        rng=np.random.default_rng(0),
        progress=progress,
        across=lambda values: values,
    )


def test_consistency_is_the_mean_square_of_the_differences() -> None:
    term = CounterfactualConsistency([("xa", "a"), ("xb", "b")], strength=0.5, batch_size=2)
    term.prepare(tokens, 1, CPU)
    found = term.loss(step({"xa": 1.0, "a": 0.0, "xb": 5.0, "b": 2.0}))
    assert float(found) == pytest.approx(0.5 * (1 + 9) / 2)
    assert term.metrics()["counterfactual_rms"] == pytest.approx(math.sqrt(5))


def test_consistency_draws_every_pair_equally_often() -> None:
    term = CounterfactualConsistency([(f"x{k}", str(k)) for k in range(10)], strength=1.0, batch_size=3)
    term.prepare(tokens, 1, CPU)
    # the reward of x0 alone differs, by 1: the expected loss is a tenth
    rewards = {f"x{k}": float(k == 0) for k in range(10)} | {str(k): 0.0 for k in range(10)}
    one = step(rewards)
    losses = [float(term.loss(one)) for _ in range(2000)]  # the stream goes on from call to call
    assert np.mean(losses) == pytest.approx(0.1, abs=4 * np.std(losses) / math.sqrt(2000))


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(RowError, match="no text names an identity"):
        CounterfactualConsistency([], strength=1.0)


def test_reversal_turns_the_gradient_for_the_features_and_not_for_the_adversary() -> None:
    features = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    groups, rows = np.array([0, 1, 0, 1]), torch.arange(4)
    term = GradientReversal(groups, ("x", "y"), strength=2.0, hidden=5)
    term.prepare(tokens, 3, CPU)
    loss = term.loss(step(features=features, rows=rows, progress=1.0))
    turned = torch.autograd.grad(loss, [features, *term.parameters()])

    network = term.parameters()
    hidden = torch.relu(features[0] @ network[0].T + network[1])
    plain = torch.nn.functional.cross_entropy(hidden @ network[2].T + network[3], torch.tensor(groups))
    straight = torch.autograd.grad(plain, [features, *network])
    assert float(loss.detach()) == pytest.approx(float(plain.detach()))
    assert torch.allclose(turned[0], -2.0 * reversal_scale(1.0) * straight[0], atol=1e-6)
    for mine, theirs in zip(turned[1:], straight[1:], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_features_lose_the_group_and_keep_the_rest() -> None:
    """Two numbers: the first is the group, the second something else. A linear map is trained against the adversary."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, 400)
    x = torch.tensor(np.stack([2.0 * groups - 1, rng.standard_normal(400)], axis=1), dtype=torch.float32)
    term = GradientReversal(groups, ("x", "y"), strength=1.0, hidden=8)
    term.prepare(tokens, 2, CPU)
    torch.manual_seed(0)
    trunk = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam([*trunk.parameters(), *term.parameters()], lr=0.02)
    for _ in range(400):
        features = trunk(x)
        kept = (features[:, 0] - x[:, 1]).square().mean()  # the task: know the second number
        loss = kept + term.loss(step(features=features[None], rows=torch.arange(400)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert term.metrics()["adversary_loss"] > 0.65  # ln 2 = .693: a coin
    assert float(kept.detach()) < 0.05


def test_unknown_rows_are_not_shown_to_the_adversary() -> None:
    term = GradientReversal(np.array([0, 1, -1, -1]), ("x", "y"), strength=1.0)
    term.prepare(tokens, 2, CPU)
    features = torch.randn(1, 2, 2).requires_grad_()
    loss = term.loss(step(features=features, rows=torch.tensor([2, 3])))
    assert float(loss.detach()) == 0.0
    with pytest.raises(SettingsError, match="each with rows"):
        GradientReversal(np.array([0, 0]), ("x", "y"), strength=1.0)


def test_multiplier_by_hand() -> None:
    term = GapConstraint({"x": [("xa", "a")]}, tolerance=0.5, rate=0.1, memory=0.0)
    term.prepare(tokens, 1, CPU)
    one = step({"xa": 2.0, "a": 0.0})
    assert float(term.loss(one).detach()) == 0.0  # the multiplier starts at 0
    term.after_step()
    assert term.multipliers["x"] == pytest.approx(0.15)  # .1 x (2 - .5)
    assert float(term.loss(one).detach()) == pytest.approx(0.3)  # .15 x 2
    term.loss(step({"xa": 0.2, "a": 0.0}))
    term.after_step()
    assert term.multipliers["x"] == pytest.approx(0.10)  # within: back by .1 x .5
    term.loss(step({"xa": -1.5, "a": 0.0}))
    term.after_step()
    assert term.multipliers["x"] == pytest.approx(0.0)  # .1 x (-1.5 + .5) on top


def test_the_constraint_is_met_and_no_more() -> None:
    """A model that wants a gap of 2 and can move it freely ends at the tolerance."""
    term = GapConstraint({"x": [("xa", "a")]}, tolerance=0.5, rate=0.05, memory=0.5)
    term.prepare(tokens, 1, CPU)
    shift = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([shift], lr=0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        loss = (shift - 2).square().sum() + term.loss(step({"xa": 0.0, "a": 0.0}, shift=shift))
        loss.backward()
        optimizer.step()
        term.after_step()
    assert float(shift.detach()) == pytest.approx(0.5, abs=0.02)
    # at the optimum the pull of the task, 2 (2 - .5), is the multiplier
    assert term.multipliers["x"] == pytest.approx(3.0, abs=0.1)
