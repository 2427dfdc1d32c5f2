"""The update of PPO: epochs over one batch of episodes in minibatches, whatever the policy is.

It knows no language model: ``evaluate(rows)`` says what policy and critic now make of the actions in those rows, with
gradients, and everything else is tensors. Gradients add up over micro-batches and over processes to those of the whole
minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.ppo.loss import Episodes, Evaluation, PPOLoss, ppo_loss
from rlhf_fair.training.ppo.settings import UpdateSettings

Evaluate = Callable[[Tensor], Evaluation]
"""(rows,) indices -> their evaluation with gradients. It may have fewer columns than the batch where later ones are
masked in all these rows."""


class Processes(Protocol):
    """Those that train one model together."""

    count: int

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes, the same in each."""

    def backward(self, loss: Tensor) -> None:
        """Add gradients."""

    def without_exchange(self) -> AbstractContextManager[None]:
        """While open, gradients stay in their process: more are to come before the optimiser moves."""

    def clip(self, parameters: list[nn.Parameter], largest_norm: float) -> Tensor:
        """Scale the gradients down to a norm; returns the norm they had."""


class OneProcess:
    """Alone."""

    count = 1

    def total(self, values: Tensor) -> Tensor:
        """As it is."""
        return values

    def backward(self, loss: Tensor) -> None:
        """Add gradients."""
        loss.backward()

    def without_exchange(self) -> AbstractContextManager[None]:
        """Nobody to exchange with."""
        return nullcontext()

    def clip(self, parameters: list[nn.Parameter], largest_norm: float) -> Tensor:
        """Scale the gradients down to a norm; returns the norm they had."""
        return nn.utils.clip_grad_norm_(parameters, largest_norm)


class Move(NamedTuple):
    """One minibatch: its numbers and the norm of its gradient; None where the optimiser did not move by it."""

    numbers: dict[str, float]
    grad_norm: float | None


def update(
    evaluate: Evaluate,
    batch: Episodes,
    optimizer: torch.optim.Optimizer,
    settings: UpdateSettings,
    *,
    generator: torch.Generator,
    processes: Processes | None = None,
) -> dict[str, float]:
    """Improve policy and critic on ``batch``; returns the mean of each number over the minibatches.

    Numbers: policy_loss, value_loss, clip_fraction, approx_kl, grad_norm (before clipping), moves of the optimiser, and
    entropy where ``evaluate`` gives it. ``generator`` shuffles the rows of every epoch.

    Raises
    ------
    SettingsError
        A loss, the divergence or the gradient is no finite number; the optimiser has not moved by it.
    """
    processes = processes or OneProcess()
    moves: list[Move] = []
    for rows in _minibatches(len(batch.mask), settings, processes.count, generator):
        moves.append(_move(evaluate, batch, rows, optimizer, settings, processes))
        if moves[-1].grad_norm is None:  # the policy had gone too far before
            break
    numbers = {key: math.fsum(move.numbers[key] for move in moves) / len(moves) for key in moves[0].numbers}
    norms = [move.grad_norm for move in moves if move.grad_norm is not None]
    return numbers | {"grad_norm": math.fsum(norms) / len(norms) if norms else math.nan, "moves": float(len(norms))}


def _minibatches(n: int, settings: UpdateSettings, processes: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of every minibatch of all epochs; each process takes its share of a minibatch from its own rows."""
    size = max(1, settings.minibatch_size // processes)
    for _ in range(settings.epochs):
        yield from torch.randperm(n, generator=generator).split(size)


def _move(
    evaluate: Evaluate,
    batch: Episodes,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    settings: UpdateSettings,
    processes: Processes,
) -> Move:
    n_actions = processes.total(batch.mask[rows].sum()).clamp(min=1)
    optimizer.zero_grad(set_to_none=True)
    parts = _micro_batches(batch.mask, rows, settings.micro_batch_size)
    sums: list[Tensor] = []
    for place, part in enumerate(parts):
        with processes.without_exchange() if place + 1 < len(parts) else nullcontext():
            now = evaluate(part)
            old = batch.part(part, now.logprobs.shape[1])
            loss = ppo_loss(
                now,
                old,
                clip_range=settings.clip_range,
                value_clip_range=settings.value_clip_range,
                n_actions=n_actions,
            )
            # processes average their gradients; divided by the actions of all, they have to add up
            processes.backward(_objective(loss, settings) * processes.count)
        sums.append(torch.stack([value.detach() for value in loss]))
    numbers = _named(processes.total(torch.stack(sums).sum(0)), settings)
    _check_finite({name: numbers[name] for name in ("policy_loss", "value_loss", "approx_kl")})
    if settings.target_kl is not None and numbers["approx_kl"] > settings.target_kl:
        return Move(numbers, None)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = float(processes.clip(trained, settings.max_grad_norm))
    _check_finite({"norm of the gradient": norm})
    optimizer.step()
    return Move(numbers, norm)


def _micro_batches(mask: Tensor, rows: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """Rows of similar length together: little padding, and the same gradient, whoever is with whom."""
    if size is None or size >= len(rows):
        return (rows,)
    lengths = mask.sum(-1).cpu()[rows]
    parts: tuple[Tensor, ...] = rows[lengths.argsort(stable=True)].split(size)
    return parts


def _objective(loss: PPOLoss, settings: UpdateSettings) -> Tensor:
    objective = loss.policy + settings.value_coef * loss.value
    return objective - settings.entropy_coef * loss.entropy if settings.entropy_coef else objective


def _named(sums: Tensor, settings: UpdateSettings) -> dict[str, float]:
    policy, value, entropy, clip_fraction, approx_kl = sums.tolist()
    numbers = {"policy_loss": policy, "value_loss": value, "clip_fraction": clip_fraction, "approx_kl": approx_kl}
    return numbers | ({} if math.isnan(entropy) and not settings.entropy_coef else {"entropy": entropy})


def _check_finite(numbers: dict[str, float]) -> None:
    bad = [f"the {name.replace('_', ' ')} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise SettingsError(f"PPO stopped before a move: {', '.join(bad)}; lower learning_rate or max_grad_norm")
