"""The update on a table of logits: one softmax policy per column, whose gradients can be written down."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.ppo.loss import Episodes, Evaluation, ppo_loss
from rlhf_fair.training.ppo.settings import UpdateSettings
from rlhf_fair.training.ppo.update import update

ROWS, LENGTH, ACTIONS = 12, 5, 3


class Table(nn.Module):  # type: ignore[misc]
    """Logits and a value for every column."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn((LENGTH, ACTIONS), generator=torch.Generator().manual_seed(1)))
        self.value = nn.Parameter(torch.zeros(LENGTH))

    def forward(self, actions: Tensor) -> Evaluation:
        now = torch.distributions.Categorical(logits=self.logits[: actions.shape[1]])
        values = self.value[: actions.shape[1]].expand(actions.shape)
        return Evaluation(now.log_prob(actions), values, now.entropy().expand(actions.shape))


def world(seed: int = 0) -> tuple[Table, Tensor, Episodes]:
    generator = torch.Generator().manual_seed(seed)
    table = Table()
    actions = torch.randint(ACTIONS, (ROWS, LENGTH), generator=generator)
    lengths = torch.randint(1, LENGTH + 1, (ROWS, 1), generator=generator)
    mask = torch.arange(LENGTH) < lengths
    with torch.no_grad():
        before = table(actions)
    advantages, returns = (torch.randn((ROWS, LENGTH), generator=generator) for _ in range(2))
    return table, actions, Episodes(before.logprobs, before.values.clone(), advantages, returns, mask)


def run(table: Table, actions: Tensor, batch: Episodes, *, rate: float = 0.1, **settings: object) -> dict[str, float]:
    chosen = UpdateSettings(**({"epochs": 1, "minibatch_size": ROWS, "max_grad_norm": 1e9} | settings))  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(table.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(3)

    def evaluate(rows: Tensor) -> Evaluation:
        return table(actions[rows, : int(batch.mask[rows].sum(-1).max())])

    return update(evaluate, batch, optimizer, chosen, generator=generator)


def test_one_move_is_one_step_down_the_loss() -> None:
    table, actions, batch = world()
    by_hand = copy.deepcopy(table)
    loss = ppo_loss(by_hand(actions), batch, clip_range=0.2, value_clip_range=0.2)
    (loss.policy + 0.1 * loss.value).backward()
    found = run(table, actions, batch)
    for moved, start in zip(table.parameters(), by_hand.parameters(), strict=True):
        assert start.grad is not None
        torch.testing.assert_close(moved.detach(), (start - 0.1 * start.grad).detach())
    assert found["moves"] == 1
    assert found["grad_norm"] == pytest.approx(math.hypot(*(p.grad.norm().item() for p in by_hand.parameters())))


@pytest.mark.parametrize("micro", [1, 5, 7])
def test_micro_batches_add_up_to_the_minibatch_whatever_their_lengths(micro: int) -> None:
    whole, actions, batch = world()
    parts = copy.deepcopy(whole)
    one = run(whole, actions, batch, epochs=3, entropy_coef=0.3)
    many = run(parts, actions, batch, epochs=3, entropy_coef=0.3, micro_batch_size=micro)
    assert many == pytest.approx(one, rel=1e-4, abs=1e-6)
    for first, second in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_every_row_is_seen_once_in_every_epoch() -> None:
    table, actions, batch = world()
    seen: list[int] = []

    def evaluate(rows: Tensor) -> Evaluation:
        seen.extend(rows.tolist())
        return table(actions[rows])

    settings = UpdateSettings(epochs=2, minibatch_size=5)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    found = update(evaluate, batch, optimizer, settings, generator=torch.Generator().manual_seed(0))
    assert sorted(seen[:ROWS]) == sorted(seen[ROWS:]) == list(range(ROWS))
    assert seen[:ROWS] != seen[ROWS:]
    assert found["moves"] == 6  # 12 rows in minibatches of 5, 5 and 2, twice


def test_a_policy_that_went_too_far_moves_no_further() -> None:
    table, actions, batch = world()
    free = run(copy.deepcopy(table), actions, batch, epochs=10, rate=2.0)
    assert free["moves"] == 10
    first = copy.deepcopy(table)
    run(first, actions, batch, rate=2.0)
    stopped = run(table, actions, batch, epochs=10, rate=2.0, target_kl=1e-3)
    assert stopped["moves"] == 1  # the first move starts where the policy acted, at a divergence of 0
    for moved, once in zip(table.parameters(), first.parameters(), strict=True):
        assert torch.equal(moved, once)


def test_entropy_that_is_paid_for_rises_to_that_of_the_uniform_policy() -> None:
    table, actions, batch = world()
    still = batch._replace(advantages=torch.zeros_like(batch.advantages))
    run(table, actions, still, entropy_coef=1.0, epochs=300, rate=1.0)
    assert table(actions).entropy.min().item() == pytest.approx(math.log(ACTIONS), abs=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_move_nothing(bad: float) -> None:
    table, actions, batch = world()
    before = copy.deepcopy(table.state_dict())
    returns = batch.returns.clone()
    returns[0, 0] = bad
    with pytest.raises(SettingsError, match=r"value loss is (nan|inf).*lower learning_rate"):
        run(table, actions, batch._replace(returns=returns))
    assert all(torch.equal(before[name], tensor) for name, tensor in table.state_dict().items())


@pytest.mark.parametrize("target_kl", [None, 0.1])
def test_an_infinite_divergence_is_no_early_stop(target_kl: float | None) -> None:
    """Ratios of e^200 overflow; with advantages above 0 they are clipped, and the loss alone would not tell."""
    table, actions, batch = world()
    far = batch._replace(logprobs=batch.logprobs - 200, advantages=batch.advantages.abs())
    with pytest.raises(SettingsError, match="approx kl is inf"):
        run(table, actions, far, target_kl=target_kl)


def test_gradients_are_clipped_to_the_norm() -> None:
    table, actions, batch = world()
    before = [p.detach().clone() for p in table.parameters()]
    found = run(table, actions, batch, rate=1.0, max_grad_norm=1e-3)
    moved = math.hypot(*((p - b).norm().item() for p, b in zip(table.parameters(), before, strict=True)))
    assert moved == pytest.approx(1e-3, rel=1e-3)
    assert found["grad_norm"] > 1e-2


def test_losses_of_two_value_streams_add_up() -> None:
    # errors 1 and 3 in the first stream, 2 and 0 in the second, value clip out of reach: (1 + 9) / 4 + (4 + 0) / 4
    zeros, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    returns = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    old = Episodes(zeros, torch.zeros(1, 2, 2), zeros, returns, mask)
    loss = ppo_loss(Evaluation(zeros, torch.zeros(1, 2, 2)), old, clip_range=0.2, value_clip_range=9.0)
    assert loss.value.item() == pytest.approx(10 / 4 + 4 / 4)
