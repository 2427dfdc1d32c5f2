"""A reward from a server: POST of prompts, answers and columns as JSON, with retries, time limits and a key.

Request: ``{"prompts": [...], "completions": [...], "columns": {name: [...]}}``. Reply: ``{"rewards": [...]}``, one
finite number for each answer, in their order.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.errors import EndpointError
from rlhf_fair.models.endpoint_calls import Caller, Server
from rlhf_fair.models.endpoint_loop import run_beside
from rlhf_fair.models.endpoint_replies import MalformedReplyError, UnansweredError
from rlhf_fair.models.endpoint_settings import EndpointSettings, Patience, checked_url, read_key
from rlhf_fair.training.ppo.rewards.sources import EndpointReward

HUGE = 1e100
"""No reward is as large; a whole number in JSON may be larger than any float."""
KEY_VARIABLE = "RLHF_FAIR_REWARD_KEY"
"""Where the key is looked for. A config, which may come from elsewhere, cannot ask for another variable."""


class RewardEndpoint:
    """Asks a server for the rewards of answers, several requests at once."""

    def __init__(self, source: EndpointReward) -> None:
        self.source = source
        settings = EndpointSettings(
            key_variable=KEY_VARIABLE,
            key_required=False,
            concurrency=source.concurrency,
            patience=Patience(attempts=source.attempts, timeout_s=source.timeout_s),
        )
        self.server = Server(checked_url(source.url), read_key(KEY_VARIABLE, required=False), settings)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> NDArray[np.float64]:
        """(n,) rewards.

        Raises
        ------
        EndpointError
            A request has no usable answer after all attempts. Training stops then: an answer without a reward cannot
            be learnt from, and one left out would bias what is.
        """
        rewards = np.full(len(prompts), np.nan)
        run_beside(self._ask_all(prompts, completions, columns, rewards))
        return rewards

    async def _ask_all(
        self, prompts: Sequence[str], completions: Sequence[str], columns: Any, rewards: NDArray[np.float64]
    ) -> None:
        # a waiting room of its own: a connection pool counts the wait for a free connection as part of a request
        room = asyncio.Semaphore(self.source.concurrency)

        async def ask(caller: Caller, rows: slice) -> None:
            payload = {
                "prompts": list(prompts[rows]),
                "completions": list(completions[rows]),
                "columns": {name: [_json(cell) for cell in values[rows]] for name, values in columns.items()},
            }
            count = len(payload["prompts"])
            async with room:
                rewards[rows] = await caller.ask("", payload, lambda content: read_rewards(content, count))

        starts = range(0, len(prompts), self.source.batch_size)
        try:
            async with Caller(self.server) as caller, asyncio.TaskGroup() as group:
                for start in starts:
                    group.create_task(ask(caller, slice(start, start + self.source.batch_size)))
        except ExceptionGroup as faults:
            raise self._told(faults.exceptions[0]) from None

    def _told(self, fault: Exception) -> Exception:
        if isinstance(fault, UnansweredError):
            return EndpointError(f"reward {self.source.label!r}: {self.server.url}: {fault}")
        return fault


def read_rewards(content: object, count: int) -> list[float]:
    """The rewards of a reply.

    >>> read_rewards({"rewards": [1, 0.5]}, 2)
    [1.0, 0.5]
    """
    rewards = content.get("rewards") if isinstance(content, dict) else None
    if not isinstance(rewards, list):
        raise MalformedReplyError('it is not {"rewards": [...]}')
    if len(rewards) != count:
        raise MalformedReplyError(f"{len(rewards)} rewards for {count} answers")
    for place, value in enumerate(rewards, start=1):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < HUGE:  # NaN is in no range
            raise MalformedReplyError(f"reward {place} is {str(value)[:40]}, not a finite number")
    return [float(value) for value in rewards]


def _json(cell: Any) -> Any:
    """A cell as JSON can carry it: numbers, texts, flags, null."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell if cell is None or isinstance(cell, bool | int | float | str) else str(cell)
