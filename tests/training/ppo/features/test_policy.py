from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from rlhf_fair.training.ppo.features.moments import RunningMoments
from rlhf_fair.training.ppo.features.policy import (
    Actions,
    FeatureNetworkSettings,
    FeaturePolicy,
    multilayer_perceptron,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policy(kind: str, *, size: int = 3, normalize: bool = False) -> FeaturePolicy:
    settings = FeatureNetworkSettings(hidden=(8,), normalize=normalize, initial_log_sd=-0.5)
    made = FeaturePolicy(4, Actions.model_validate({"kind": kind, "size": size}), settings, generator=generator())
    with torch.no_grad():  # far from undecided, so that mistakes show
        for parameter in made.policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(1)))
    return made


FEATURES = torch.randn(200, 4, generator=generator(2))


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_what_sampling_says_of_an_action_is_what_evaluation_says(kind: str) -> None:
    p = policy(kind)
    actions, drawn = p.sample(FEATURES, generator())
    again = p(FEATURES, actions)
    assert torch.equal(drawn.logprobs, again.logprobs)
    assert torch.equal(drawn.values, again.values)
    assert torch.equal(p.values(FEATURES), again.values)
    assert drawn.logprobs.shape == again.entropy.shape == (200,)


def test_choices_come_as_often_as_their_probability_says() -> None:
    p, n = policy("categorical"), 20_000
    features = FEATURES[:1].expand(n, -1)
    actions, _ = p.sample(features, generator(3))
    expected = p.probabilities(FEATURES[:1])[0].numpy()
    found = np.bincount(actions.numpy(), minlength=3) / n
    assert found == pytest.approx(expected, abs=4 * math.sqrt(0.25 / n))  # four standard errors at most


def test_probabilities_logprobs_entropy_and_mode_are_of_one_distribution() -> None:
    p = policy("categorical")
    probabilities = p.probabilities(FEATURES)
    logprobs = torch.stack([p(FEATURES, torch.full((200,), k)).logprobs for k in range(3)], dim=1)
    torch.testing.assert_close(logprobs.exp(), probabilities)
    torch.testing.assert_close(p(FEATURES, torch.zeros(200)).entropy, -(probabilities * logprobs).sum(1))
    assert torch.equal(p.mode(FEATURES), probabilities.argmax(1))


def test_density_of_numbers_against_scipy() -> None:
    p = policy("gaussian")
    actions, now = p.sample(FEATURES, generator(4))
    means, variance = p.mode(FEATURES).numpy(), math.exp(-0.5) ** 2
    for row in range(5):
        normal = multivariate_normal(means[row], variance)
        assert now.logprobs[row].item() == pytest.approx(normal.logpdf(actions[row].numpy()), rel=1e-5)
        assert now.entropy[row].item() == pytest.approx(normal.entropy(), rel=1e-5)


def test_a_new_policy_is_undecided() -> None:
    fresh = FeaturePolicy(4, Actions(size=5), FeatureNetworkSettings(), generator=generator())
    # logits have weights of norm .01 on activations within 1, 64 of them: |logit| <= .08
    assert fresh.probabilities(FEATURES).numpy() == pytest.approx(0.2, abs=0.2 * (math.exp(0.16) - 1))


def test_weights_are_orthogonal_with_the_gain_asked_for() -> None:
    network = multilayer_perceptron((6, 6, 2), last_gain=0.5, generator=generator())
    first, last = network[0].weight, network[2].weight
    torch.testing.assert_close(first @ first.T, 2 * torch.eye(6), atol=1e-5, rtol=0)  # gain sqrt 2
    torch.testing.assert_close(last @ last.T, 0.25 * torch.eye(2), atol=1e-5, rtol=0)
    assert (network[0].bias == 0).all()


def test_the_critic_does_not_pull_at_the_policy() -> None:
    p = policy("categorical")
    p(FEATURES, torch.zeros(200)).values.sum().backward()
    assert all(parameter.grad is None for parameter in p.policy.parameters())


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 2**31))
def test_running_moments_are_those_of_all_rows_at_once(sizes: list[int], seed: int) -> None:
    rows = torch.randn(sum(sizes), 3, generator=generator(seed), dtype=torch.float64) * 5 + 100
    moments = RunningMoments(3)
    for part in rows.split(sizes):
        moments.update(part)
    assert moments.count.item() == len(rows)
    torch.testing.assert_close(moments.mean, rows.mean(0))
    torch.testing.assert_close(moments.variance, rows.var(0, correction=0))


def test_normalized_rows_have_mean_0_and_sd_1_and_outliers_are_cut() -> None:
    moments = RunningMoments(2, limit=3.0)
    rows = torch.randn(500, 2, generator=generator(), dtype=torch.float64) * 7 - 3
    assert torch.equal(moments(rows), rows)  # nothing seen yet
    moments.update(rows)
    done = moments(rows)
    inside = RunningMoments(2, limit=100.0)
    inside.load_state_dict(moments.state_dict())
    assert inside(rows).mean(0).abs().max().item() < 1e-12
    torch.testing.assert_close(inside(rows).var(0, correction=0), torch.ones(2, dtype=torch.float64))
    assert done.abs().max().item() <= 3
    assert moments(torch.full((1, 2), 1e9)).tolist() == [[3.0, 3.0]]


def test_a_feature_that_never_varied_says_nothing() -> None:
    moments = RunningMoments(2)
    moments.update(torch.tensor([[5.0, 1.0], [5.0, 3.0]]))
    assert moments(torch.tensor([[5.0, 3.0], [6.0, 1.0]])).tolist() == [[0.0, 1.0], [0.0, -1.0]]
