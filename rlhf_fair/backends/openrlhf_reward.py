"""The reward file for OpenRLHF: ``--reward.remote_url`` takes the path of this file.

OpenRLHF calls ``reward_func`` with one sample at a time from several threads of every rollout actor. Whatever is to be
known of a sample travels in its label, a JSON object with the columns of the group; the config is named by
``$RLHF_FAIR_BACKEND``. An exception here would only be noted at a low level and the sample go on without a reward, so
it is told loudly first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from rlhf_fair.backends.worker import Sample, ShapedSample, answer_in, worker
from rlhf_fair.errors import RowError
from rlhf_fair.json_cells import json_cell

logger = logging.getLogger("rlhf_fair.openrlhf")


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **more: Any) -> dict[str, Any]:
    """rewards: (n,) less the penalty. scores: (n,) before it, for dynamic filtering. extra_logs: name -> (n,)."""
    import torch

    try:
        shaped = [_shape(*row) for row in zip(queries, prompts, labels, strict=True)]
    except Exception:
        logger.exception("the fair reward failed; OpenRLHF goes on without one for this sample")
        raise
    names = shaped[0].logs if shaped else {}
    return {
        "rewards": torch.tensor([one.reward for one in shaped]),
        "scores": torch.tensor([one.unshaped for one in shaped]),
        "extra_logs": {f"fair_{name}": torch.tensor([one.logs[name] for one in shaped]) for name in names},
    }


def _shape(query: str, prompt: str, label: str) -> ShapedSample:
    found = worker()
    try:
        columns = json_cell(label)
    except (TypeError, ValueError) as error:
        raise RowError(f"label {str(label)[:100]!r} is not JSON; it holds the columns of a sample") from error
    if not isinstance(columns, dict):
        raise RowError(f"label {label[:100]!r} is no JSON object; it holds the columns of a sample")
    return found.shape(Sample(prompt, answer_in(query, prompt, found.config.answer), columns))
